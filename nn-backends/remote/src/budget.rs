//! What retries may cost: a token bucket that every request fills a little and every retry empties by one, so that a fleet in
//! trouble is not asked several times as much as one that is well (Finagle's retry budget). Time is an argument.

use std::time::Instant;

/// What a request adds: one retry for five requests, in the long run.
const PER_REQUEST: f64 = 0.2;
/// What a second adds, for those who ask seldom.
const PER_SECOND: f64 = 10.0;
/// What can be saved up: as many as may be under way to one PoP, so that its death loses none of them.
const SAVED_MAX: f64 = 1024.0;

/// What retries of one model may cost.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    saved: f64,
    at: Instant,
}

impl RetryBudget {
    pub fn new(now: Instant) -> Self {
        RetryBudget { saved: SAVED_MAX, at: now }
    }

    /// A request came.
    pub fn deposit(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.saved = (self.saved + PER_REQUEST + seconds * PER_SECOND).min(SAVED_MAX);
    }

    /// Takes what one retry costs, if it is there.
    pub fn withdraw(&mut self) -> bool {
        let enough = self.saved >= 1.0;
        if enough {
            self.saved -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_fleet_in_trouble_is_asked_little_more_than_once() {
        let start = Instant::now();
        let mut budget = RetryBudget::new(start);
        // Each of 100,000 requests in 10 s fails and wants one retry.
        let retried = (0..100_000u32).filter(|request| {
            budget.deposit(start + Duration::from_micros(100) * *request);
            budget.withdraw()
        });
        let retried = retried.count();
        assert!((21_000..=21_200).contains(&retried), "{retried}");
    }

    #[test]
    fn all_that_one_pops_death_fails_are_asked_again() {
        let mut budget = RetryBudget::new(Instant::now());
        assert!((0..1024).all(|_| budget.withdraw()));
        assert!(!budget.withdraw());
    }
}
