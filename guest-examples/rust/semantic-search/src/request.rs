//! The search request: its JSON and its limits.

use serde::Deserialize;

/// The most documents of one request.
pub const MAX_DOCUMENTS: usize = 256;
/// The longest query or document. A sentence-embedding model reads a few hundred words of it at most.
pub const MAX_TEXT_BYTES: usize = 16 << 10;

const DEFAULT_TOP_K: usize = 3;

/// A search, checked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// What to look for.
    pub query: String,
    /// Where to look; the built-in corpus when absent.
    pub documents: Option<Vec<String>>,
    /// How many results to answer.
    #[serde(default = "default_top_k")]
    pub top_k: usize,
}

/// A request that is no search. The messages are for its sender.
#[derive(Debug, PartialEq, Eq)]
pub enum BadSearch {
    /// Not the JSON it should be, or values that make no sense.
    Malformed(String),
    /// More than a limit.
    TooLarge(String),
}

fn default_top_k() -> usize {
    DEFAULT_TOP_K
}

impl Search {
    /// Reads a request body.
    ///
    /// # Errors
    /// [`BadSearch`], with the position of malformed JSON.
    pub fn parse(body: &[u8]) -> Result<Self, BadSearch> {
        let search: Search = serde_json::from_slice(body).map_err(|error| {
            BadSearch::Malformed(format!(
                "{error}; send {{\"query\": \"...\", \"documents\": [\"...\"], \"top_k\": 3}}"
            ))
        })?;
        search.check()?;
        Ok(search)
    }

    fn check(&self) -> Result<(), BadSearch> {
        let malformed = |what: &str| Err(BadSearch::Malformed(what.to_owned()));
        if self.query.trim().is_empty() {
            return malformed("`query` is empty; say what to look for");
        }
        if self.top_k == 0 {
            return malformed("`top_k` must be 1 or more");
        }
        check_length("query", &self.query)?;
        let Some(documents) = &self.documents else { return Ok(()) };
        if documents.is_empty() {
            return malformed("`documents` is empty; leave it out to search the built-in corpus");
        }
        if documents.len() > MAX_DOCUMENTS {
            let got = documents.len();
            return Err(BadSearch::TooLarge(format!("{got} documents; one request may bring {MAX_DOCUMENTS}")));
        }
        documents.iter().enumerate().try_for_each(|(at, text)| check_length(&format!("documents[{at}]"), text))
    }
}

fn check_length(what: &str, text: &str) -> Result<(), BadSearch> {
    if text.len() <= MAX_TEXT_BYTES {
        return Ok(());
    }
    let got = text.len();
    Err(BadSearch::TooLarge(format!("`{what}` has {got} bytes; a text may have {MAX_TEXT_BYTES}: split it")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &str) -> String {
        match Search::parse(body.as_bytes()).unwrap_err() {
            BadSearch::Malformed(message) => format!("400 {message}"),
            BadSearch::TooLarge(message) => format!("413 {message}"),
        }
    }

    #[test]
    fn a_query_alone_is_a_search_of_the_corpus() {
        let search = Search::parse(br#"{"query": "rain"}"#).unwrap();
        assert_eq!((search.query.as_str(), search.top_k), ("rain", 3));
        assert!(search.documents.is_none());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        assert!(refusal("{\"query\": \"x\",\n nope}").starts_with("400 key must be a string at line 2 column 2"));
        assert!(
            refusal(r#"{"query": 3}"#).contains("invalid type: integer `3`, expected a string at line 1 column 11")
        );
        assert!(refusal(r#"{"query": "x", "topk": 3}"#).contains("unknown field `topk`"));
        assert!(refusal(r#"{"documents": []}"#).contains("missing field `query`"));
        assert!(refusal("").contains("line 1 column 0"));
        assert_eq!(refusal(r#"{"query": " "}"#), "400 `query` is empty; say what to look for");
        assert_eq!(refusal(r#"{"query": "x", "top_k": 0}"#), "400 `top_k` must be 1 or more");
        assert!(refusal(r#"{"query": "x", "documents": []}"#).starts_with("400 `documents` is empty"));
    }

    #[test]
    fn more_than_the_limits_is_too_large() {
        let many = serde_json::json!({"query": "x", "documents": vec!["y"; MAX_DOCUMENTS + 1]});
        assert_eq!(refusal(&many.to_string()), "413 257 documents; one request may bring 256");
        let long = serde_json::json!({"query": "x", "documents": ["a", "y".repeat(MAX_TEXT_BYTES + 1)]});
        assert!(refusal(&long.to_string()).starts_with("413 `documents[1]` has 16385 bytes"));
    }
}
