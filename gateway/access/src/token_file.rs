//! `tokens.json`: the tokens at rest, without their secrets.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::scope::Scopes;
use crate::secret::SecretHash;
use crate::token::{TokenInfo, UnixTime, check_name, is_id};

/// The format this version writes, and the only one it reads.
const VERSION: u32 = 1;
/// Tokens in one file.
pub(crate) const TOKENS_MAX: usize = 1000;
/// The largest file read, in bytes; [`TOKENS_MAX`] tokens need less.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 20;

/// A token as it is kept.
#[derive(Clone)]
pub(crate) struct Token {
    pub info: Arc<TokenInfo>,
    pub hash: SecretHash,
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    tokens: Vec<Row>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    name: String,
    scopes: Scopes,
    created_unix_s: UnixTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_unix_s: Option<UnixTime>,
    ends_with: String,
    sha256: SecretHash,
}

/// The tokens in `bytes`, or what is wrong with them.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<Token>, String> {
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err("it is larger than 1 MiB".into());
    }
    // First by itself, so that a later format is called that, and not a list of unknown fields.
    let Versioned { version } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if version != VERSION {
        return Err(format!("it has format version {version}, and this one reads version {VERSION}"));
    }
    let document: Document = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if document.tokens.len() > TOKENS_MAX {
        return Err(format!("it has {} tokens, and {TOKENS_MAX} are the most", document.tokens.len()));
    }
    let mut ids = HashSet::new();
    document
        .tokens
        .into_iter()
        .map(|row| {
            check_name(&row.name).map_err(|error| format!("token `{}`: {error}", row.id))?;
            if !is_id(&row.id) {
                return Err(format!("`{}` is not an id, which has 12 hexadecimal digits", row.id.escape_debug()));
            }
            if !ids.insert(row.id.clone()) {
                return Err(format!("two tokens have the id `{}`", row.id));
            }
            Ok(Token::from(row))
        })
        .collect()
}

/// `tokens` in the form that [`parse`] reads.
pub(crate) fn write(tokens: &[Token]) -> Vec<u8> {
    let document = Document { version: VERSION, tokens: tokens.iter().map(Row::from).collect() };
    let mut bytes = serde_json::to_vec_pretty(&document).expect("strings and numbers always have a JSON form");
    bytes.push(b'\n');
    bytes
}

impl From<Row> for Token {
    fn from(row: Row) -> Self {
        let info = TokenInfo {
            id: row.id,
            name: row.name,
            scopes: row.scopes,
            created_unix_s: row.created_unix_s,
            expires_unix_s: row.expires_unix_s,
            ends_with: row.ends_with,
        };
        Token { info: Arc::new(info), hash: row.sha256 }
    }
}

impl From<&Token> for Row {
    fn from(token: &Token) -> Self {
        let TokenInfo { id, name, scopes, created_unix_s, expires_unix_s, ends_with } = (*token.info).clone();
        Row { id, name, scopes, created_unix_s, expires_unix_s, ends_with, sha256: token.hash.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::Scope;

    /// As version 1 wrote it. Stays as it is: files like it are out there.
    const GOLDEN: &str = include_str!("../test-data/tokens-v1.json");

    #[test]
    fn version_1_is_read_and_written_as_it_was() {
        let tokens = parse(GOLDEN.as_bytes()).unwrap();
        let [ci, local] = &tokens[..] else { panic!("{} tokens", tokens.len()) };
        assert_eq!((&*ci.info.id, &*ci.info.name, &*ci.info.ends_with), ("0123456789ab", "build server", "AAAA"));
        assert_eq!(ci.info.scopes, Scopes::new([Scope::Read, Scope::Push]).unwrap());
        assert_eq!(
            (ci.info.created_unix_s, ci.info.expires_unix_s),
            (UnixTime(1_790_000_000), Some(UnixTime(1_800_000_000)))
        );
        assert_eq!((&local.info.scopes, local.info.expires_unix_s), (&Scope::Admin.into(), None));
        let secret: crate::Secret = "hl_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".parse().unwrap();
        assert!(bool::from(secret.hash().matches(&ci.hash)));
        assert_eq!(String::from_utf8(write(&tokens)).unwrap(), GOLDEN);
    }

    #[test]
    fn a_broken_file_is_refused_with_what_is_wrong() {
        let golden = |from: &str, to: &str| {
            assert!(GOLDEN.contains(from), "{from}");
            GOLDEN.replacen(from, to, 1)
        };
        for (text, problem) in [
            (String::new(), "EOF while parsing a value at line 1 column 0"),
            ("[]".into(), "invalid length 0, expected struct Versioned"),
            ("{}".into(), "missing field `version`"),
            (GOLDEN[..200].into(), "EOF while parsing"),
            (golden("\"version\": 1", "\"version\": 2"), "format version 2, and this one reads version 1"),
            (golden("\"tokens\"", "\"token\""), "unknown field `token`, expected `version` or `tokens` at line 3"),
            (golden("\"name\"", "\"Name\""), "unknown field `Name`"),
            (golden("\"push\"", "\"write\""), "unknown variant `write`"),
            (golden("\"admin\"", ""), "a token needs at least one scope"),
            (golden("\"sha256\": \"", "\"sha256\": \"A"), "`sha256` must be 64 lower-case hexadecimal digits"),
            (golden("0123456789ab", "fedcba987654"), "two tokens have the id `fedcba987654`"),
            (golden("0123456789ab", "0123"), "`0123` is not an id"),
            (golden("build server", "a\\nb"), "token `0123456789ab`: a token's name is"),
            (golden("1790000000", "-1"), "invalid value: integer `-1`"),
            (format!("{GOLDEN}x"), "trailing characters"),
            (" ".repeat(1 << 20) + "{}", "larger than 1 MiB"),
        ] {
            let seen = parse(text.as_bytes()).err().unwrap();
            assert!(seen.contains(problem), "`{seen}` does not say `{problem}`");
        }
        assert!(parse(b"\xff\xfe").is_err());
    }

    #[test]
    fn a_full_file_fits_and_one_more_is_refused() {
        let token = parse(GOLDEN.as_bytes()).unwrap().swap_remove(0);
        let numbered = |count: usize| -> Vec<Token> {
            (0..count)
                .map(|number| {
                    // The longest names there may be, in bytes.
                    let info = TokenInfo {
                        id: format!("{number:012x}"),
                        name: "\u{1f511}".repeat(64),
                        ..(*token.info).clone()
                    };
                    Token { info: Arc::new(info), hash: token.hash.clone() }
                })
                .collect()
        };
        let full = write(&numbered(TOKENS_MAX));
        assert!(full.len() as u64 <= FILE_BYTES_MAX, "{}", full.len());
        assert_eq!(parse(&full).unwrap().len(), TOKENS_MAX);
        let seen = parse(&write(&numbered(TOKENS_MAX + 1))).err().unwrap();
        assert_eq!(seen, "it has 1001 tokens, and 1000 are the most");
    }
}
