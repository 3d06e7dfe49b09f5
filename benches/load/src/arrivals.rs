//! When an open loop sends: fixed gaps, or those of a Poisson process, as independent callers make them.

use std::time::Duration;

use crate::Random;

/// Intended send times, counted from the start, without end.
pub struct Arrivals {
    next_seconds: f64,
    rate: f64,
    /// None for fixed gaps.
    random: Option<Random>,
}

impl Arrivals {
    /// `rate` a second, evenly.
    pub fn constant(rate: f64) -> Self {
        Arrivals { next_seconds: 0.0, rate, random: None }
    }

    /// `rate` a second on average, each independent of the others, from this seed.
    pub fn poisson(rate: f64, seed: u64) -> Self {
        Arrivals { next_seconds: 0.0, rate, random: Some(Random::new(seed)) }
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = Duration::try_from_secs_f64(self.next_seconds).ok()?;
        let gap = match &mut self.random {
            None => 1.0,
            // The exponential distribution's quantile; 1 - u is never 0.
            Some(random) => -(1.0 - random.unit()).ln(),
        };
        self.next_seconds += gap / self.rate;
        Some(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_keep_their_rate_and_only_one_varies() {
        for (arrivals, varies) in [(Arrivals::constant(100.0), false), (Arrivals::poisson(100.0, 1), true)] {
            let times: Vec<f64> = arrivals.take(10_001).map(|at| at.as_secs_f64()).collect();
            let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            let deviation = (gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64).sqrt();
            assert!((mean - 0.01).abs() < 0.0005, "{mean}");
            // An exponential distribution deviates by its mean.
            assert!((deviation - if varies { mean } else { 0.0 }).abs() < 0.0005, "{deviation}");
        }
    }
}
