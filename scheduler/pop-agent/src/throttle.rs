//! How fast files may come in: callers come before models that are on their way.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lets bytes pass at a bounded rate.
#[derive(Debug)]
pub struct Throttle {
    /// `None` lets everything pass.
    bytes_per_s_max: Option<u64>,
    /// When all that has passed would have, at that rate.
    due: Mutex<Option<Instant>>,
}

/// What may pass at once after a pause.
const BURST: Duration = Duration::from_millis(100);

impl Throttle {
    /// At most `bytes_per_s_max`, or as fast as it goes.
    pub fn new(bytes_per_s_max: Option<u64>) -> Self {
        Throttle { bytes_per_s_max, due: Mutex::default() }
    }

    /// Waits until `bytes` may pass.
    pub async fn take(&self, bytes: usize) {
        let Some(rate) = self.bytes_per_s_max else { return };
        let takes = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        let until = {
            let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            // Who was idle may not catch up on all it did not use.
            let from = due.filter(|due| *due + BURST > now).unwrap_or(now);
            *due = Some(from + takes);
            from
        };
        tokio::time::sleep_until(until).await;
    }
}
