//! What a model has done, counted where it happens. The metrics endpoint reads these with the meanings of Triton's
//! `nv_inference_*` metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use headland_nn_core::NnError;

use crate::Timing;

/// Why a request failed, in Triton's categories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Refused before it ran: queue full, deadline passed, shutting down.
    Rejected,
    /// The caller went away.
    Canceled,
    /// The backend failed.
    Backend,
    /// Everything else, bad input above all.
    Other,
}

impl Failure {
    /// Every category.
    pub const ALL: [Failure; 4] = [Failure::Rejected, Failure::Canceled, Failure::Backend, Failure::Other];

    /// Triton's label value.
    pub fn label(self) -> &'static str {
        match self {
            Failure::Rejected => "REJECTED",
            Failure::Canceled => "CANCELED",
            Failure::Backend => "BACKEND",
            Failure::Other => "OTHER",
        }
    }

    fn of(error: &NnError) -> Self {
        match error {
            NnError::Overloaded { .. } | NnError::DeadlineExceeded { .. } | NnError::ShuttingDown { .. } => {
                Failure::Rejected
            }
            NnError::Runtime(_) | NnError::BadModel(_) | NnError::DeviceUnavailable(_) => Failure::Backend,
            NnError::InvalidInput(_) | NnError::TooLarge(_) => Failure::Other,
        }
    }
}

/// Counters of one model. Durations are cumulative, in microseconds, over successful requests.
#[derive(Debug, Default)]
pub struct ModelStats {
    success: AtomicU64,
    failure: [AtomicU64; 4],
    executions: AtomicU64,
    request_us: AtomicU64,
    queue_us: AtomicU64,
    input_us: AtomicU64,
    infer_us: AtomicU64,
    busy_us: AtomicU64,
}

impl ModelStats {
    /// Requests that were answered.
    pub fn success(&self) -> u64 {
        self.success.load(Relaxed)
    }

    /// Requests that failed, by reason.
    pub fn failure(&self, reason: Failure) -> u64 {
        self.failure[reason as usize].load(Relaxed)
    }

    /// Batches the executors have run.
    pub fn executions(&self) -> u64 {
        self.executions.load(Relaxed)
    }

    /// Time from arrival to answer.
    pub fn request_us(&self) -> u64 {
        self.request_us.load(Relaxed)
    }

    /// Time in the queue.
    pub fn queue_us(&self) -> u64 {
        self.queue_us.load(Relaxed)
    }

    /// Time spent making input tensors (tokenising).
    pub fn input_us(&self) -> u64 {
        self.input_us.load(Relaxed)
    }

    /// Time in the executor.
    pub fn infer_us(&self) -> u64 {
        self.infer_us.load(Relaxed)
    }

    /// Time the executors were busy, over all batches, failed ones included.
    pub fn busy_us(&self) -> u64 {
        self.busy_us.load(Relaxed)
    }

    pub(crate) fn executed(&self, took: Duration) {
        self.executions.fetch_add(1, Relaxed);
        self.busy_us.fetch_add(micros(took), Relaxed);
    }

    pub(crate) fn succeeded(&self, timing: &Timing) {
        self.success.fetch_add(1, Relaxed);
        self.request_us.fetch_add(micros(timing.total), Relaxed);
        self.queue_us.fetch_add(micros(timing.queue), Relaxed);
        self.input_us.fetch_add(micros(timing.input), Relaxed);
        self.infer_us.fetch_add(micros(timing.infer), Relaxed);
    }

    pub(crate) fn failed(&self, error: &NnError) {
        self.count(Failure::of(error));
    }

    pub(crate) fn canceled(&self) {
        self.count(Failure::Canceled);
    }

    fn count(&self, reason: Failure) {
        self.failure[reason as usize].fetch_add(1, Relaxed);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
