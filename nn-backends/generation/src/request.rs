//! What is asked of an engine, and what comes back while it answers.

use std::sync::Arc;
use std::time::Duration;

use headland_nn_core::{NnError, seconds_up};

use crate::constraint::Grammar;
use crate::sampling::{BadParameter, Logprobs, SamplingParameters};
use crate::stop::BadStop;

/// One answer to one prompt.
#[derive(Clone, Debug)]
pub struct Request {
    /// What the answer follows, at least one token.
    pub prompt: Vec<u32>,
    /// Tokens of the answer; as many as there is room for when absent.
    pub tokens_max: Option<usize>,
    /// How its tokens are chosen.
    pub sampling: SamplingParameters,
    /// Strings that end it, and are not told.
    pub stops: Vec<String>,
    /// The form it is to have.
    pub constraint: Option<Arc<dyn Grammar>>,
    /// Whether it goes on where the model would end it, and its form lets it.
    pub ignores_end: bool,
    /// Which app asks. Apps share the model by their weights, and no memory.
    pub app: Arc<str>,
    /// Its weight.
    pub weight: u32,
}

impl Request {
    /// The likeliest answer to `prompt`, asked for by nobody in particular.
    pub fn greedy(prompt: Vec<u32>) -> Self {
        Request {
            prompt,
            tokens_max: None,
            sampling: SamplingParameters::default(),
            stops: Vec::new(),
            constraint: None,
            ignores_end: false,
            app: "".into(),
            weight: 1,
        }
    }
}

/// What has been added to an answer since the last one of these.
#[derive(Clone, Debug, Default)]
pub struct Delta {
    /// Text, of whole characters. It may lag behind the tokens.
    pub text: String,
    /// Tokens.
    pub tokens: Vec<Token>,
    /// How it ended, in the last one.
    pub end: Option<Result<End, NnError>>,
}

/// A token of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// It.
    pub id: u32,
    /// Characters of the answer before it, of those that are whole.
    pub text_offset: usize,
    /// How likely it was, where that was asked for.
    pub logprobs: Option<Logprobs>,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Why.
    pub reason: FinishReason,
    /// What it took.
    pub usage: Usage,
    /// How long, as the engine has it: nobody's reading is in it.
    pub timing: AnswerTiming,
}

/// How long an answer took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerTiming {
    /// From its memory to its first token.
    pub first: Duration,
    /// From its first token to its last.
    pub rest: Duration,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended it, or a stop string did.
    Stop,
    /// It has as many tokens as it may.
    Length,
}

/// What an answer took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// How many of these had been computed for others.
    pub cached_tokens: usize,
    /// Tokens of the answer.
    pub answer_tokens: usize,
}

/// A request that is not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refused {
    /// More tokens than the model takes.
    #[error(
        "the model takes {context_max} tokens at most, and the prompt has {prompt}{}; shorten one or the other",
        asked.map_or_else(String::new, |asked| format!(", with {asked} asked for in the answer"))
    )]
    ContextOverflow {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens asked for in the answer.
        asked: Option<usize>,
        /// Tokens of both together.
        context_max: usize,
    },
    /// A prompt of nothing.
    #[error("the prompt has no tokens")]
    Empty,
    /// A token that is none.
    #[error("token {0} of the prompt is outside the model's vocabulary")]
    UnknownToken(u32),
    /// An answer of nothing.
    #[error("an answer of no tokens was asked for; ask for one at least")]
    NoTokens,
    /// A parameter out of its bounds.
    #[error(transparent)]
    Parameter(#[from] BadParameter),
    /// Stop strings out of their bounds.
    #[error(transparent)]
    Stop(#[from] BadStop),
    /// As many wait as may.
    #[error("{queue_max} requests wait already; try again in {} s", seconds_up(retry_after))]
    QueueFull {
        /// How many may.
        queue_max: usize,
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// The model is being unloaded.
    #[error("the model is shutting down")]
    ShuttingDown,
}

impl FinishReason {
    /// OpenAI's word for it.
    pub fn word(self) -> &'static str {
        match self {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
        }
    }
}

impl Delta {
    /// Adds what came after.
    pub(crate) fn extend(&mut self, after: Delta) {
        self.text.push_str(&after.text);
        self.tokens.extend(after.tokens);
        self.end = self.end.take().or(after.end);
    }
}
