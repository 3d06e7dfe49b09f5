//! Names as types: a [`ModelName`] is never mistaken for an [`AppName`], and each is checked once, where it enters.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::Sha256Digest;

/// The longest name or version.
pub const NAME_BYTES_MAX: usize = 128;

/// A name that cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a {what}: {problem}")]
pub struct IdError {
    what: &'static str,
    given: String,
    problem: &'static str,
}

fn check(what: &'static str, given: &str) -> Result<Arc<str>, IdError> {
    let problem = if given.is_empty() {
        "it is empty"
    } else if given.len() > NAME_BYTES_MAX {
        "it is longer than 128 bytes"
    } else if !given.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        "only letters, digits, `.`, `_` and `-` may stand in it"
    } else if !given.as_bytes()[0].is_ascii_alphanumeric() {
        "it must begin with a letter or digit"
    } else {
        return Ok(given.into());
    };
    Err(IdError { what, given: given.chars().take(NAME_BYTES_MAX).collect(), problem })
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The name as shared text.
            pub fn to_arc(&self) -> Arc<str> {
                self.0.clone()
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(s: &str) -> Result<Self, IdError> {
                check($what, s).map($name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(s: String) -> Result<Self, IdError> {
                s.parse()
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

id!(
    /// What a model is called: letters, digits, `.`, `_`, `-`.
    ModelName,
    "model name"
);
id!(
    /// What an app is called: letters, digits, `.`, `_`, `-`.
    AppName,
    "app name"
);

id!(
    /// What a point of presence is called, once in a fleet: letters, digits, `.`, `_`, `-`.
    PopId,
    "PoP name"
);
id!(
    /// What a region is called, such as `eu-west`: letters, digits, `.`, `_`, `-`.
    RegionName,
    "region name"
);

/// One version of a model. Ordered as people count: `2` before `10`, `1.9` before `1.10`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelVersion(Arc<str>);

impl ModelVersion {
    /// The version as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Digit runs compare as numbers, everything else as text.
    fn sort_key(&self) -> Vec<(u128, &str)> {
        self.0
            .split_inclusive(|c: char| !c.is_ascii_digit())
            .map(|part| {
                let digits = part.trim_end_matches(|c: char| !c.is_ascii_digit());
                (digits.parse().unwrap_or(0), &part[digits.len()..])
            })
            .collect()
    }
}

impl Default for ModelVersion {
    /// `1`, the version of a model that states none.
    fn default() -> Self {
        ModelVersion("1".into())
    }
}

impl FromStr for ModelVersion {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Self, IdError> {
        check("model version", s).map(ModelVersion)
    }
}

impl fmt::Display for ModelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Ord for ModelVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        self.sort_key().cmp(&other.sort_key()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for ModelVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<'de> serde::Deserialize<'de> for ModelVersion {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for ModelVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Which version of a model is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ModelSelector {
    /// The highest version that is loaded.
    Latest,
    /// This version.
    Version(ModelVersion),
    /// Whatever version has this digest.
    Digest(Sha256Digest),
}

/// A model as callers write it: `name`, `name:version` or `name@sha256:...`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelRef {
    /// The model.
    pub name: ModelName,
    /// The version of it.
    pub selector: ModelSelector,
}

impl FromStr for ModelRef {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Self, IdError> {
        let (name, selector) = if let Some((name, digest)) = s.split_once('@') {
            let digest = digest.parse().map_err(|_| IdError {
                what: "model reference",
                given: s.chars().take(NAME_BYTES_MAX).collect(),
                problem: "after `@` comes `sha256:` and 64 hexadecimal digits",
            })?;
            (name, ModelSelector::Digest(digest))
        } else if let Some((name, version)) = s.split_once(':') {
            (name, ModelSelector::Version(version.parse()?))
        } else {
            (s, ModelSelector::Latest)
        };
        Ok(ModelRef { name: name.parse()?, selector })
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.selector {
            ModelSelector::Latest => write!(f, "{}", self.name),
            ModelSelector::Version(version) => write!(f, "{}:{version}", self.name),
            ModelSelector::Digest(digest) => write!(f, "{}@{digest}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_parse_back_to_what_was_written() {
        let digest = format!("m@sha256:{}", "ab".repeat(32));
        for text in ["all-minilm-l6-v2", "digits:2.1", &digest] {
            assert_eq!(text.parse::<ModelRef>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn names_with_path_parts_or_control_characters_are_refused() {
        for text in ["", "..", "../x", "a/b", "a\nb", ".hidden", "-x", "a:b:c", "a@sha256:12", &"x".repeat(129)] {
            assert!(text.parse::<ModelRef>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn versions_sort_as_people_count() {
        let sorted = ["1", "1.9", "1.10", "2", "10", "10-rc1"];
        let mut versions: Vec<ModelVersion> = sorted.iter().rev().map(|v| v.parse().unwrap()).collect();
        versions.sort();
        assert_eq!(versions.iter().map(ModelVersion::as_str).collect::<Vec<_>>(), sorted);
    }
}
