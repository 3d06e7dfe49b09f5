//! The token itself: what its holder sends, and the only thing of it that is kept.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::AccessError;

/// How every token begins, so that people and secret scanners know one when they see it.
const PREFIX: &str = "hl_";
/// Random bytes of a token.
const RANDOM_BYTES: usize = 32;
/// Last characters of a token that are kept, to tell one from another.
const LAST_CHARS: usize = 4;

/// A token as its holder knows it: `hl_` and 32 random bytes in URL-safe base64.
///
/// Nothing shows it but [`Secret::reveal`].
#[derive(Clone)]
pub struct Secret(Box<str>);

impl Secret {
    /// A new one, out of the system's randomness.
    pub(crate) fn generate() -> Result<Self, AccessError> {
        Ok(Secret(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random::<RANDOM_BYTES>()?)).into()))
    }

    /// The token's text, for the one time it is shown.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub(crate) fn hash(&self) -> SecretHash {
        SecretHash(Sha256::digest(self.0.as_bytes()).into())
    }

    /// The last four characters.
    pub(crate) fn ending(&self) -> &str {
        // All ASCII and longer than that, as `from_str` and `generate` make it.
        self.0.get(self.0.len().saturating_sub(LAST_CHARS)..).unwrap_or_default()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

/// Not a token. Says nothing of what was given, which may be a token with a slip in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token is `hl_` and 43 characters of URL-safe base64")]
pub struct ParseSecretError;

impl FromStr for Secret {
    type Err = ParseSecretError;

    fn from_str(text: &str) -> Result<Self, ParseSecretError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(ParseSecretError)?;
        // One byte too many is an error of the decoder, one too few of ours.
        let mut random = [0; RANDOM_BYTES];
        match URL_SAFE_NO_PAD.decode_slice(encoded, &mut random) {
            Ok(RANDOM_BYTES) => Ok(Secret(text.into())),
            _ => Err(ParseSecretError),
        }
    }
}

/// `N` bytes of the system's randomness.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], AccessError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| AccessError::Randomness(error.to_string()))?;
    Ok(bytes)
}

/// `bytes` in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The SHA-256 of a token's text. A token has 256 random bits, so a plain hash cannot be turned round; salt and stretching
/// are for passwords. In the file: 64 hexadecimal digits.
#[derive(Clone)]
pub(crate) struct SecretHash([u8; 32]);

impl SecretHash {
    /// Compares without a word on where the two differ.
    pub fn matches(&self, other: &SecretHash) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl Serialize for SecretHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for SecretHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_hash(&text).ok_or_else(|| serde::de::Error::custom("`sha256` must be 64 lower-case hexadecimal digits"))
    }
}

fn parse_hash(text: &str) -> Option<SecretHash> {
    let mut hash = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let &[high, low] = pair else { return None };
        *byte = nibble(high)? << 4 | nibble(low)?;
    }
    Some(SecretHash(hash))
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_parses_and_keeps_itself_to_itself() {
        let secret = Secret::generate().unwrap();
        let text = secret.reveal().to_owned();
        assert_eq!((text.len(), &text[..3]), (46, "hl_"));
        assert!(text.ends_with(secret.ending()) && secret.ending().len() == 4);
        assert_eq!(format!("{secret:?}"), "Secret(not shown)");
        let again: Secret = text.parse().unwrap();
        assert!(bool::from(again.hash().matches(&secret.hash())));
        assert!(!bool::from(Secret::generate().unwrap().hash().matches(&secret.hash())));
    }

    #[test]
    fn the_hash_is_the_sha256_of_the_text() {
        // printf %s hl_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA | sha256sum
        let secret: Secret = "hl_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".parse().unwrap();
        let json = serde_json::to_string(&secret.hash()).unwrap();
        assert_eq!(json, "\"92f1d4f4d6b708d34573cf0efd27f12dcc5d02e8922e2d7b84289b6fca126f2b\"");
        let back: SecretHash = serde_json::from_str(&json).unwrap();
        assert!(bool::from(back.matches(&secret.hash())));
    }

    #[test]
    fn what_is_not_a_token_is_refused_without_being_repeated() {
        let zeros = "A".repeat(43);
        for bad in [
            String::new(),
            zeros.clone(),
            format!("HL_{zeros}"),
            format!("hl_{zeros}A"),
            format!("hl_{}", &zeros[1..]),
            format!("hl_{zeros}="),
            format!("hl_{}+", &zeros[1..]),
            // The last character carries two bits too many: another spelling of the same bytes.
            format!("hl_{}B", &zeros[1..]),
            format!("hl_{}é", &zeros[2..]),
            format!(" hl_{zeros}"),
        ] {
            assert_eq!(bad.parse::<Secret>().unwrap_err(), ParseSecretError, "{bad}");
        }
        assert_eq!(ParseSecretError.to_string(), "a token is `hl_` and 43 characters of URL-safe base64");
    }

    #[test]
    fn a_hash_has_one_spelling() {
        for bad in ["", "00", &"0".repeat(63), &"0".repeat(65), &"A".repeat(64), &"g".repeat(64), &"é".repeat(32)] {
            assert!(parse_hash(bad).is_none(), "{bad}");
        }
    }
}
