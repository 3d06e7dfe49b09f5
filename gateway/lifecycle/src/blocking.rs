//! Work off the async threads, and locks that a panic does not take away.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::LifecycleError;

/// Runs what blocks off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LifecycleError> + Send + 'static,
) -> Result<T, LifecycleError> {
    let panicked = |error: tokio::task::JoinError| LifecycleError::Broken(format!("the work was interrupted: {error}"));
    tokio::task::spawn_blocking(work).await.map_err(panicked)?
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
