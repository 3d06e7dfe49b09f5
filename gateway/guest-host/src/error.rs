//! How a request to a guest can fail, before its response has begun.

use headland_package::ByteSize;

/// Why there is no response from the guest. Texts are safe to show a client; details are in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuestError {
    /// The guest trapped: a panic, an `unreachable`, an access out of bounds.
    #[error("the app failed while handling the request")]
    Trapped,
    /// The guest did not answer within its deadline.
    #[error("the app did not answer within its deadline of {deadline_ms} ms")]
    DeadlineExceeded {
        /// `[limits] deadline_ms` of the app.
        deadline_ms: u64,
    },
    /// The guest failed after it was refused memory.
    #[error("the app failed at its memory limit of {limit}")]
    MemoryLimit {
        /// `[limits] memory` of the app.
        limit: ByteSize,
    },
    /// The guest ended without setting a response.
    #[error("the app ended without answering")]
    NoResponse,
    /// The guest answered with a `wasi:http` error code instead of a response.
    #[error("the app answered with the error `{code}`")]
    ErrorCode {
        /// The code's name.
        code: String,
    },
    /// The request's body is larger than the app takes.
    #[error("the request body is larger than the app's limit of {limit}")]
    BodyTooLarge {
        /// `[limits] body` of the app.
        limit: ByteSize,
    },
    /// Every instance slot the app may have is taken.
    #[error("all guest instances the app may have are busy; try again shortly")]
    Overloaded,
    /// The guest's instance could not be made.
    #[error("the gateway could not start the app")]
    Internal,
}
