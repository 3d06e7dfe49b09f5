//! Keeps long computations off the threads that serve everyone.

use crate::errors::ApiError;
use crate::limits::INLINE_JSON_BYTES_MAX;

/// Runs `work` here if it handles few `bytes`, on a blocking thread otherwise.
pub(crate) async fn run<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    if bytes <= INLINE_JSON_BYTES_MAX {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| ApiError::internal("the request could not be handled", error.to_string()))
}
