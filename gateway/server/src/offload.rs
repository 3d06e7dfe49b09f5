//! Keeps long computations off the threads that serve everyone, and each other from taking all the cores' time.

use std::time::Instant;

use crate::errors::{ApiError, Reason};
use crate::gateway::Gateway;
use crate::limits::INLINE_JSON_BYTES_MAX;

/// Runs `work` here if it handles few `bytes`, on a blocking thread otherwise: as many at a time as there are cores.
/// Waiting and working together may take until `deadline`.
pub(crate) async fn run<T: Send + 'static>(
    gateway: &Gateway,
    deadline: Instant,
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    if bytes <= INLINE_JSON_BYTES_MAX {
        return Ok(work());
    }
    let failed = |cause: String| ApiError::internal("the request could not be handled", cause);
    let offloaded = async {
        let permit =
            gateway.offload_permits().clone().acquire_owned().await.map_err(|error| failed(error.to_string()))?;
        let work = move || {
            // Given back when the work is done, even if nobody waits for it any more.
            let _permit = permit;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| failed(error.to_string()))
    };
    tokio::time::timeout_at(deadline.into(), offloaded).await.unwrap_or_else(|_| {
        let message = "the deadline passed while the gateway was busy reading or writing JSON; send less at once, or \
                       large tensors as binary data";
        Err(ApiError::new(Reason::DeadlineExceeded, message))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::Limits;
    use crate::test_support::gateway;

    const LARGE: usize = INLINE_JSON_BYTES_MAX + 1;

    #[tokio::test]
    async fn large_work_waits_for_its_turn_until_its_deadline() {
        let gateway = gateway([], Limits::default());
        let permits = gateway.offload_permits().clone();
        let all = permits.acquire_many(permits.available_permits() as u32).await.unwrap();
        let soon = || Instant::now() + Duration::from_millis(5);
        let late = run(&gateway, soon(), LARGE, || panic!("must not run")).await;
        assert_eq!(late.unwrap_err().reason(), Reason::DeadlineExceeded);
        assert_eq!(run(&gateway, soon(), LARGE - 1, || 1).await.unwrap(), 1, "little work needs no turn");
        drop(all);
        assert_eq!(run(&gateway, Instant::now() + Duration::from_secs(10), LARGE, || 2).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_turn_ends_with_the_work_and_not_with_who_asked_for_it() {
        let gateway = gateway([], Limits::default());
        let permits = gateway.offload_permits().clone();
        let all = permits.available_permits();
        let (started, starts) = tokio::sync::oneshot::channel();
        let (leave, leaves) = mpsc::channel::<()>();
        let asking = tokio::spawn(async move {
            let work = move || {
                started.send(()).unwrap();
                leaves.recv().unwrap();
            };
            run(&gateway, Instant::now() + Duration::from_secs(10), LARGE, work).await
        });
        starts.await.unwrap();
        asking.abort();
        assert!(asking.await.unwrap_err().is_cancelled());
        assert_eq!(permits.available_permits(), all - 1);
        leave.send(()).unwrap();
        assert!(permits.acquire_many(all as u32).await.is_ok());
    }
}
