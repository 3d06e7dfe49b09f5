//! What came of a load.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

/// Latencies are told apart to three digits, from a microsecond to ten minutes.
const DIGITS: u8 = 3;
const LATENCY_MAX_US: u64 = 600_000_000;

/// Counts and latencies of one load.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Microseconds from the intended send time to the end of a 200.
    pub accepted: Histogram<u64>,
    /// The same of 429 and 503.
    pub refused: Histogram<u64>,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Refusals that said when to come back.
    pub retry_after: u64,
    /// Requests whose connection broke.
    pub broken: u64,
    /// Requests that had no answer when the load was given up on.
    pub unanswered: u64,
    /// From the first intended send to the end of the window.
    pub window: Duration,
    /// 200s that came within the window.
    pub in_window: u64,
    /// Processor time of the thread that made the load.
    pub cpu: Duration,
}

impl Outcome {
    pub(crate) fn new() -> Result<Self> {
        let latencies = Histogram::new_with_bounds(1, LATENCY_MAX_US, DIGITS)?;
        Ok(Outcome {
            accepted: latencies.clone(),
            refused: latencies,
            statuses: BTreeMap::new(),
            retry_after: 0,
            broken: 0,
            unanswered: 0,
            window: Duration::ZERO,
            in_window: 0,
            cpu: Duration::ZERO,
        })
    }

    pub(crate) fn count(&mut self, status: u16, retry_after: bool, took: Duration, in_window: bool) {
        *self.statuses.entry(status).or_default() += 1;
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        match status {
            200 => {
                self.accepted.saturating_record(micros);
                self.in_window += u64::from(in_window);
            }
            429 | 503 => {
                self.refused.saturating_record(micros);
                self.retry_after += u64::from(retry_after);
            }
            _ => {}
        }
    }

    /// Good answers a second.
    pub fn rate(&self) -> f64 {
        self.in_window as f64 / self.window.as_secs_f64()
    }

    /// Requests that were sent, or should have been.
    pub fn requests(&self) -> u64 {
        self.statuses.values().sum::<u64>() + self.broken + self.unanswered
    }

    /// Requests that got something else than a 200.
    pub fn not_ok(&self) -> u64 {
        self.requests() - self.accepted.len()
    }

    /// Processor time of the client a request, in microseconds.
    pub fn client_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.requests().max(1) as f64
    }

    /// The latency at or below which `share` of the accepted lie, in microseconds.
    pub fn latency_us(&self, share: f64) -> f64 {
        self.accepted.value_at_quantile(share) as f64
    }

    /// The accepted's distribution: latency in microseconds and the share at or below it.
    pub fn distribution(&self) -> Vec<(f64, f64)> {
        const POINTS: [f64; 25] = [
            0.0, 0.01, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85,
            0.9, 0.95, 0.98, 0.99, 0.995, 0.999,
        ];
        POINTS.iter().map(|&share| (self.latency_us(share), share)).collect()
    }
}
