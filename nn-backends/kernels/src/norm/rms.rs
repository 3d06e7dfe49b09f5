//! [`RmsNorm`].

use crate::level::Level;
use crate::simd::{Simd, Work};

/// Normalisation by the root of the mean of squares (Zhang and Sennrich, 2019).
pub struct RmsNorm {
    level: Level,
    gain: Vec<f32>,
    epsilon: f32,
}

impl RmsNorm {
    /// Over rows as wide as `gain`; `epsilon` is added to the mean of squares.
    ///
    /// # Panics
    /// When `gain` is empty.
    pub fn new(level: Level, gain: Vec<f32>, epsilon: f32) -> Self {
        assert!(!gain.is_empty(), "a norm of nothing");
        RmsNorm { level, gain, epsilon }
    }

    /// Normalises each row of `x` where it is.
    ///
    /// # Panics
    /// When `x` is no whole number of rows.
    pub fn apply(&self, x: &mut [f32]) {
        assert!(x.len().is_multiple_of(self.gain.len()), "rows of {}", self.gain.len());
        self.level.run(Apply { norm: self, x });
    }

    /// Bytes of memory that the weights take.
    pub fn bytes(&self) -> usize {
        self.gain.len() * size_of::<f32>()
    }
}

struct Apply<'a> {
    norm: &'a RmsNorm,
    x: &'a mut [f32],
}

impl Work for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let RmsNorm { gain, epsilon, .. } = self.norm;
        for row in self.x.chunks_exact_mut(gain.len()) {
            let squares = super::total(simd, row, 0.0, |x| simd.mul(x, x));
            let factor = simd.splat(1.0 / (squares / row.len() as f32 + epsilon).sqrt());
            for (x, gain) in row.chunks_mut(S::LANES).zip(gain.chunks(S::LANES)) {
                let unit = simd.mul(simd.load_some(x, 0.0), factor);
                simd.store_some(simd.mul(unit, simd.load_some(gain, 0.0)), x);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{levels, numbers};

    #[test]
    fn rows_are_normalised_as_defined() {
        let (gain, x) = (numbers(1, 37), numbers(2, 37 * 3));
        for level in levels() {
            let mut got = x.clone();
            RmsNorm::new(level, gain.clone(), 1e-6).apply(&mut got);
            for (row, got) in x.chunks(37).zip(got.chunks(37)) {
                let mean = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / 37.0;
                for ((x, gain), got) in row.iter().zip(&gain).zip(got) {
                    let expected = f64::from(*x) / (mean + 1e-6).sqrt() * f64::from(*gain);
                    assert!((f64::from(*got) - expected).abs() < 1e-6, "{level}: {got}, not {expected}");
                }
            }
        }
    }
}
