//! What a token lets its holder do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One thing a token lets its holder do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// See what is stored, loaded and deployed; pull; read metrics.
    Read,
    /// Store models, components and signatures, and delete them.
    Push,
    /// Load, unload and alias models; deploy and roll back apps.
    Deploy,
    /// Everything, with tokens and the trust policy.
    Admin,
}

impl Scope {
    /// All of them, least first.
    pub const ALL: [Scope; 4] = [Scope::Read, Scope::Push, Scope::Deploy, Scope::Admin];

    /// Its name on the command line, in the file and in answers.
    pub fn name(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Push => "push",
            Scope::Deploy => "deploy",
            Scope::Admin => "admin",
        }
    }

    /// Whether a token with this scope may do what asks for `needed`. No client can push or deploy blind, so both include
    /// `read`; `admin` includes everything.
    fn includes(self, needed: Scope) -> bool {
        self == needed || self == Scope::Admin || needed == Scope::Read
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Not the name of a scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no scope `{0}`; there are read, push, deploy and admin")]
pub struct ParseScopeError(String);

impl FromStr for Scope {
    type Err = ParseScopeError;

    fn from_str(name: &str) -> Result<Self, ParseScopeError> {
        let known = Scope::ALL.into_iter().find(|scope| scope.name() == name);
        known.ok_or_else(|| ParseScopeError(name.chars().take(40).collect()))
    }
}

/// The scopes of one token: at least one, each once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Scope>")]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    /// `scopes` without repetitions, or nothing if there are none.
    pub fn new(scopes: impl IntoIterator<Item = Scope>) -> Option<Self> {
        let mut scopes: Vec<Scope> = scopes.into_iter().collect();
        scopes.sort_unstable();
        scopes.dedup();
        (!scopes.is_empty()).then_some(Scopes(scopes))
    }

    /// Whether they allow what asks for `needed`.
    pub fn allow(&self, needed: Scope) -> bool {
        self.0.iter().any(|scope| scope.includes(needed))
    }

    /// The scopes, least first.
    pub fn iter(&self) -> impl Iterator<Item = Scope> {
        self.0.iter().copied()
    }
}

impl From<Scope> for Scopes {
    fn from(scope: Scope) -> Self {
        Scopes(vec![scope])
    }
}

impl TryFrom<Vec<Scope>> for Scopes {
    type Error = &'static str;

    fn try_from(scopes: Vec<Scope>) -> Result<Self, &'static str> {
        Scopes::new(scopes).ok_or("a token needs at least one scope")
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(Scope::name).collect();
        f.write_str(&names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::Scope::{Admin, Deploy, Push, Read};
    use super::*;

    #[test]
    fn admin_includes_all_and_every_scope_includes_read() {
        for (held, allowed) in [
            (vec![Read], vec![Read]),
            (vec![Push], vec![Read, Push]),
            (vec![Deploy], vec![Read, Deploy]),
            (vec![Push, Deploy], vec![Read, Push, Deploy]),
            (vec![Admin], Scope::ALL.to_vec()),
        ] {
            let scopes = Scopes::new(held.clone()).unwrap();
            let seen: Vec<Scope> = Scope::ALL.into_iter().filter(|needed| scopes.allow(*needed)).collect();
            assert_eq!(seen, allowed, "{held:?}");
        }
    }

    #[test]
    fn scopes_have_names_and_an_order() {
        for scope in Scope::ALL {
            assert_eq!(scope.to_string().parse(), Ok(scope));
        }
        let error = "Write".parse::<Scope>().unwrap_err().to_string();
        assert_eq!(error, "there is no scope `Write`; there are read, push, deploy and admin");
        assert_eq!(Scopes::new([Deploy, Read, Deploy]).unwrap().to_string(), "read, deploy");
        assert_eq!(Scopes::new([]), None);
    }
}
