//! What can go wrong below the gateway. `Clone`, so that one failure can answer every caller of a batch.

use std::sync::Arc;

use crate::TensorError;

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
    /// The model's queue is full.
    #[error("the queue of model `{model}` is full ({queue_max} waiting); try again shortly")]
    Overloaded {
        /// Name of the model.
        model: Arc<str>,
        /// The queue's limit, in requests.
        queue_max: usize,
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

impl NnError {
    /// An [`NnError::InvalidInput`].
    pub fn invalid(message: impl Into<String>) -> Self {
        NnError::InvalidInput(message.into().into())
    }

    /// An [`NnError::BadModel`].
    pub fn bad_model(message: impl Into<String>) -> Self {
        NnError::BadModel(message.into().into())
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
