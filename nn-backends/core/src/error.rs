//! What can go wrong below the gateway. `Clone`, so that one failure can answer every caller of a batch.

use std::sync::Arc;
use std::time::Duration;

use crate::TensorError;

/// The most of a message about a bad model that is kept, in characters: it may repeat what stands in the model's files.
const MESSAGE_CHARS_MAX: usize = 2_000;

/// An inference or a load that failed.
///
/// Messages of the first group are safe to show a client; [`NnError::Runtime`] is for the log.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NnError {
    /// The tensors do not fit the graph's signature. The message names the expected signature.
    #[error("{0}")]
    InvalidInput(Arc<str>),
    /// The request asks for more than the model can do at once (sequence length, batch, memory).
    #[error("{0}")]
    TooLarge(Arc<str>),
    /// The model has more to do than it gets done.
    #[error("model `{model}` is busy: {reason}; try again in {} s", seconds_up(retry_after))]
    Overloaded {
        /// Name of the model.
        model: Arc<str>,
        /// What there is too much of.
        reason: Busy,
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// The caller's deadline passed before the result was there.
    #[error("the deadline passed before model `{model}` answered")]
    DeadlineExceeded {
        /// Name of the model.
        model: Arc<str>,
    },
    /// The model is being unloaded, or the host is shutting down.
    #[error("model `{model}` is shutting down")]
    ShuttingDown {
        /// Name of the model.
        model: Arc<str>,
    },
    /// The model runs elsewhere, and nobody who has it answers.
    #[error("model `{model}` cannot be reached now")]
    Unreachable {
        /// Name of the model.
        model: Arc<str>,
        /// Who was asked and what came of it, for the log.
        why: Arc<str>,
    },
    /// Part of the answer was there when whoever gave it was lost. What was told stays told, so nobody else goes on with it.
    #[error("the answer of model `{model}` broke off: the PoP that gave it cannot be reached any more; ask again")]
    BrokenOff {
        /// Name of the model.
        model: Arc<str>,
        /// Who gave it and what became of that, for the log.
        why: Arc<str>,
    },
    /// The device that was asked for is not there. Never replaced by another one.
    #[error("{0}")]
    DeviceUnavailable(Arc<str>),
    /// A file of the model is missing, corrupt or of an unsupported kind. The message names file and cause.
    #[error("{0}")]
    BadModel(Arc<str>),
    /// The backend failed.
    #[error("{0}")]
    Runtime(Arc<str>),
}

/// Why a model takes no request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// As many wait as may.
    #[error("its queue is full ({queue_max} waiting)")]
    QueueFull {
        /// The queue's limit, in requests.
        queue_max: usize,
    },
    /// An answer would come after the request's deadline.
    #[error("a request would wait {wait_ms} ms, and be answered after its deadline")]
    WouldBeLate {
        /// How long it would wait, in milliseconds.
        wait_ms: u64,
    },
}

/// Whole seconds, at least one: what `Retry-After` can say.
pub fn seconds_up(duration: &Duration) -> u64 {
    duration.as_secs_f64().ceil().max(1.0) as u64
}

impl NnError {
    /// An [`NnError::InvalidInput`].
    pub fn invalid(message: impl Into<String>) -> Self {
        NnError::InvalidInput(message.into().into())
    }

    /// An [`NnError::BadModel`].
    pub fn bad_model(message: impl Into<String>) -> Self {
        // Nor may a terminal or a log obey what stands in a model's files.
        let plain = |c: char| if c.is_control() && c != '\n' { c.escape_debug().to_string() } else { c.to_string() };
        let message: String = message.into().chars().take(MESSAGE_CHARS_MAX).map(plain).collect();
        NnError::BadModel(message.into())
    }

    /// An [`NnError::Overloaded`] for who would wait so long that its answer comes after its deadline.
    pub fn would_be_late(model: &Arc<str>, wait: Duration) -> Self {
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        NnError::Overloaded { model: model.clone(), reason: Busy::WouldBeLate { wait_ms }, retry_after: wait }
    }

    /// An [`NnError::Unreachable`].
    pub fn unreachable(model: impl Into<Arc<str>>, why: impl Into<String>) -> Self {
        NnError::Unreachable { model: model.into(), why: why.into().into() }
    }

    /// An [`NnError::Runtime`].
    pub fn runtime(error: impl std::fmt::Display) -> Self {
        NnError::Runtime(error.to_string().into())
    }
}

impl From<TensorError> for NnError {
    fn from(error: TensorError) -> Self {
        NnError::invalid(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_models_files_say_is_shown_and_not_obeyed() {
        let error = NnError::bad_model(format!("type `ro\u{1b}[2Jberta`{}", "x".repeat(10_000))).to_string();
        assert!(error.contains("ro\\u{1b}[2Jberta") && error.len() < 2 * MESSAGE_CHARS_MAX, "{error}");
    }
}
