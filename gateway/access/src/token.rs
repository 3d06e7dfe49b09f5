//! What is known of a token, its secret apart.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::AccessError;
use crate::scope::Scopes;

/// Characters of a token's name.
const NAME_CHARS_MAX: usize = 64;

/// A point in time, in whole seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// What the clock says.
    pub fn now() -> Self {
        UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }

    /// `after` later.
    pub fn plus(self, after: Duration) -> Self {
        UnixTime(self.0.saturating_add(after.as_secs()))
    }
}

/// A token as it is listed, logged and granted: never its secret, nor its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenInfo {
    /// What it is revoked by: 12 hexadecimal digits.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it lets its holder do.
    pub scopes: Scopes,
    /// When it was made.
    pub created_unix_s: UnixTime,
    /// From when on it is refused, if ever.
    pub expires_unix_s: Option<UnixTime>,
    /// The token's last four characters, to tell one from another.
    pub ends_with: String,
}

impl TokenInfo {
    /// Whether it is refused at `now` because of its age.
    pub fn has_expired(&self, now: UnixTime) -> bool {
        self.expires_unix_s.is_some_and(|expires| expires <= now)
    }
}

/// A name that can stand in a log line and a table.
pub(crate) fn check_name(name: &str) -> Result<(), AccessError> {
    let chars = name.chars().count();
    let sound = (1..=NAME_CHARS_MAX).contains(&chars) && name.trim() == name && !name.chars().any(char::is_control);
    if sound { Ok(()) } else { Err(AccessError::Name { chars_max: NAME_CHARS_MAX }) }
}

/// An id as [`TokenInfo::id`] has it.
pub(crate) fn is_id(id: &str) -> bool {
    id.len() == 12 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_printable() {
        for good in ["ci", "build server 7", "Zoë's laptop", &"x".repeat(64)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", " ci", "ci ", "a\nb", "a\u{1b}[31m", &"x".repeat(65)] {
            let error = check_name(bad).unwrap_err().to_string();
            assert!(error.contains("1 to 64 printable characters"), "{error}");
        }
    }

    #[test]
    fn a_token_expires_in_the_second_it_says() {
        let mut info = TokenInfo {
            id: "0123456789ab".into(),
            name: "ci".into(),
            scopes: crate::Scope::Read.into(),
            created_unix_s: UnixTime(0),
            expires_unix_s: Some(UnixTime(100)),
            ends_with: "AAAA".into(),
        };
        assert_eq!([99, 100, 101].map(|now| info.has_expired(UnixTime(now))), [false, true, true]);
        info.expires_unix_s = None;
        assert!(!info.has_expired(UnixTime(u64::MAX)));
        assert_eq!(UnixTime(u64::MAX).plus(Duration::from_secs(1)), UnixTime(u64::MAX));
    }
}
