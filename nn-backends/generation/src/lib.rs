//! Language models that answer token by token, many requests in each step.
//!
//! Stands between the gateway and the models that compute logits, as `batcher` does for models that answer at once. What is
//! decided here is decided purely: [`schedule::decide`] says what a step computes, [`pages`] count the memory that sequences
//! have and share, [`sampling`] chooses tokens, a [`Constraint`] says which these may be, [`Detokenizer`] and [`StopWatch`] make text of them while they come.

mod constraint;
mod detokenize;
mod engine;
mod flows;
mod model;
pub mod pages;
mod request;
pub mod sampling;
pub mod schedule;
mod stop;

pub use constraint::{BrokenConstraint, Constraint, Grammar, Standing, TokenSet};
pub use detokenize::{Decode, Detokenizer};
pub use engine::{
    Answer, DEFAULT_PROMPT_TOKENS_BESIDE_ANSWERS_MAX, DEFAULT_QUEUE_MAX, DEFAULT_RUNNING_MAX, DEFAULT_STEP_TOKENS_MAX,
    Engine, EngineOptions, EngineStats,
};
pub use flows::Flow;
pub use model::{LanguageModel, ModelShape, Piece};
pub use request::{AnswerTiming, Delta, End, FinishReason, Refused, Request, Token, Usage};
pub use stop::{BadStop, STOP_BYTES_MAX, STOPS_MAX, StopWatch, Watched};
