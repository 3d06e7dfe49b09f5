//! What both kinds of completion let a client say.

use std::collections::BTreeMap;

use headland_generation::Request;
use headland_generation::sampling::SamplingParameters;
use serde::{Deserialize, Deserializer};
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
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Options {
    /// The model.
    pub model: String,
    /// Whether the answer comes in chunks.
    #[serde(default, deserialize_with = "or_default")]
    pub stream: bool,
    stream_options: Option<StreamOptions>,
    /// Answers to each prompt.
    n: Option<usize>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<u32>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    seed: Option<i64>,
    #[serde(default, deserialize_with = "or_default")]
    logit_bias: BTreeMap<String, f32>,
    stop: Option<OneOrSeveral>,
    #[serde(default, deserialize_with = "or_default")]
    ignore_eos: bool,
    /// What only one of the kinds has, and what is unknown.
    #[serde(flatten)]
    pub(crate) rest: BTreeMap<String, Value>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum OneOrSeveral {
    One(String),
    Several(Vec<String>),
}

/// `null` means what leaving out means.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

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
    /// Takes a parameter that only one kind has.
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
        self.stream_options.is_some_and(|options| options.include_usage)
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
    ///
    /// # Errors
    /// For parameters that are no numbers of their kind; what the engine refuses it refuses itself.
    pub(crate) fn request(
        &self,
        prompt: Vec<u32>,
        choice: usize,
        default_tokens: Option<usize>,
        logprobs: Option<u32>,
    ) -> Result<Request, BadRequest> {
        let token = |token: &String| {
            let message = format!("`logit_bias` names `{token}`, which is no token's number");
            token.parse::<u32>().map_err(|_| BadRequest::of("logit_bias", message))
        };
        let bias = |(name, bias): (&String, &f32)| Ok((token(name)?, *bias));
        let sampling = SamplingParameters {
            temperature: self.temperature.unwrap_or(1.0),
            top_p: self.top_p.unwrap_or(1.0),
            top_k: self.top_k.unwrap_or(0),
            min_p: self.min_p.unwrap_or(0.0),
            repetition_penalty: self.repetition_penalty.unwrap_or(1.0),
            presence_penalty: self.presence_penalty.unwrap_or(0.0),
            frequency_penalty: self.frequency_penalty.unwrap_or(0.0),
            logit_bias: self.logit_bias.iter().map(bias).collect::<Result<_, _>>()?,
            // Answers to one prompt are to differ.
            seed: self.seed.map(|seed| seed.cast_unsigned().wrapping_add(choice as u64)),
            logprobs,
        };
        let asked = self.max_completion_tokens.or(self.max_tokens);
        let asked = asked.map(|asked| usize::try_from(asked).unwrap_or(usize::MAX)).or(default_tokens);
        let stops = match &self.stop {
            None => Vec::new(),
            Some(OneOrSeveral::One(stop)) => vec![stop.clone()],
            Some(OneOrSeveral::Several(stops)) => stops.clone(),
        };
        Ok(Request { tokens_max: asked, sampling, stops, ignores_end: self.ignore_eos, ..Request::greedy(prompt) })
    }
}

/// Reads a body.
pub(crate) fn parse<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, BadRequest> {
    serde_json::from_slice(body).map_err(|error| BadRequest { message: format!("the body: {error}"), param: None })
}
