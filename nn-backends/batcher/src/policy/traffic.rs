//! How soon the next request is to be expected, from when the last ones came.

use std::time::{Duration, Instant};

/// Arrivals that are looked back on.
const REMEMBERED: usize = 8;

/// The last arrivals at one model.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    last: Option<Instant>,
    gaps: [Duration; REMEMBERED],
    next: usize,
    known: usize,
}

impl Traffic {
    /// Notes an arrival.
    pub fn arrived(&mut self, now: Instant) {
        if let Some(last) = self.last.replace(now) {
            self.gaps[self.next] = now.saturating_duration_since(last);
            self.next = (self.next + 1) % REMEMBERED;
            self.known = (self.known + 1).min(REMEMBERED);
        }
    }

    /// The last arrival.
    pub fn last(&self) -> Option<Instant> {
        self.last
    }

    /// The usual time between two arrivals: the median of the last ones, since a pause between two bursts says nothing of
    /// the burst. `None` before there were two arrivals.
    pub fn gap(&self) -> Option<Duration> {
        let mut gaps = self.gaps;
        let gaps = gaps.get_mut(..self.known)?;
        gaps.sort_unstable();
        gaps.get(gaps.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);

    #[test]
    fn nobody_is_expected_before_two_have_come() {
        let mut traffic = Traffic::default();
        let start = Instant::now();
        assert_eq!(traffic.gap(), None);
        traffic.arrived(start);
        assert_eq!(traffic.gap(), None);
        traffic.arrived(start + 5 * US);
        assert_eq!(traffic.gap(), Some(5 * US));
    }

    #[test]
    fn a_pause_between_bursts_does_not_hide_the_burst() {
        let mut traffic = Traffic::default();
        let mut now = Instant::now();
        for pause in [30, 30, 30, 30, 25_000, 30, 30] {
            now += pause * US;
            traffic.arrived(now);
        }
        assert_eq!(traffic.gap(), Some(30 * US));
    }

    #[test]
    fn an_even_stream_is_expected_to_go_on() {
        let mut traffic = Traffic::default();
        let mut now = Instant::now();
        for _ in 0..100 {
            now += 250 * US;
            traffic.arrived(now);
        }
        assert_eq!(traffic.gap(), Some(250 * US));
    }
}
