//! What came of a simulation.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::faults::Fault;

/// The result of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// By hour.
    pub hours: Vec<Hour>,
    /// Requests that were drawn.
    pub requests: u64,
    /// Of those, answered by a replica that had the model loaded.
    pub answered: u64,
    /// Of those, answered by the first candidate.
    pub first: u64,
    /// Latencies of those answered.
    pub p50_ms: f64,
    /// The same.
    pub p99_ms: f64,
    /// Bytes of models that PoPs pulled, the first filling of the fleet included.
    pub moved_bytes: u64,
    /// Bytes of the first filling.
    pub filled_bytes: u64,
    /// Times that the control plane decided.
    pub decisions: u64,
    /// Crashes of PoPs and regions, and how long it took until all that replaced them was loaded.
    pub recoveries: Vec<Recovery>,
    /// Everything that failed.
    pub faults: Vec<Fault>,
}

/// One hour of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Hour {
    /// Median latency of those answered.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// Share answered by a replica.
    pub hit_rate: f64,
    /// Bytes pulled.
    pub moved_bytes: u64,
    /// PoPs up at its end.
    pub live_pops: usize,
}

/// A crash and its repair.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// When it happened.
    pub from_s: f64,
    /// How long it took.
    pub took_s: f64,
}

impl Outcome {
    /// The share of requests answered by a replica that had the model loaded.
    pub fn hit_rate(&self) -> f64 {
        if self.requests == 0 { 1.0 } else { self.answered as f64 / self.requests as f64 }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const GB: f64 = 1e9;
        writeln!(f, "{} hours, {} decisions, {} faults", self.hours.len(), self.decisions, self.faults.len())?;
        writeln!(
            f,
            "latency: p50 {:.1} ms, p99 {:.1} ms over {} requests drawn",
            self.p50_ms, self.p99_ms, self.requests
        )?;
        let first = self.first as f64 / self.answered.max(1) as f64;
        writeln!(
            f,
            "answered: {:.3} %, {:.3} % of them by the first candidate",
            self.hit_rate() * 100.0,
            first * 100.0
        )?;
        let later = self.moved_bytes - self.filled_bytes;
        writeln!(
            f,
            "moved: {:.1} GB to fill the fleet, {:.1} GB since",
            self.filled_bytes as f64 / GB,
            later as f64 / GB
        )?;
        let mut took: Vec<f64> = self.recoveries.iter().map(|recovery| recovery.took_s).collect();
        took.sort_by(f64::total_cmp);
        match (took.get(took.len() / 2), took.last()) {
            (Some(median), Some(most)) => {
                writeln!(f, "recovery: {median:.0} s in the median of {} crashes, {most:.0} s at most", took.len())
            }
            _ => writeln!(f, "recovery: nothing crashed"),
        }
    }
}

/// The value below which a share of them lies; 0 of none. They get sorted.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = ((values.len() as f64 - 1.0) * share).round().max(0.0) as usize;
    values.get(at).copied().unwrap_or(0.0)
}
