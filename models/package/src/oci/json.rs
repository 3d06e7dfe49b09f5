//! Foreign JSON, read within bounds: depth, list lengths and map sizes are limited while reading, not afterwards.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{ANNOTATIONS_MAX, LAYERS_MAX};

/// The deepest nesting of a manifest. Real ones have four levels.
pub const JSON_DEPTH_MAX: usize = 32;

/// Whether `json` nests deeper than [`JSON_DEPTH_MAX`]. Looks at brackets outside strings only; it need not be valid.
pub(super) fn too_deep(json: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > JSON_DEPTH_MAX {
            return true;
        }
    }
    false
}

/// A list of at most [`LAYERS_MAX`] descriptors; the first one too many ends the reading.
pub(super) fn bounded_list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct List<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {LAYERS_MAX} descriptors")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = seq.next_element()? {
                if list.len() == LAYERS_MAX {
                    return Err(A::Error::custom(format_args!("more than {LAYERS_MAX} descriptors in one list")));
                }
                list.push(item);
            }
            Ok(list)
        }
    }

    deserializer.deserialize_seq(List(PhantomData))
}

/// At most [`ANNOTATIONS_MAX`] annotations, none twice; `null` is none.
pub(super) fn bounded_annotations<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    struct Annotations;

    impl<'de> Visitor<'de> for Annotations {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {ANNOTATIONS_MAX} annotations")
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(BTreeMap::new())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut annotations = BTreeMap::new();
            while let Some((key, value)) = map.next_entry::<String, String>()? {
                if annotations.len() == ANNOTATIONS_MAX {
                    return Err(A::Error::custom(format_args!("more than {ANNOTATIONS_MAX} annotations in one place")));
                }
                if annotations.insert(key, value).is_some() {
                    return Err(A::Error::custom("an annotation stands twice in one place"));
                }
            }
            Ok(annotations)
        }
    }

    deserializer.deserialize_any(Annotations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_outside_strings_only() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(!too_deep(nested(JSON_DEPTH_MAX).as_bytes()));
        assert!(too_deep(nested(JSON_DEPTH_MAX + 1).as_bytes()));
        assert!(!too_deep(format!(r#"{{"a":"{}"}}"#, "[".repeat(1_000)).as_bytes()));
        assert!(!too_deep(format!(r#"{{"a":"\"{}"}}"#, "[".repeat(1_000)).as_bytes()));
    }
}
