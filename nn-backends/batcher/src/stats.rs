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
            NnError::Runtime(_)
            | NnError::BadModel(_)
            | NnError::DeviceUnavailable(_)
            | NnError::Unreachable { .. }
            | NnError::BrokenOff { .. } => Failure::Backend,
            NnError::InvalidInput(_) | NnError::TooLarge(_) => Failure::Other,
        }
    }
}

/// Upper bounds of the buckets for requests in a batch.
const BATCH_BOUNDS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];
/// Upper bounds of the buckets for time in the queue, in seconds.
const DELAY_BOUNDS: [f64; 12] = [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// Upper bounds of the buckets for the time to a first token, in seconds.
const FIRST_TOKEN_BOUNDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// How often values fell below some bounds.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One for each bound, and one for what is above them all.
    counts: Box<[AtomicU64]>,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Histogram { bounds, counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect() }
    }

    fn observe(&self, value: f64) {
        let bucket = self.bounds.partition_point(|&bound| bound < value);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Upper bounds, each with the number of values up to it, as Prometheus counts them.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut sum = 0;
        self.bounds.iter().zip(&self.counts).map(move |(&bound, count)| {
            sum += count.load(Relaxed);
            (bound, sum)
        })
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Relaxed)).sum()
    }
}

/// Counters of one model. Durations are cumulative, in microseconds, over successful requests.
#[derive(Debug)]
pub struct ModelStats {
    success: AtomicU64,
    from_peers: AtomicU64,
    failure: [AtomicU64; 4],
    executions: AtomicU64,
    request_us: AtomicU64,
    queue_us: AtomicU64,
    input_us: AtomicU64,
    infer_us: AtomicU64,
    busy_us: AtomicU64,
    requests: AtomicU64,
    rows: AtomicU64,
    cells: AtomicU64,
    padding: AtomicU64,
    cache: [AtomicU64; 2],
    batch_requests: Histogram,
    queue_delay: Histogram,
    first_token: Histogram,
    first_token_us: AtomicU64,
}

impl Default for ModelStats {
    fn default() -> Self {
        ModelStats {
            success: AtomicU64::default(),
            from_peers: AtomicU64::default(),
            failure: Default::default(),
            executions: AtomicU64::default(),
            request_us: AtomicU64::default(),
            queue_us: AtomicU64::default(),
            input_us: AtomicU64::default(),
            infer_us: AtomicU64::default(),
            busy_us: AtomicU64::default(),
            requests: AtomicU64::default(),
            rows: AtomicU64::default(),
            cells: AtomicU64::default(),
            padding: AtomicU64::default(),
            cache: Default::default(),
            batch_requests: Histogram::new(&BATCH_BOUNDS),
            queue_delay: Histogram::new(&DELAY_BOUNDS),
            first_token: Histogram::new(&FIRST_TOKEN_BOUNDS),
            first_token_us: AtomicU64::default(),
        }
    }
}

impl ModelStats {
    /// Requests that were answered.
    pub fn success(&self) -> u64 {
        self.success.load(Relaxed)
    }

    /// Of all requests, those that other gateways passed on to this one.
    pub fn from_peers(&self) -> u64 {
        self.from_peers.load(Relaxed)
    }

    pub(crate) fn passed_on(&self) {
        self.from_peers.fetch_add(1, Relaxed);
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

    /// Rows of all batches.
    pub fn rows(&self) -> u64 {
        self.rows.load(Relaxed)
    }

    /// Cells of all batches of several requests, padding not counted.
    pub fn cells(&self) -> u64 {
        self.cells.load(Relaxed)
    }

    /// Cells that filled shorter requests up to the longest of their batch.
    pub fn padding(&self) -> u64 {
        self.padding.load(Relaxed)
    }

    /// Requests answered from the response cache.
    pub fn cache_hits(&self) -> u64 {
        self.cache[1].load(Relaxed)
    }

    /// Requests that the response cache had no answer for.
    pub fn cache_misses(&self) -> u64 {
        self.cache[0].load(Relaxed)
    }

    /// Requests of all batches.
    pub fn batched_requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Requests in each batch.
    pub fn batch_requests(&self) -> &Histogram {
        &self.batch_requests
    }

    /// Time that successful requests were in the queue, in seconds.
    pub fn queue_delay(&self) -> &Histogram {
        &self.queue_delay
    }

    /// Time to the first token of an answer, of a language model, in seconds.
    pub fn first_tokens(&self) -> &Histogram {
        &self.first_token
    }

    /// The same, all together, in microseconds.
    pub fn first_token_us(&self) -> u64 {
        self.first_token_us.load(Relaxed)
    }

    pub(crate) fn first_token(&self, took: Duration) {
        self.first_token.observe(took.as_secs_f64());
        self.first_token_us.fetch_add(micros(took), Relaxed);
    }

    pub(crate) fn executed(&self, requests: usize, rows: usize, took: Duration) {
        self.executions.fetch_add(1, Relaxed);
        self.requests.fetch_add(requests as u64, Relaxed);
        self.batch_requests.observe(requests as f64);
        self.rows.fetch_add(rows as u64, Relaxed);
        self.busy_us.fetch_add(micros(took), Relaxed);
    }

    pub(crate) fn padded(&self, cells: usize, padding: usize) {
        self.cells.fetch_add(cells as u64, Relaxed);
        self.padding.fetch_add(padding as u64, Relaxed);
    }

    pub(crate) fn cached(&self, hit: bool) {
        self.cache[usize::from(hit)].fetch_add(1, Relaxed);
    }

    pub(crate) fn succeeded(&self, timing: &Timing) {
        self.success.fetch_add(1, Relaxed);
        self.request_us.fetch_add(micros(timing.total), Relaxed);
        self.queue_us.fetch_add(micros(timing.queue), Relaxed);
        self.queue_delay.observe(timing.queue.as_secs_f64());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_up_to_and_including_its_bounds() {
        let histogram = Histogram::new(&BATCH_BOUNDS);
        for value in [1.0, 2.0, 3.0, 1000.0] {
            histogram.observe(value);
        }
        let counts: Vec<u64> = histogram.cumulative().map(|(_, count)| count).collect();
        assert_eq!((&counts[..4], histogram.count()), (&[1, 2, 3, 3][..], 4));
    }
}
