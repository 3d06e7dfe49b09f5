//! Entries of a GGUF file's metadata that describe its tokenizer, each held against its type and its range.

use std::borrow::Cow;
use std::collections::HashMap;

use headland_gguf::{Gguf, Value};

use super::Kind;

/// A file's entries.
pub(super) struct Metadata<'a>(pub &'a Gguf);

impl<'a> Metadata<'a> {
    fn get<T>(&self, key: &str, what: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>, String> {
        let key = format!("tokenizer.{key}");
        let value = self.0.get(&key);
        value.map(|value| read(value).ok_or_else(|| format!("`{key}` is not {what}"))).transpose()
    }

    fn own<T>(&self, key: &str, what: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>, String> {
        self.get(&format!("ggml.{key}"), what, read)
    }

    pub fn text(&self, key: &str) -> Result<Option<&'a str>, String> {
        self.own(key, "a text", Value::text)
    }

    pub fn flag(&self, key: &str) -> Result<Option<bool>, String> {
        self.own(key, "yes or no", Value::bool)
    }

    pub fn texts(&self, key: &str) -> Result<Vec<&'a str>, String> {
        let texts =
            self.own(key, "texts", |value| value.array()?.iter().map(Value::text).collect::<Option<Vec<_>>>())?;
        texts.ok_or_else(|| format!("`tokenizer.ggml.{key}` is missing"))
    }

    /// The number of one of `tokens` tokens.
    pub fn id(&self, key: &str, tokens: usize) -> Result<Option<u32>, String> {
        let Some(id) = self.own(key, "the number of a token", Value::integer)? else { return Ok(None) };
        let known = u32::try_from(id).ok().filter(|id| (*id as usize) < tokens);
        known.map(Some).ok_or_else(|| format!("`tokenizer.ggml.{key}` is {id}, and there are {tokens} tokens"))
    }

    pub fn scores(&self, tokens: usize) -> Result<Vec<f64>, String> {
        let number = |value: &Value| value.number().filter(|number| !number.is_nan());
        let scores =
            self.own("scores", "numbers", |value| value.array()?.iter().map(number).collect::<Option<Vec<_>>>())?;
        let scores = scores.ok_or("`tokenizer.ggml.scores` is missing")?;
        same_count("scores", scores.len(), tokens)?;
        Ok(scores)
    }

    pub fn kinds(&self, tokens: &[Cow<str>]) -> Result<Vec<Kind>, String> {
        let kind = |value: &Value| {
            Some(match value.integer()? {
                2 | 3 => Kind::Control,
                4 => Kind::UserDefined,
                _ => Kind::Text,
            })
        };
        let read = |value: &'a Value| value.array()?.iter().map(kind).collect::<Option<Vec<_>>>();
        let kinds = self.own("token_type", "numbers", read)?.ok_or("`tokenizer.ggml.token_type` is missing")?;
        same_count("token_type", kinds.len(), tokens.len())?;
        Ok(kinds)
    }

    /// Two tokens that are joined, by their order. Both, and what they make, are tokens.
    pub fn merges(&self, ids: &HashMap<Cow<str>, u32>) -> Result<Vec<(&'a str, &'a str)>, String> {
        let mut merges = Vec::new();
        for merge in self.texts("merges")? {
            // A token of bytes has no space, which is written otherwise.
            let pair =
                merge.split_once(' ').filter(|(left, right)| ids.contains_key(*left) && ids.contains_key(*right));
            let known = pair.filter(|(left, right)| ids.contains_key(&*[*left, *right].concat()));
            let why = || {
                format!(
                    "`tokenizer.ggml.merges` joins `{}`, which are not two tokens that make one",
                    merge.escape_debug()
                )
            };
            merges.push(known.ok_or_else(why)?);
        }
        Ok(merges)
    }

    /// The chat template of this name.
    pub fn template(&self, name: &str) -> Result<Option<String>, String> {
        Ok(self.get(&format!("chat_template{name}"), "a text", Value::text)?.map(str::to_owned))
    }

    /// Whether it is Phi-3 with the tokenizer of Llama 2: files do not say how its special tokens are matched.
    pub fn of_phi3(&self) -> bool {
        let name = self.0.get("general.name").and_then(Value::text).unwrap_or_default().to_lowercase();
        name.contains("phi-3") || name.contains("phi3")
    }
}

fn same_count(key: &str, count: usize, tokens: usize) -> Result<(), String> {
    match count == tokens {
        true => Ok(()),
        false => Err(format!("`tokenizer.ggml.{key}` has {count} elements, and there are {tokens} tokens")),
    }
}
