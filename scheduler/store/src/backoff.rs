//! How long to wait before trying again: twice as long each time, with half of it drawn by lot, so that a thousand members that
//! lost one server do not come back at one instant.

use std::time::Duration;

/// Grows from `first` to `most`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub first: Duration,
    pub most: Duration,
}

impl Backoff {
    /// The wait before the attempt after `failures` failed ones; `random` is any number.
    pub fn delay(self, failures: u32, random: u64) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(20));
        spread(doubled.min(self.most), random)
    }
}

/// Between half of `duration` and all of it.
pub(crate) fn spread(duration: Duration, random: u64) -> Duration {
    let half = duration / 2;
    let share = (random >> 11) as f64 / (1_u64 << 53) as f64;
    half + half.mul_f64(share)
}

/// A number drawn by the system.
pub(crate) fn random() -> u64 {
    // Without one, everybody waits for the same time: worse, not wrong.
    getrandom::u64().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_double_up_to_the_most() {
        let backoff = Backoff { first: Duration::from_millis(100), most: Duration::from_secs(1) };
        let longest = [1, 2, 3, 4, 5, 40, u32::MAX].map(|failures| backoff.delay(failures, u64::MAX).as_millis());
        assert_eq!(longest, [100, 200, 400, 800, 1000, 1000, 1000]);
        assert_eq!(backoff.delay(2, 0), Duration::from_millis(100));
    }

    proptest! {
        #[test]
        fn a_wait_is_between_half_and_whole(ms in 0..100_000_u64, random: u64) {
            let whole = Duration::from_millis(ms);
            let drawn = spread(whole, random);
            prop_assert!(drawn >= whole / 2 && drawn <= whole);
        }
    }
}
