//! What requests have shown of one candidate: how long it takes, and whether it does what it should. Time is an argument.

use std::time::{Duration, Instant};

use headland_nn_core::NnError;

use crate::choose::Standing;

/// How fast a slow answer is forgotten. A slow one counts at once, quick ones gradually: a peak-sensitive moving average, as
/// Finagle and linkerd balance by.
const LATENCY_DECAY: Duration = Duration::from_secs(10);
/// What is supposed of a candidate that has not answered yet: little, so that it gets asked.
const LATENCY_UNKNOWN: Duration = Duration::from_millis(1);
/// Failures in a row after which a candidate stands back.
const FAILURES_MAX: u32 = 3;
/// For how long, the first time. Then the next request finds out; each failure doubles it.
const EJECTED_MIN: Duration = Duration::from_millis(500);
/// And at most.
const EJECTED_MAX: Duration = Duration::from_secs(30);
/// For how long who has too much to do is left alone, at least: it says itself when to come back, at times at once.
const BUSY_MIN: Duration = Duration::from_millis(20);
/// And at most.
const BUSY_MAX: Duration = Duration::from_secs(1);
/// Latencies that are remembered to tell usual ones from others.
const RECENT: usize = 128;
/// So many at least, before anything is usual.
const RECENT_MIN: usize = 20;

/// What is known of a candidate.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// Requests under way to it, for this one model.
    under_way: usize,
    /// Seconds, and when they were last right.
    latency: Option<(f64, Instant)>,
    failures: u32,
    ejections: u32,
    ejected_until: Option<Instant>,
    busy_until: Option<Instant>,
    /// The last latencies, in microseconds, oldest overwritten first.
    recent: Vec<u32>,
    next: usize,
}

impl Live {
    /// It is asked.
    pub fn began(&mut self) {
        self.under_way = self.under_way.saturating_add(1);
    }

    /// What it was asked is over, however that went.
    pub fn ended(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// It answered, `took` after it was asked.
    pub fn answered(&mut self, took: Duration, now: Instant) {
        self.observe(took, now);
        (self.failures, self.ejections) = (0, 0);
        (self.ejected_until, self.busy_until) = (None, None);
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        match self.recent.get_mut(self.next) {
            Some(oldest) => *oldest = micros,
            None => self.recent.push(micros),
        }
        self.next = (self.next + 1) % RECENT;
    }

    /// Nobody waits for its answer any more, `waited` after it was asked. That is no failure, but it took as long at least.
    pub fn abandoned(&mut self, waited: Duration, now: Instant) {
        if self.latency.is_none_or(|(known, _)| waited.as_secs_f64() > known) {
            self.observe(waited, now);
        }
    }

    fn observe(&mut self, took: Duration, now: Instant) {
        let seconds = took.as_secs_f64();
        let latency = match self.latency {
            Some((known, at)) if seconds < known => {
                let passed = now.saturating_duration_since(at).as_secs_f64();
                seconds + (known - seconds) * (-passed / LATENCY_DECAY.as_secs_f64()).exp()
            }
            _ => seconds,
        };
        self.latency = Some((latency, now));
    }

    /// It failed, or could not be understood.
    pub fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        // All that were under way when it went down are one failure.
        let stands_back = self.ejected_until.is_some_and(|until| now < until);
        if self.failures >= FAILURES_MAX && !stands_back {
            let back = EJECTED_MIN.saturating_mul(1 << self.ejections.min(10)).min(EJECTED_MAX);
            self.ejections = self.ejections.saturating_add(1);
            self.ejected_until = Some(now + back);
        }
    }

    /// It has too much to do, which is no failure.
    pub fn shed(&mut self, error: &NnError, now: Instant) {
        let retry_after = match error {
            NnError::Overloaded { retry_after, .. } => *retry_after,
            _ => BUSY_MAX,
        };
        self.failures = 0;
        self.busy_until = Some(now + retry_after.clamp(BUSY_MIN, BUSY_MAX));
    }

    /// Whether it can be asked, as far as its answers tell. While one request finds out whether a candidate that stood back
    /// is well again, the others do not.
    pub fn standing(&self, now: Instant) -> Standing {
        match (self.ejected_until, self.busy_until) {
            (Some(until), _) if now < until || self.under_way > 0 => Standing::Ejected,
            (_, Some(until)) if now < until => Standing::Busy,
            _ => Standing::Ready,
        }
    }

    /// What a request would cost, beside those that are under way.
    pub fn cost(&self) -> f64 {
        let latency = self.latency.map_or(LATENCY_UNKNOWN.as_secs_f64(), |(seconds, _)| seconds);
        latency * (self.under_way as f64 + 1.0)
    }

    /// The time that 95 of 100 answers came within, once there were enough.
    pub fn p95(&self) -> Option<Duration> {
        if self.recent.len() < RECENT_MIN {
            return None;
        }
        let mut sorted = self.recent.clone();
        let at = sorted.len() * 95 / 100;
        let (_, p95, _) = sorted.select_nth_unstable(at);
        Some(Duration::from_micros(u64::from(*p95)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_slow_answer_counts_at_once_and_is_forgotten_gradually() {
        let (mut live, start) = (Live::default(), Instant::now());
        live.answered(10 * MS, start);
        live.answered(100 * MS, start + MS);
        assert!((live.cost() - 0.1).abs() < 1e-9);
        live.answered(10 * MS, start + LATENCY_DECAY);
        assert!((0.04..0.05).contains(&live.cost()), "{}", live.cost());
        let alone = live.cost();
        (0..3).for_each(|_| live.began());
        assert!((live.cost() - 4.0 * alone).abs() < 1e-9);
    }

    #[test]
    fn who_keeps_silent_looks_as_slow_as_it_was_waited_for() {
        let (mut live, start) = (Live::default(), Instant::now());
        live.answered(10 * MS, start);
        live.abandoned(5 * MS, start);
        assert!((live.cost() - 0.01).abs() < 1e-9);
        live.abandoned(2_000 * MS, start);
        assert!((live.cost() - 2.0).abs() < 1e-9);
        assert_eq!(live.standing(start), Standing::Ready);
    }

    #[test]
    fn several_failures_in_a_row_stand_back_and_one_request_finds_out_when_they_are_over() {
        let (mut live, now) = (Live::default(), Instant::now());
        live.failed(now);
        live.failed(now);
        assert_eq!(live.standing(now), Standing::Ready);
        // All that were under way fail together: that is one failure.
        (0..60).for_each(|_| live.failed(now));
        assert_eq!(live.standing(now), Standing::Ejected);
        let later = now + EJECTED_MIN;
        assert_eq!(live.standing(later), Standing::Ready);
        live.began();
        assert_eq!(live.standing(later), Standing::Ejected);
        live.ended();
        // It was not well: twice as long.
        live.failed(later);
        assert_eq!(live.standing(later + EJECTED_MIN), Standing::Ejected);
        assert_eq!(live.standing(later + 2 * EJECTED_MIN), Standing::Ready);
        live.answered(MS, later + 2 * EJECTED_MIN);
        live.began();
        assert_eq!(live.standing(later + 2 * EJECTED_MIN), Standing::Ready);
    }

    #[test]
    fn who_has_too_much_to_do_is_left_alone_for_a_moment_and_has_not_failed() {
        let (mut live, now) = (Live::default(), Instant::now());
        let busy = NnError::would_be_late(&"m".into(), 200 * MS);
        live.failed(now);
        live.failed(now);
        (0..10).for_each(|_| live.shed(&busy, now));
        assert_eq!(live.standing(now), Standing::Busy);
        assert_eq!(live.standing(now + 200 * MS), Standing::Ready);
        live.shed(&NnError::would_be_late(&"m".into(), Duration::ZERO), now);
        assert_eq!((live.standing(now), live.standing(now + BUSY_MIN)), (Standing::Busy, Standing::Ready));
        live.shed(&NnError::would_be_late(&"m".into(), 3_600_000 * MS), now);
        assert_eq!(live.standing(now + BUSY_MAX), Standing::Ready);
    }

    #[test]
    fn what_is_usual_shows_after_some_answers() {
        let (mut live, now) = (Live::default(), Instant::now());
        for ms in 1..RECENT_MIN {
            live.answered(ms as u32 * MS, now);
        }
        assert_eq!(live.p95(), None);
        for ms in 1..=1000 {
            live.answered(ms * MS, now);
        }
        // The last 128 of them: 873 to 1000 ms.
        assert_eq!(live.p95(), Some(994 * MS));
    }
}
