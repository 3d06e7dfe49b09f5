//! What goes into a model and what comes out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headland_nn_core::{NamedTensor, OutputSelection};

use crate::flows::Caller;

/// A request to a model.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// What it is to work on.
    pub inputs: Inputs,
    /// The outputs to return. [`OutputSelection::All`] means the first output alone when the input is text: who sends
    /// text wants the answer, not each token's intermediate vectors.
    pub wanted: OutputSelection,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
    /// Who asks.
    pub caller: Caller,
    /// Lower runs first among the requests of one caller.
    pub priority: u8,
    /// What it is part of.
    pub trace: Trace,
}

/// By what a request is found again in the logs of every machine it passes.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// The request's id, as the gateway's answer carries it.
    pub request_id: Option<Arc<str>>,
    /// The W3C `traceparent` of this hop.
    pub parent: Option<Arc<str>>,
}

/// The input of a request.
#[derive(Clone, Debug)]
pub enum Inputs {
    /// The graph's inputs, or one tensor named `text` in their place.
    Tensors(Vec<NamedTensor>),
    /// The token ids of texts, bare or with the special tokens around them, for a model that takes text.
    Tokens(Vec<Vec<u32>>),
}

impl Default for Inputs {
    fn default() -> Self {
        Inputs::Tensors(Vec::new())
    }
}

impl From<Vec<NamedTensor>> for Inputs {
    fn from(tensors: Vec<NamedTensor>) -> Self {
        Inputs::Tensors(tensors)
    }
}

/// A model's answer.
#[derive(Debug)]
pub struct Answer {
    /// The wanted outputs, in the wanted order.
    pub outputs: Vec<NamedTensor>,
    /// What tokenising the text came to, when there was text.
    pub text: Option<TextUsage>,
    /// Where the time went.
    pub timing: Timing,
    /// Whether the answer was remembered, where the model remembers answers.
    pub cache: Option<Cached>,
}

/// Whether an answer came out of the response cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cached {
    /// It did.
    Hit,
    /// It was computed, and is remembered now.
    Miss,
}

/// What tokenising came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextUsage {
    /// Tokens of all texts, special ones included, padding not.
    pub tokens: usize,
    /// Positions of the texts that were cut to the model's longest sequence.
    pub truncated: Vec<usize>,
    /// The model's longest sequence, in tokens.
    pub max_sequence_length: usize,
}

/// Where a request's time went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    /// Making the input tensors.
    pub input: Duration,
    /// Waiting in the queue: until its first part began, for a request of several.
    pub queue: Duration,
    /// In the executor: until its last part ended.
    pub infer: Duration,
    /// From call to answer.
    pub total: Duration,
}
