//! Names of records and of message subjects: a kind and its parts, written so that NATS takes any of them.
//!
//! NATS cuts names at dots, gives `*` and `>` a meaning, and refuses spaces; our parts are PoP ids, model names and versions
//! that people chose. So each part is escaped for itself: bytes other than `A-Z a-z 0-9 _ -` are written `=XX`, in upper case,
//! and an empty part is a lone `=`. There is one way to write a part and one part for a writing; everything else is refused.

use std::fmt;
use std::str::FromStr;

/// The longest rendered key, in bytes: with a bucket's name before it, far below the 4 KiB that NATS gives a command line.
pub const KEY_BYTES_MAX: usize = 512;
/// The most tokens of a key, its kind included.
pub const KEY_TOKENS_MAX: usize = 8;

/// A record's name: a kind and at least one part. Ordered as it is rendered.
///
/// ```
/// # use headland_control_store::Key;
/// let key = Key::new("desired", ["fra 2"])?;
/// assert_eq!(key.as_str(), "desired.fra=202");
/// assert_eq!((key.kind(), key.parts()), ("desired".to_owned(), vec!["fra 2".to_owned()]));
/// # Ok::<(), headland_control_store::KeyError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Box<str>);

/// A subject of the bus is built like a key.
pub type Subject = Key;

/// Which keys a list or a watch is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Prefix {
    /// Every key.
    All,
    /// Keys that begin with these tokens and have at least one more. Made by [`Prefix::kind`] and [`Prefix::under`].
    Under(Tokens),
    /// Exactly this key.
    Key(Key),
}

/// Which subjects a subscription is about.
pub type Subjects = Prefix;

/// Rendered tokens, without a dot at the end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tokens(Box<str>);

/// Why something is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A kind alone is not a key.
    #[error("the key `{0}` has a kind and no parts; give it at least one part")]
    NoParts(String),
    /// More than [`KEY_TOKENS_MAX`].
    #[error("a key has {0} tokens, and at most {KEY_TOKENS_MAX} are allowed; join some of its parts")]
    TooManyTokens(usize),
    /// More than [`KEY_BYTES_MAX`].
    #[error(
        "a key takes {0} bytes once it is escaped, and at most {KEY_BYTES_MAX} are allowed; shorten the names in it"
    )]
    TooLong(usize),
    /// Not what [`Key`] renders.
    #[error("`{0}` is not a key of ours: its parts are not escaped as they should be")]
    NotCanonical(String),
}

impl Key {
    /// The key of `kind` with these parts, of which any string may be one.
    pub fn new<P: AsRef<str>>(kind: &str, parts: impl IntoIterator<Item = P>) -> Result<Self, KeyError> {
        let Tokens(rendered) = Tokens::new(kind, parts)?;
        if !rendered.contains('.') {
            return Err(KeyError::NoParts(rendered.into()));
        }
        Ok(Self(rendered))
    }

    /// Rendered: tokens of `A-Z a-z 0-9 _ - =`, joined by dots.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first token, unescaped.
    pub fn kind(&self) -> String {
        self.tokens().next().unwrap_or_default()
    }

    /// What follows the kind, unescaped.
    pub fn parts(&self) -> Vec<String> {
        self.tokens().skip(1).collect()
    }

    fn tokens(&self) -> impl Iterator<Item = String> {
        self.0.split('.').map(|token| unescape(token).unwrap_or_default())
    }
}

impl FromStr for Key {
    type Err = KeyError;

    /// Reads what [`Key::as_str`] gave, and refuses whatever it would not give.
    fn from_str(rendered: &str) -> Result<Self, KeyError> {
        if rendered.len() > KEY_BYTES_MAX {
            return Err(KeyError::TooLong(rendered.len()));
        }
        let tokens = rendered.split('.').count();
        if tokens > KEY_TOKENS_MAX {
            return Err(KeyError::TooManyTokens(tokens));
        }
        if !rendered.split('.').all(|token| unescape(token).is_some()) {
            return Err(KeyError::NotCanonical(rendered.to_owned()));
        }
        if tokens < 2 {
            return Err(KeyError::NoParts(rendered.to_owned()));
        }
        Ok(Self(rendered.into()))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0)
    }
}

impl Prefix {
    /// Every key of a kind.
    pub fn kind(kind: &str) -> Result<Self, KeyError> {
        Self::under(kind, [] as [&str; 0])
    }

    /// Every key of a kind whose first parts are these, and that has more.
    pub fn under<P: AsRef<str>>(kind: &str, parts: impl IntoIterator<Item = P>) -> Result<Self, KeyError> {
        Tokens::new(kind, parts).map(Self::Under)
    }

    /// Whether `key` is among them.
    pub fn contains(&self, key: &Key) -> bool {
        match self {
            Self::All => true,
            Self::Under(Tokens(tokens)) => key.0.strip_prefix(&**tokens).is_some_and(|rest| rest.starts_with('.')),
            Self::Key(only) => only == key,
        }
    }

    /// As NATS writes it, relative to a bucket or namespace.
    pub(crate) fn pattern(&self) -> String {
        match self {
            Self::All => ">".to_owned(),
            Self::Under(Tokens(tokens)) => format!("{tokens}.>"),
            Self::Key(key) => key.as_str().to_owned(),
        }
    }

    /// The rendered text that all of them begin with.
    pub(crate) fn common(&self) -> String {
        match self {
            Self::All => String::new(),
            Self::Under(Tokens(tokens)) => format!("{tokens}."),
            Self::Key(key) => key.as_str().to_owned(),
        }
    }
}

impl From<&Key> for Prefix {
    fn from(key: &Key) -> Self {
        Self::Key(key.clone())
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pattern())
    }
}

impl Tokens {
    fn new<P: AsRef<str>>(kind: &str, parts: impl IntoIterator<Item = P>) -> Result<Self, KeyError> {
        let mut rendered = String::new();
        escape(kind, &mut rendered);
        let mut tokens = 1;
        for part in parts {
            rendered.push('.');
            escape(part.as_ref(), &mut rendered);
            tokens += 1;
        }
        if tokens > KEY_TOKENS_MAX {
            return Err(KeyError::TooManyTokens(tokens));
        }
        if rendered.len() > KEY_BYTES_MAX {
            return Err(KeyError::TooLong(rendered.len()));
        }
        Ok(Self(rendered.into()))
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

fn escape(part: &str, rendered: &mut String) {
    if part.is_empty() {
        rendered.push('=');
    }
    for byte in part.bytes() {
        if is_plain(byte) {
            rendered.push(byte.into());
        } else {
            rendered.push('=');
            rendered.push(HEX[usize::from(byte >> 4)].into());
            rendered.push(HEX[usize::from(byte & 15)].into());
        }
    }
}

/// The part that a token stands for; none for a token that [`escape`] does not write.
fn unescape(token: &str) -> Option<String> {
    if token.is_empty() {
        return None;
    }
    if token == "=" {
        return Some(String::new());
    }
    let mut bytes = token.bytes();
    let mut part = Vec::with_capacity(token.len());
    while let Some(byte) = bytes.next() {
        part.push(match byte {
            b'=' => escaped(bytes.next()?, bytes.next()?)?,
            byte if is_plain(byte) => byte,
            _ => return None,
        });
    }
    String::from_utf8(part).ok()
}

fn escaped(high: u8, low: u8) -> Option<u8> {
    let digit = |digit| HEX.iter().position(|&each| each == digit).and_then(|at| u8::try_from(at).ok());
    let byte = digit(high)? << 4 | digit(low)?;
    (!is_plain(byte)).then_some(byte)
}

#[cfg(test)]
mod tests;
