//! [`LayerNorm`], and [`RmsNorm`], which decoders have.

mod rms;

pub use rms::RmsNorm;

use crate::level::Level;
use crate::simd::{Simd, Work};

/// Layer normalisation with gain and bias (Ba, Kiros and Hinton, 2016).
pub struct LayerNorm {
    level: Level,
    gain: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

impl LayerNorm {
    /// Over rows as wide as `gain` and `bias`; `epsilon` is added to the variance.
    ///
    /// # Panics
    /// When they are not equally wide, or empty.
    pub fn new(level: Level, gain: Vec<f32>, bias: Vec<f32>, epsilon: f32) -> Self {
        assert!(!gain.is_empty() && gain.len() == bias.len(), "{} gains and {} biases", gain.len(), bias.len());
        LayerNorm { level, gain, bias, epsilon }
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
        (self.gain.len() + self.bias.len()) * size_of::<f32>()
    }
}

struct Apply<'a> {
    norm: &'a LayerNorm,
    x: &'a mut [f32],
}

impl Work for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let LayerNorm { gain, bias, epsilon, .. } = self.norm;
        for row in self.x.chunks_exact_mut(gain.len()) {
            let count = row.len() as f32;
            let mean = total(simd, row, 0.0, |x| x) / count;
            let center = simd.splat(mean);
            let squares = total(simd, row, mean, |x| {
                let apart = simd.sub(x, center);
                simd.mul(apart, apart)
            });
            let factor = simd.splat(1.0 / (squares / count + epsilon).sqrt());
            let parameters = gain.chunks(S::LANES).zip(bias.chunks(S::LANES));
            for (x, (gain, bias)) in row.chunks_mut(S::LANES).zip(parameters) {
                let unit = simd.mul(simd.sub(simd.load_some(x, 0.0), center), factor);
                let y = simd.mul_add(unit, simd.load_some(gain, 0.0), simd.load_some(bias, 0.0));
                simd.store_some(y, x);
            }
        }
    }
}

/// The sum of `term` over `row`, filled up with `fill`.
#[inline(always)]
fn total<S: Simd>(simd: S, row: &[f32], fill: f32, term: impl Fn(S::F) -> S::F) -> f32 {
    // Two sums, so that one addition need not wait for the one before.
    let (mut even, mut odd) = (simd.splat(0.0), simd.splat(0.0));
    let (pairs, rest) = row.split_at(row.len() - row.len() % (2 * S::LANES));
    for pair in pairs.chunks_exact(2 * S::LANES) {
        even = simd.add(even, term(simd.load(pair)));
        odd = simd.add(odd, term(simd.load(&pair[S::LANES..])));
    }
    for x in rest.chunks(S::LANES) {
        even = simd.add(even, term(simd.load_some(x, fill)));
    }
    simd.sum(simd.add(even, odd))
}

#[cfg(test)]
mod tests;
