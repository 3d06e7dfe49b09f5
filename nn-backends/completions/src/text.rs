//! The body of `/v1/completions`.

use headland_generation::Request;
use serde::Deserialize;

use crate::options::{BadRequest, CHOICES_MAX, Options};

/// Tokens of an answer where nothing is said; OpenAI's number.
const DEFAULT_TOKENS: usize = 16;

/// A request to go on with texts.
#[derive(Clone, Debug)]
pub struct TextCompletion {
    /// What both kinds have.
    pub options: Options,
    /// What is to be gone on with.
    pub prompts: Vec<Prompt>,
    /// Whether each prompt goes before its answer.
    pub echo: bool,
    logprobs: Option<u32>,
}

/// A beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// As text.
    Text(String),
    /// As the model's tokens.
    Tokens(Vec<u32>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Prompts {
    Text(String),
    Tokens(Vec<u32>),
    Texts(Vec<String>),
    Lists(Vec<Vec<u32>>),
}

/// Reads a body.
///
/// # Errors
/// What is wrong with it.
pub fn parse_text(body: &[u8]) -> Result<TextCompletion, BadRequest> {
    let mut options = Options::read(body)?;
    let kinds = "`prompt` is a text, a list of texts, a list of token ids, or a list of such lists";
    let prompts = options.take::<Prompts>("prompt").map_err(|_| BadRequest::of("prompt", kinds))?;
    let prompts: Vec<Prompt> = match prompts.ok_or_else(|| BadRequest::of("prompt", kinds))? {
        Prompts::Text(text) => vec![Prompt::Text(text)],
        Prompts::Tokens(tokens) => vec![Prompt::Tokens(tokens)],
        Prompts::Texts(texts) => texts.into_iter().map(Prompt::Text).collect(),
        Prompts::Lists(lists) => lists.into_iter().map(Prompt::Tokens).collect(),
    };
    if prompts.is_empty() || prompts.len() > CHOICES_MAX {
        let message = format!("`prompt` has {} entries; between 1 and {CHOICES_MAX} are taken", prompts.len());
        return Err(BadRequest::of("prompt", message));
    }
    let logprobs = options.take_as("logprobs", "a whole number, not below 0")?;
    let echo = options.take_as("echo", "true or false")?.unwrap_or(false);
    if echo && logprobs.is_some() {
        return Err(BadRequest::of("echo", "`echo` with `logprobs` is not supported here; leave one of them out"));
    }
    let best_of: Option<usize> = options.take_as("best_of", "a whole number, not below 0")?;
    if best_of.is_some_and(|best_of| options.choices(1) != Ok(best_of)) {
        return Err(BadRequest::of("best_of", "`best_of` other than `n` is not supported here; leave it out"));
    }
    options.check_rest()?;
    Ok(TextCompletion { options, prompts, echo, logprobs })
}

impl TextCompletion {
    /// What the engine is asked for the answer numbered `choice` to `prompt`.
    pub fn request(&self, prompt: Vec<u32>, choice: usize) -> Request {
        self.options.request(prompt, choice, Some(DEFAULT_TOKENS), self.logprobs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_come_in_four_kinds() {
        let prompts = |json: &str| {
            parse_text(format!(r#"{{"model": "m", "prompt": {json}}}"#).as_bytes()).map(|parsed| parsed.prompts)
        };
        assert_eq!(prompts("\"a\""), Ok(vec![Prompt::Text("a".into())]));
        assert_eq!(prompts("[1, 2]"), Ok(vec![Prompt::Tokens(vec![1, 2])]));
        assert_eq!(prompts(r#"["a", "b"]"#), Ok(vec![Prompt::Text("a".into()), Prompt::Text("b".into())]));
        assert_eq!(prompts("[[1], [2]]"), Ok(vec![Prompt::Tokens(vec![1]), Prompt::Tokens(vec![2])]));
        for bad in ["null", "3", "[1, \"a\"]", "[-1]", "{}"] {
            assert_eq!(prompts(bad).unwrap_err().param.as_deref(), Some("prompt"), "{bad}");
        }
        assert!(prompts(&format!("{:?}", vec!["x"; 17])).unwrap_err().message.contains("has 17 entries"));
    }

    #[test]
    fn an_answer_has_sixteen_tokens_where_nothing_is_said() {
        let parsed = parse_text(br#"{"model": "m", "prompt": "a", "max_tokens": null}"#).unwrap();
        assert_eq!(parsed.request(vec![1], 0).tokens_max, Some(16));
        let huge = parse_text(br#"{"model": "m", "prompt": "a", "max_tokens": 2147483648}"#).unwrap();
        assert_eq!(huge.request(vec![1], 0).tokens_max, Some(1 << 31));
        assert!(parse_text(br#"{"model": "m", "prompt": "a", "best_of": 3}"#).is_err());
    }
}
