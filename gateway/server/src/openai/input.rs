//! The body of an embeddings request: texts or token ids, one or many, told apart as they are read.

use std::fmt;

use bytes::Bytes;
use headland_nn_core::Tensor;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

use crate::errors::{ApiError, Reason};
use crate::kserve::ParseError;
use crate::kserve::sink::{Sink, Strings};
use crate::limits::EMBEDDING_INPUTS_MAX;

/// An embeddings request. Unknown fields are ignored, as OpenAI's own server ignores them; `user` is one of them.
#[derive(Deserialize)]
pub(super) struct EmbeddingsRequest {
    pub model: String,
    pub input: Input,
    #[serde(default)]
    pub encoding_format: EncodingFormat,
    pub dimensions: Option<u64>,
}

/// How the vectors are written.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum EncodingFormat {
    /// Arrays of numbers.
    #[default]
    Float,
    /// Little-endian single-precision numbers, base64.
    Base64,
}

/// What is to be embedded.
#[derive(Debug)]
pub(super) enum Input {
    /// Texts, as a BYTES tensor.
    Texts(Tensor),
    /// Token ids.
    Tokens(Vec<Vec<u32>>),
}

impl Input {
    /// The number of embeddings asked for.
    pub(super) fn len(&self) -> usize {
        match self {
            Input::Texts(texts) => texts.shape().elements().unwrap_or(0),
            Input::Tokens(lists) => lists.len(),
        }
    }
}

/// Reads a request.
///
/// # Errors
/// With line and column.
pub(super) fn parse(body: &Bytes) -> Result<EmbeddingsRequest, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::new(Reason::MalformedBody, ParseError::json(&error).to_string()))
}

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut collected = Collected::default();
        Walk { into: &mut collected, level: 0 }.deserialize(deserializer)?;
        collected.finish()
    }
}

/// What has been read so far: of the three, only one may have something in it.
#[derive(Default)]
struct Collected {
    texts: Strings,
    ids: Vec<u32>,
    lists: Vec<Vec<u32>>,
}

impl Collected {
    fn finish<E: Error>(self) -> Result<Input, E> {
        if self.texts.len() > 0 {
            return Ok(Input::Texts(self.texts.finish().map_err(E::custom)?));
        }
        let lists = if self.ids.is_empty() { self.lists } else { vec![self.ids] };
        if lists.is_empty() { Err(E::custom("`input` is empty")) } else { Ok(Input::Tokens(lists)) }
    }

    fn check<E: Error>(&self) -> Result<(), E> {
        let kinds = [self.texts.len() > 0, !self.ids.is_empty(), !self.lists.is_empty()];
        if kinds.iter().filter(|some| **some).count() > 1 {
            return Err(E::custom("`input` mixes texts, token ids and lists of token ids; send one kind"));
        }
        if self.texts.len().max(self.lists.len()) > EMBEDDING_INPUTS_MAX {
            return Err(E::custom(format_args!(
                "`input` has more than {EMBEDDING_INPUTS_MAX} entries; send several requests"
            )));
        }
        Ok(())
    }
}

/// Level 0 is `input` itself, 1 its elements, 2 the ids of an inner list.
struct Walk<'c> {
    into: &'c mut Collected,
    level: usize,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`input` to be a string, a list of strings, a list of token ids, or a list of such lists")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        if self.level > 1 {
            return Err(E::custom("a list of token ids holds a string"));
        }
        if text.is_empty() {
            return Err(E::custom(format_args!("`input` {} is an empty string", self.into.texts.len())));
        }
        if !self.into.texts.text(text) {
            return Err(E::custom("a text of 4 GiB or more"));
        }
        self.into.check()
    }

    fn visit_u64<E: Error>(self, id: u64) -> Result<(), E> {
        let id = u32::try_from(id).map_err(|_| E::custom(format_args!("{id} is no token id")))?;
        match (self.level, self.into.lists.last_mut()) {
            (0, _) => return Err(E::custom("`input` is a bare number; a token id stands in a list")),
            (2, Some(list)) => list.push(id),
            _ => self.into.ids.push(id),
        }
        self.into.check()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        match self.level {
            0 => {}
            1 => {
                self.into.lists.push(Vec::new());
                self.into.check()?;
            }
            _ => return Err(A::Error::custom("`input` is nested too deeply")),
        }
        while seq.next_element_seed(Walk { into: &mut *self.into, level: self.level + 1 })?.is_some() {}
        if self.level == 1 && self.into.lists.last().is_some_and(Vec::is_empty) {
            let index = self.into.lists.len().saturating_sub(1);
            return Err(A::Error::custom(format_args!("`input` {index} is an empty list")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &str) -> Result<Input, String> {
        serde_json::from_str(input).map_err(|error| error.to_string())
    }

    #[test]
    fn all_four_kinds_are_told_apart() {
        for (json, expected) in [(r#""a""#, &["a"][..]), (r#"["a","b"]"#, &["a", "b"])] {
            let Ok(Input::Texts(texts)) = read(json) else { panic!("{json}") };
            assert_eq!(texts.strings().unwrap(), expected.iter().map(|text| text.as_bytes()).collect::<Vec<_>>());
        }
        for (json, expected) in [("[1,2]", vec![vec![1, 2]]), ("[[1],[2,3]]", vec![vec![1], vec![2, 3]])] {
            let Ok(Input::Tokens(lists)) = read(json) else { panic!("{json}") };
            assert_eq!(lists, expected);
        }
    }

    #[test]
    fn what_cannot_be_embedded_is_named() {
        let many = format!("[{}\"x\"]", "\"x\",".repeat(EMBEDDING_INPUTS_MAX));
        for (json, expected) in [
            ("[]", "`input` is empty"),
            (r#""""#, "`input` 0 is an empty string"),
            (r#"["a",""]"#, "`input` 1 is an empty string"),
            ("[[1],[]]", "`input` 1 is an empty list"),
            (r#"["a",1]"#, "`input` mixes texts"),
            (r#"[[1],2]"#, "`input` mixes texts"),
            (r#"[["a"]]"#, "a list of token ids holds a string"),
            ("[[[1]]]", "nested too deeply"),
            ("[-1]", "invalid type: integer `-1`, expected `input` to be a string"),
            ("[4294967296]", "4294967296 is no token id"),
            ("7", "a bare number"),
            ("null", "invalid type: null, expected `input` to be a string"),
            (&many, "more than 2048 entries"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(expected), "{json:.40}: {error}");
        }
    }
}
