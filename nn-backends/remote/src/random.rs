//! Random numbers for spreading load and waits: fast, shared, and good for nothing else (SplitMix64, Steele et al. 2014).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A stream of random numbers.
#[derive(Debug)]
pub(crate) struct Random(AtomicU64);

impl Random {
    /// Seeded by the system.
    pub fn new() -> Self {
        Random(AtomicU64::new(getrandom::u64().unwrap_or(0)))
    }

    /// A number from 0 to 1.
    pub fn draw(&self) -> f64 {
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_fill_the_unit_interval_evenly() {
        let random = Random(AtomicU64::new(7));
        let draws: Vec<f64> = (0..10_000).map(|_| random.draw()).collect();
        assert!(draws.iter().all(|draw| (0.0..1.0).contains(draw)));
        let mean = draws.iter().sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
    }
}
