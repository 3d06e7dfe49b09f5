//! The name in a certificate: `headland://fleet/FLEET/ROLE/ID`.

use std::fmt;
use std::str::FromStr;

use headland_package::{IdError, PopId};

use crate::IdentityError;

/// How a name in a certificate begins.
const PREFIX: &str = "headland://fleet/";
/// Random bytes in a fleet's id.
const FLEET_ID_BYTES: usize = 8;

/// Tells one fleet from another: 16 hexadecimal digits, drawn when its authority is made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FleetId(String);

impl FleetId {
    pub(crate) fn random() -> Result<Self, IdentityError> {
        let mut bytes = [0u8; FLEET_ID_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| IdentityError::Random(error.to_string()))?;
        Ok(FleetId(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// The name in the certificate of the fleet's authority.
    pub(crate) fn uri(&self) -> String {
        format!("{PREFIX}{self}")
    }

    /// Reads what [`Self::uri`] wrote.
    pub(crate) fn of_uri(uri: &str) -> Option<Self> {
        uri.strip_prefix(PREFIX)?.parse().ok()
    }
}

impl fmt::Display for FleetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for FleetId {
    type Err = NotAFleet;

    fn from_str(given: &str) -> Result<Self, NotAFleet> {
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        match given.len() == 2 * FLEET_ID_BYTES && given.bytes().all(is_hex) {
            true => Ok(FleetId(given.to_owned())),
            false => Err(NotAFleet),
        }
    }
}

/// Not the id of a fleet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fleet's id is {} hexadecimal digits", 2 * FLEET_ID_BYTES)]
pub struct NotAFleet;

/// What a member of a fleet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It runs models and apps.
    Pop,
    /// It decides what runs where.
    Control,
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Role::Pop => "pop",
            Role::Control => "control",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One member of a fleet, written `pop/fra2`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// What it is.
    pub role: Role,
    /// What it is called, among those of its role.
    pub id: PopId,
}

impl Member {
    /// The PoP called `id`.
    pub fn pop(id: PopId) -> Self {
        Member { role: Role::Pop, id }
    }

    /// The control plane called `id`.
    pub fn control(id: PopId) -> Self {
        Member { role: Role::Control, id }
    }

    /// The name in its certificate.
    pub(crate) fn uri(&self, fleet: &FleetId) -> String {
        format!("{PREFIX}{fleet}/{self}")
    }

    /// Reads what [`Self::uri`] wrote.
    pub(crate) fn of_uri(uri: &str) -> Option<(FleetId, Self)> {
        let (fleet, member) = uri.strip_prefix(PREFIX)?.split_once('/')?;
        Some((fleet.parse().ok()?, member.parse().ok()?))
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.role, self.id)
    }
}

/// Not a member's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAMember {
    /// There is no such role.
    #[error("a member is written `pop/ID` or `control/ID`")]
    Role,
    /// The id cannot be one.
    #[error(transparent)]
    Id(#[from] IdError),
}

impl FromStr for Member {
    type Err = NotAMember;

    fn from_str(given: &str) -> Result<Self, NotAMember> {
        let (role, id) = given.split_once('/').ok_or(NotAMember::Role)?;
        let role = match role {
            "pop" => Role::Pop,
            "control" => Role::Control,
            _ => return Err(NotAMember::Role),
        };
        Ok(Member { role, id: id.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_certificate_is_read_back() {
        let fleet = FleetId::random().unwrap();
        assert_eq!(FleetId::of_uri(&fleet.uri()), Some(fleet.clone()));
        for member in [Member::pop("fra.2_x".parse().unwrap()), Member::control("c-1".parse().unwrap())] {
            assert_eq!(Member::of_uri(&member.uri(&fleet)), Some((fleet.clone(), member)));
        }
    }

    #[test]
    fn other_names_are_nobodys() {
        let fleet = "0123456789abcdef";
        for uri in [
            "",
            "https://example.org/",
            "headland://fleet/",
            "headland://fleet/x/pop/fra2",
            &format!("headland://fleet/{fleet}"),
            &format!("headland://fleet/{fleet}/pop/"),
            &format!("headland://fleet/{fleet}/pop/a/b"),
            &format!("headland://fleet/{fleet}/guest/fra2"),
            &format!("HEADLAND://fleet/{fleet}/pop/fra2"),
            &format!("headland://fleet/{}/pop/fra2", fleet.to_uppercase()),
        ] {
            assert_eq!(Member::of_uri(uri), None, "{uri}");
        }
    }
}
