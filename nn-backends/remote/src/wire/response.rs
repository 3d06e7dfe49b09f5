//! The answer to a request: outputs, or the error that the model gave, whole.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use headland_batcher::{Answer, Cached, TextUsage, Timing};
use headland_nn_core::{Busy, NnError};
use serde::{Deserialize, Serialize};

use super::head::{Decoder, TensorHead, encode};
use super::{Frames, WireError};

/// Longest message of an error, in characters; whoever asked is not sent more.
const MESSAGE_CHARS_MAX: usize = 8_000;

/// Why a PoP gave no outputs.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refused {
    /// The model's own word, as its callers there get it.
    #[error(transparent)]
    Failed(#[from] NnError),
    /// It does not have the model, or not these bytes of it.
    #[error("{0}")]
    NotHere(String),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Head<'a> {
    Failed { error: ErrorHead<'a> },
    Answered(AnswerHead<'a>),
}

#[derive(Debug, Serialize, Deserialize)]
struct AnswerHead<'a> {
    outputs: Vec<TensorHead<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<TextHead>,
    timing: TimingHead,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cached: Option<bool>,
}

#[derive(Debug, Serialize, Deserialize)]
struct TextHead {
    tokens: usize,
    truncated: Vec<usize>,
    tokens_max: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct TimingHead {
    input_us: u64,
    queue_us: u64,
    infer_us: u64,
    total_us: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum ErrorHead<'a> {
    NotHere { message: Cow<'a, str> },
    InvalidInput { message: Cow<'a, str> },
    TooLarge { message: Cow<'a, str> },
    QueueFull { model: Cow<'a, str>, queue_max: usize, retry_after_us: u64 },
    WouldBeLate { model: Cow<'a, str>, wait_ms: u64, retry_after_us: u64 },
    DeadlineExceeded { model: Cow<'a, str> },
    ShuttingDown { model: Cow<'a, str> },
    Unreachable { model: Cow<'a, str>, message: Cow<'a, str> },
    BrokenOff { model: Cow<'a, str>, message: Cow<'a, str> },
    DeviceUnavailable { message: Cow<'a, str> },
    BadModel { message: Cow<'a, str> },
    Runtime { message: Cow<'a, str> },
}

/// The body that says an answer.
pub fn encode_answer(answer: &Answer) -> Frames {
    let Timing { input, queue, infer, total } = answer.timing;
    let head = AnswerHead {
        outputs: answer.outputs.iter().map(|output| TensorHead::of(&output.name, &output.tensor)).collect(),
        text: answer.text.as_ref().map(|usage| TextHead {
            tokens: usage.tokens,
            truncated: usage.truncated.clone(),
            tokens_max: usage.max_sequence_length,
        }),
        timing: TimingHead {
            input_us: micros(input),
            queue_us: micros(queue),
            infer_us: micros(infer),
            total_us: micros(total),
        },
        cached: answer.cache.map(|cached| cached == Cached::Hit),
    };
    encode(&Head::Answered(head), answer.outputs.iter().map(|output| &output.tensor))
}

/// The body that says why there is no answer.
pub fn encode_refusal(refused: &Refused) -> Frames {
    let error = match refused {
        Refused::NotHere(message) => ErrorHead::NotHere { message: short(message) },
        Refused::Failed(error) => error_head(error),
    };
    encode(&Head::Failed { error }, [])
}

/// Reads an answer, or why there is none. Its tensors are views of the body.
///
/// # Errors
/// [`WireError`], when the body is neither.
pub fn decode_response(body: Bytes) -> Result<Result<Answer, Refused>, WireError> {
    let (head, decoder) = Decoder::head::<Head<'static>>(body)?;
    match head {
        Head::Failed { error } => {
            decoder.tensors(Vec::new())?;
            Ok(Err(error.restore()))
        }
        Head::Answered(head) => {
            let outputs = decoder.tensors(head.outputs)?;
            let TimingHead { input_us, queue_us, infer_us, total_us } = head.timing;
            let [input, queue, infer, total] = [input_us, queue_us, infer_us, total_us].map(Duration::from_micros);
            let usage = |text: TextHead| TextUsage {
                tokens: text.tokens,
                truncated: text.truncated,
                max_sequence_length: text.tokens_max,
            };
            Ok(Ok(Answer {
                outputs,
                text: head.text.map(usage),
                timing: Timing { input, queue, infer, total },
                cache: head.cached.map(|hit| if hit { Cached::Hit } else { Cached::Miss }),
            }))
        }
    }
}

pub(super) fn error_head(error: &NnError) -> ErrorHead<'_> {
    match error {
        NnError::InvalidInput(message) => ErrorHead::InvalidInput { message: short(message) },
        NnError::TooLarge(message) => ErrorHead::TooLarge { message: short(message) },
        NnError::Overloaded { model, reason: Busy::QueueFull { queue_max }, retry_after } => {
            ErrorHead::QueueFull { model: short(model), queue_max: *queue_max, retry_after_us: micros(*retry_after) }
        }
        NnError::Overloaded { model, reason: Busy::WouldBeLate { wait_ms }, retry_after } => {
            ErrorHead::WouldBeLate { model: short(model), wait_ms: *wait_ms, retry_after_us: micros(*retry_after) }
        }
        NnError::DeadlineExceeded { model } => ErrorHead::DeadlineExceeded { model: short(model) },
        NnError::ShuttingDown { model } => ErrorHead::ShuttingDown { model: short(model) },
        NnError::Unreachable { model, why } => ErrorHead::Unreachable { model: short(model), message: short(why) },
        NnError::BrokenOff { model, why } => ErrorHead::BrokenOff { model: short(model), message: short(why) },
        NnError::DeviceUnavailable(message) => ErrorHead::DeviceUnavailable { message: short(message) },
        NnError::BadModel(message) => ErrorHead::BadModel { message: short(message) },
        NnError::Runtime(message) => ErrorHead::Runtime { message: short(message) },
    }
}

impl ErrorHead<'_> {
    pub fn restore(self) -> Refused {
        Refused::Failed(match self {
            ErrorHead::NotHere { message } => return Refused::NotHere(message.into_owned()),
            ErrorHead::InvalidInput { message } => NnError::InvalidInput(message.into()),
            ErrorHead::TooLarge { message } => NnError::TooLarge(message.into()),
            ErrorHead::QueueFull { model, queue_max, retry_after_us } => NnError::Overloaded {
                model: model.into(),
                reason: Busy::QueueFull { queue_max },
                retry_after: Duration::from_micros(retry_after_us),
            },
            ErrorHead::WouldBeLate { model, wait_ms, retry_after_us } => NnError::Overloaded {
                model: model.into(),
                reason: Busy::WouldBeLate { wait_ms },
                retry_after: Duration::from_micros(retry_after_us),
            },
            ErrorHead::DeadlineExceeded { model } => NnError::DeadlineExceeded { model: model.into() },
            ErrorHead::ShuttingDown { model } => NnError::ShuttingDown { model: model.into() },
            ErrorHead::Unreachable { model, message } => {
                NnError::Unreachable { model: model.into(), why: message.into() }
            }
            ErrorHead::BrokenOff { model, message } => NnError::BrokenOff { model: model.into(), why: message.into() },
            ErrorHead::DeviceUnavailable { message } => NnError::DeviceUnavailable(message.into()),
            ErrorHead::BadModel { message } => NnError::BadModel(message.into()),
            ErrorHead::Runtime { message } => NnError::Runtime(message.into()),
        })
    }
}

fn short(message: &str) -> Cow<'_, str> {
    match message.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((at, _)) => message[..at].into(),
        None => message.into(),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
