//! What both kinds of completion let a client say.

use std::collections::BTreeMap;

use headland_generation::Request;
use headland_generation::sampling::SamplingParameters;
use serde::Deserialize;
use serde_json::Value;

/// Answers of one request, over all its prompts.
pub const CHOICES_MAX: usize = 16;

/// What a client did wrong, in words for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadRequest {
    /// What is wrong and what would be right.
    pub message: String,
    /// The parameter that is wrong, where it is one.
    pub param: Option<String>,
}

impl BadRequest {
    /// About one parameter.
    pub(crate) fn of(param: &str, message: impl Into<String>) -> Self {
        BadRequest { message: message.into(), param: Some(param.to_owned()) }
    }
}

/// Parameters of both kinds. Those that are not OpenAI's are vLLM's and llama.cpp's.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The model.
    pub model: String,
    /// Whether the answer comes in chunks.
    pub stream: bool,
    include_usage: bool,
    /// Answers to each prompt.
    n: Option<usize>,
    tokens_max: Option<u64>,
    sampling: SamplingParameters,
    seed: Option<i64>,
    stops: Vec<String>,
    ignore_eos: bool,
    /// What only one of the kinds has, and what is unknown.
    pub(crate) rest: BTreeMap<String, Value>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
    /// Of no effect: what is told has no lengths to hide.
    #[serde(default, rename = "include_obfuscation")]
    _include_obfuscation: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum OneOrSeveral {
    One(String),
    Several(Vec<String>),
}

/// What parameters are, for people.
const A_NUMBER: &str = "a number";
const A_COUNT: &str = "a whole number, not below 0";
const A_WHOLE_NUMBER: &str = "a whole number";
const YES_OR_NO: &str = "true or false";
/// Characters of a wrong value that are told.
const TOLD_CHARS_MAX: usize = 60;

/// Parameters that say who asks or how it is billed: nothing here depends on them.
const WITHOUT_EFFECT: [&str; 7] =
    ["user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "parallel_tool_calls"];

/// Parameters of OpenAI's that ask for what is not done here, and the values with which they ask for nothing.
const NOT_DONE: [(&str, &[&str]); 12] = [
    ("tools", &["[]"]),
    ("tool_choice", &["\"none\"", "\"auto\""]),
    ("functions", &["[]"]),
    ("function_call", &["\"none\"", "\"auto\""]),
    ("response_format", &["{\"type\":\"text\"}"]),
    ("modalities", &["[\"text\"]"]),
    ("audio", &[]),
    ("prediction", &[]),
    ("reasoning_effort", &[]),
    ("verbosity", &[]),
    ("web_search_options", &[]),
    ("suffix", &["\"\""]),
];

impl Options {
    /// Reads what both kinds have; the rest is to be taken out, and [checked](Self::check_rest).
    pub(crate) fn read(body: &[u8]) -> Result<Self, BadRequest> {
        let mut options = Options { rest: parse(body)?, ..Options::default() };
        let model = options.take_as("model", "the model's name, a text")?;
        options.model = model.ok_or_else(|| BadRequest::of("model", "`model` is missing; it names the model"))?;
        options.stream = options.take_as("stream", YES_OR_NO)?.unwrap_or_default();
        let stream: Option<StreamOptions> = options.take_as("stream_options", "an object with `include_usage`")?;
        options.include_usage = stream.is_some_and(|stream| stream.include_usage);
        options.n = options.take_as("n", A_COUNT)?;
        let (newer, older) =
            (options.take_as("max_completion_tokens", A_COUNT)?, options.take_as("max_tokens", A_COUNT)?);
        options.tokens_max = newer.or(older);
        let bias: Option<BTreeMap<String, f32>> = options.take_as("logit_bias", "an object of numbers by token id")?;
        let token = |(name, bias): (String, f32)| match name.parse::<u32>() {
            Ok(token) => Ok((token, bias)),
            Err(_) => {
                let message = format!("`logit_bias` names `{name}`, which is no token's number");
                Err(BadRequest::of("logit_bias", message))
            }
        };
        options.sampling = SamplingParameters {
            temperature: options.take_as("temperature", A_NUMBER)?.unwrap_or(1.0),
            top_p: options.take_as("top_p", A_NUMBER)?.unwrap_or(1.0),
            top_k: options.take_as("top_k", A_COUNT)?.unwrap_or(0),
            min_p: options.take_as("min_p", A_NUMBER)?.unwrap_or(0.0),
            repetition_penalty: options.take_as("repetition_penalty", A_NUMBER)?.unwrap_or(1.0),
            presence_penalty: options.take_as("presence_penalty", A_NUMBER)?.unwrap_or(0.0),
            frequency_penalty: options.take_as("frequency_penalty", A_NUMBER)?.unwrap_or(0.0),
            logit_bias: bias.into_iter().flatten().map(token).collect::<Result<_, _>>()?,
            seed: None,
            logprobs: None,
        };
        options.seed = options.take_as("seed", A_WHOLE_NUMBER)?;
        options.stops = match options.take_as("stop", "a text, or a list of texts")? {
            None => Vec::new(),
            Some(OneOrSeveral::One(stop)) => vec![stop],
            Some(OneOrSeveral::Several(stops)) => stops,
        };
        options.ignore_eos = options.take_as("ignore_eos", YES_OR_NO)?.unwrap_or_default();
        Ok(options)
    }

    /// Takes a parameter; `what` says what it is, for who sent something else.
    pub(crate) fn take_as<T: for<'de> Deserialize<'de>>(
        &mut self,
        param: &str,
        what: &str,
    ) -> Result<Option<T>, BadRequest> {
        // `null` means what leaving out means.
        let Some(value) = self.rest.remove(param).filter(|value| !value.is_null()) else { return Ok(None) };
        let told: String = value.to_string().chars().take(TOLD_CHARS_MAX).collect();
        let wrong = |_| BadRequest::of(param, format!("`{param}` is {told}; it is to be {what}"));
        serde_json::from_value(value).map(Some).map_err(wrong)
    }

    /// Takes a parameter that says itself what is wrong with it.
    pub(crate) fn take<T: for<'de> Deserialize<'de>>(&mut self, param: &str) -> Result<Option<T>, BadRequest> {
        let Some(value) = self.rest.remove(param).filter(|value| !value.is_null()) else { return Ok(None) };
        serde_json::from_value(value).map(Some).map_err(|error| BadRequest::of(param, format!("`{param}`: {error}")))
    }

    /// Refuses what is left over.
    pub(crate) fn check_rest(&self) -> Result<(), BadRequest> {
        for (param, value) in &self.rest {
            if value.is_null() || WITHOUT_EFFECT.contains(&param.as_str()) {
                continue;
            }
            let Some((_, nothing)) = NOT_DONE.iter().find(|(known, _)| known == param) else {
                return Err(BadRequest::of(param, format!("`{param}` is no parameter of this route; leave it out")));
            };
            if !nothing.contains(&value.to_string().as_str()) {
                return Err(BadRequest::of(param, format!("`{param}` is not supported here; leave it out")));
            }
        }
        Ok(())
    }

    /// Whether the last chunk tells the usage.
    pub fn include_usage(&self) -> bool {
        self.include_usage
    }

    /// Answers to each of so many prompts.
    ///
    /// # Errors
    /// When there would be none, or more than [`CHOICES_MAX`].
    pub fn choices(&self, prompts: usize) -> Result<usize, BadRequest> {
        let n = self.n.unwrap_or(1);
        match n.checked_mul(prompts) {
            Some(1..=CHOICES_MAX) => Ok(n),
            _ => Err(BadRequest::of("n", format!("`n` is {n}; a request has between 1 and {CHOICES_MAX} answers"))),
        }
    }

    /// What the engine is asked for the answer numbered `choice` to `prompt`: `default_tokens` of it where the client says no
    /// number, as many as there is room for where there is no default either.
    pub(crate) fn request(
        &self,
        prompt: Vec<u32>,
        choice: usize,
        default_tokens: Option<usize>,
        logprobs: Option<u32>,
    ) -> Request {
        let sampling = SamplingParameters {
            // Answers to one prompt are to differ.
            seed: self.seed.map(|seed| seed.cast_unsigned().wrapping_add(choice as u64)),
            logprobs,
            ..self.sampling.clone()
        };
        let asked = self.tokens_max.map(|asked| usize::try_from(asked).unwrap_or(usize::MAX)).or(default_tokens);
        let stops = self.stops.clone();
        Request { tokens_max: asked, sampling, stops, ignores_end: self.ignore_eos, ..Request::greedy(prompt) }
    }
}

/// Reads a body.
pub(crate) fn parse<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, BadRequest> {
    serde_json::from_slice(body).map_err(|error| BadRequest { message: format!("the body: {error}"), param: None })
}
