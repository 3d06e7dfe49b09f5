//! Names as types: repository, tag, reference, upload. Each is checked once, where it enters, against the grammar of the
//! OCI distribution specification 1.1, and every name that passes is safe as a file name.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use headland_package::Sha256Digest;

/// The longest repository name. What common clients allow, and what one file name can hold.
pub const REPOSITORY_BYTES_MAX: usize = 255;
/// The longest tag; the specification's number.
pub const TAG_BYTES_MAX: usize = 128;
/// How much of a refused name is shown.
const SHOWN_CHARS_MAX: usize = 80;

/// A name that cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a {what}: {problem}")]
pub struct NameError {
    what: &'static str,
    given: String,
    problem: &'static str,
}

impl NameError {
    fn new(what: &'static str, given: &str, problem: &'static str) -> Self {
        // Control characters have no place in an error message, nor has a megabyte of name.
        let given = given.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect();
        NameError { what, given, problem }
    }
}

/// A repository: lower-case words joined by `/`, such as `models/all-minilm-l6-v2`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository(Arc<str>);

impl Repository {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as one file name: `/` becomes `+`, which no repository name contains.
    pub(super) fn to_file_name(&self) -> String {
        self.0.replace('/', "+")
    }

    /// The repository whose folder has this name, if there can be one.
    pub(super) fn from_file_name(name: &str) -> Option<Self> {
        if name.contains('/') {
            return None;
        }
        name.replace('+', "/").parse().ok()
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, by hand: runs of letters and digits, joined by one separator each.
fn is_path_component(component: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends_are_words = bytes.first().copied().is_some_and(is_word) && bytes.last().copied().is_some_and(is_word);
    ends_are_words
        && component
            .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            .all(|joint| matches!(joint, "" | "." | "_" | "__") || joint.bytes().all(|byte| byte == b'-'))
}

impl FromStr for Repository {
    type Err = NameError;

    fn from_str(s: &str) -> Result<Self, NameError> {
        let refuse = |problem| Err(NameError::new("repository name", s, problem));
        if s.len() > REPOSITORY_BYTES_MAX {
            return refuse("it is longer than 255 bytes");
        }
        if !s.split('/').all(is_path_component) {
            return refuse("it is lower-case letters and digits, joined by single `/`, `.`, `_`, `__` or dashes");
        }
        Ok(Repository(s.into()))
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A tag: up to 128 letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Arc<str>);

impl Tag {
    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = NameError;

    fn from_str(s: &str) -> Result<Self, NameError> {
        let refuse = |problem| Err(NameError::new("tag", s, problem));
        match s.as_bytes() {
            [] => refuse("it is empty"),
            bytes if bytes.len() > TAG_BYTES_MAX => refuse("it is longer than 128 bytes"),
            [first, ..] if !(first.is_ascii_alphanumeric() || *first == b'_') => {
                refuse("it must begin with a letter, a digit or `_`")
            }
            bytes if bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) => {
                Ok(Tag(s.into()))
            }
            _ => refuse("only letters, digits, `.`, `_` and `-` may stand in it"),
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Which manifest of a repository is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// The one this tag points to.
    Tag(Tag),
    /// The one with this digest.
    Digest(Sha256Digest),
}

impl FromStr for Reference {
    type Err = NameError;

    /// A digest when there is a `:` in it, which no tag has; else a tag.
    fn from_str(s: &str) -> Result<Self, NameError> {
        if !s.contains(':') {
            return Ok(Reference::Tag(s.parse()?));
        }
        s.parse().map(Reference::Digest).map_err(|_| {
            NameError::new("manifest reference", s, "a digest is `sha256:` and 64 lower-case hexadecimal digits")
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Tag(tag) => tag.fmt(f),
            Reference::Digest(digest) => digest.fmt(f),
        }
    }
}

/// An upload session: 32 hexadecimal digits, not to be guessed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId(Arc<str>);

impl UploadId {
    const BYTES: usize = 16;

    /// A new one, from the system's randomness.
    pub(super) fn random() -> std::io::Result<Self> {
        let mut raw = [0; Self::BYTES];
        // Requests of up to 256 bytes are answered whole once the system's pool is ready, and block until it is.
        rustix::rand::getrandom(&mut raw[..], rustix::rand::GetRandomFlags::empty())?;
        Ok(UploadId(raw.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UploadId {
    type Err = NameError;

    fn from_str(s: &str) -> Result<Self, NameError> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        if s.len() == 2 * Self::BYTES && s.bytes().all(is_digit) {
            Ok(UploadId(s.into()))
        } else {
            Err(NameError::new(
                "upload session",
                s,
                "it is 32 lower-case hexadecimal digits, as the upload's answer gave",
            ))
        }
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests;
