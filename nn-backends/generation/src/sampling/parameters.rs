//! What a request may ask of sampling, and what it may not.

use std::collections::BTreeMap;

/// The highest temperature; OpenAI's limit.
pub const TEMPERATURE_MAX: f32 = 2.0;
/// The largest presence and frequency penalty, to both sides; OpenAI's limit.
pub const PENALTY_MAX: f32 = 2.0;
/// The largest bias of a token, to both sides; OpenAI's limit.
pub const BIAS_MAX: f32 = 100.0;
/// Tokens that may have a bias.
pub const BIASES_MAX: usize = 1024;
/// Likeliest tokens whose logarithms may be asked for; OpenAI's limit.
pub const LOGPROBS_MAX: u32 = 20;

/// How a sequence's tokens are chosen. The default takes the likeliest.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingParameters {
    /// What logits are divided by; zero takes the likeliest token.
    pub temperature: f32,
    /// Of the likeliest tokens, as many as have this likelihood together.
    pub top_p: f32,
    /// Of the likeliest tokens, so many; zero for all.
    pub top_k: u32,
    /// Tokens that are this likely, compared to the likeliest.
    pub min_p: f32,
    /// Divides positive logits of tokens in prompt and answer, and multiplies negative ones (Keskar et al., "CTRL", 2019).
    pub repetition_penalty: f32,
    /// Taken from logits of tokens in the answer.
    pub presence_penalty: f32,
    /// Taken from logits of tokens in the answer for each time they stand there.
    pub frequency_penalty: f32,
    /// Added to logits.
    pub logit_bias: BTreeMap<u32, f32>,
    /// Where drawing begins; anywhere when absent.
    pub seed: Option<u64>,
    /// How many of the likeliest tokens are to be told with their logarithms, beside the chosen one's.
    pub logprobs: Option<u32>,
}

impl Default for SamplingParameters {
    fn default() -> Self {
        SamplingParameters {
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: BTreeMap::new(),
            seed: None,
            logprobs: None,
        }
    }
}

/// A parameter that is out of its bounds.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("`{name}` {problem}")]
pub struct BadParameter {
    /// Which, as OpenAI's API calls it.
    pub name: &'static str,
    /// What it is to be.
    pub problem: String,
}

impl SamplingParameters {
    /// Holds every parameter against its bounds, tokens against a vocabulary of so many.
    ///
    /// # Errors
    /// The first parameter that is out of them.
    pub fn check(&self, vocabulary: usize) -> Result<(), BadParameter> {
        let between = |name, value: f32, low: f32, high: f32| match (low..=high).contains(&value) {
            true => Ok(()),
            false => Err(BadParameter { name, problem: format!("is {value}; it is between {low} and {high}") }),
        };
        between("temperature", self.temperature, 0.0, TEMPERATURE_MAX)?;
        between("top_p", self.top_p, f32::MIN_POSITIVE, 1.0).map_err(|_| BadParameter {
            name: "top_p",
            problem: format!("is {}; it is more than 0 and at most 1", self.top_p),
        })?;
        between("min_p", self.min_p, 0.0, 1.0)?;
        between("repetition_penalty", self.repetition_penalty, 0.01, 100.0)?;
        between("presence_penalty", self.presence_penalty, -PENALTY_MAX, PENALTY_MAX)?;
        between("frequency_penalty", self.frequency_penalty, -PENALTY_MAX, PENALTY_MAX)?;
        let bad = |name, problem: String| Err(BadParameter { name, problem });
        if self.logit_bias.len() > BIASES_MAX {
            return bad("logit_bias", format!("names {} tokens; {BIASES_MAX} at most", self.logit_bias.len()));
        }
        if let Some((token, _)) = self.logit_bias.last_key_value().filter(|(token, _)| **token as usize >= vocabulary) {
            return bad("logit_bias", format!("names token {token}; the vocabulary has {vocabulary}"));
        }
        self.logit_bias.values().try_for_each(|&bias| between("logit_bias", bias, -BIAS_MAX, BIAS_MAX))?;
        match self.logprobs {
            Some(top) if top > LOGPROBS_MAX => bad("top_logprobs", format!("is {top}; {LOGPROBS_MAX} at most")),
            _ => Ok(()),
        }
    }

    /// Whether what was said before counts.
    pub(super) fn penalises(&self) -> bool {
        self.repetition_penalty != 1.0 || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
    }
}
