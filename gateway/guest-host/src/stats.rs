//! What an app's guests have done, counted where it happens and read by the metrics endpoint.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::GuestError;

/// How a guest run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered.
    Ok,
    /// It trapped.
    Trap,
    /// It ran into its deadline.
    Deadline,
    /// It failed at its memory limit.
    Memory,
    /// It was not started, for want of an instance or because of the body's size.
    Refused,
    /// It ended without a usable answer.
    NoResponse,
    /// Its instance could not be made.
    Internal,
    /// The client left before the answer had begun.
    Canceled,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Outcome; 8] = [
        Outcome::Ok,
        Outcome::Trap,
        Outcome::Deadline,
        Outcome::Memory,
        Outcome::Refused,
        Outcome::NoResponse,
        Outcome::Internal,
        Outcome::Canceled,
    ];

    /// The metric's label value.
    pub fn label(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Trap => "trap",
            Outcome::Deadline => "deadline",
            Outcome::Memory => "memory",
            Outcome::Refused => "refused",
            Outcome::NoResponse => "no_response",
            Outcome::Internal => "internal",
            Outcome::Canceled => "canceled",
        }
    }

    pub(crate) fn of<T>(result: &Result<T, GuestError>) -> Self {
        match result {
            Ok(_) => Outcome::Ok,
            Err(GuestError::Trapped) => Outcome::Trap,
            Err(GuestError::DeadlineExceeded { .. }) => Outcome::Deadline,
            Err(GuestError::MemoryLimit { .. }) => Outcome::Memory,
            Err(GuestError::BodyTooLarge { .. } | GuestError::Overloaded) => Outcome::Refused,
            Err(GuestError::NoResponse | GuestError::ErrorCode { .. }) => Outcome::NoResponse,
            Err(GuestError::Internal) => Outcome::Internal,
        }
    }
}

/// Counters of one app.
#[derive(Debug, Default)]
pub struct AppStats {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    cut_off: AtomicU64,
    instances: AtomicU64,
}

impl AppStats {
    /// Requests that ended so.
    pub fn requests(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize].load(Relaxed)
    }

    /// Responses that had begun and were cut off by a trap or the deadline.
    pub fn cut_off(&self) -> u64 {
        self.cut_off.load(Relaxed)
    }

    /// Instances alive now.
    pub fn instances(&self) -> u64 {
        self.instances.load(Relaxed)
    }

    pub(crate) fn count(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn count_cut_off(&self) {
        self.cut_off.fetch_add(1, Relaxed);
    }

    /// Counts one instance more, unless `instances_max` are alive.
    pub(crate) fn instance_starts(&self, instances_max: u32) -> bool {
        let more = |alive| (alive < u64::from(instances_max)).then_some(alive + 1);
        self.instances.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    pub(crate) fn instance_ended(&self) {
        self.instances.fetch_sub(1, Relaxed);
    }
}
