//! Gated feed-forward blocks: the activation of one half times the other.

use crate::functions::exp;
use crate::level::Level;
use crate::simd::{Simd, Work};

/// What a gate does to its input (Shazeer, "GLU Variants Improve Transformer", 2020).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// `x / (1 + e^-x)`.
    Silu,
    /// `x` times the normal distribution function, approximated by tanh.
    GeluTanh,
}

impl Gate {
    /// Makes `values`, each times its gate, out of rows whose first half are gates and whose second half are values.
    ///
    /// # Panics
    /// When the rows of `halves` are not twice as wide as those of `out`.
    pub fn apply(self, level: Level, halves: &[f32], width: usize, out: &mut [f32]) {
        assert!(width > 0 && halves.len() == 2 * out.len() && out.len().is_multiple_of(width), "rows of two {width}");
        level.run(Apply { gate: self, halves, width, out });
    }
}

struct Apply<'a> {
    gate: Gate,
    halves: &'a [f32],
    width: usize,
    out: &'a mut [f32],
}

impl Work for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Apply { gate, halves, width, out } = self;
        for (halves, out) in halves.chunks_exact(2 * width).zip(out.chunks_exact_mut(width)) {
            let (gates, values) = halves.split_at(width);
            let parts = gates.chunks(S::LANES).zip(values.chunks(S::LANES));
            for ((gates, values), out) in parts.zip(out.chunks_mut(S::LANES)) {
                let x = simd.load_some(gates, 0.0);
                let opened = match gate {
                    Gate::Silu => {
                        let power = exp(simd, simd.sub(simd.splat(0.0), x));
                        simd.div(x, simd.add(simd.splat(1.0), power))
                    }
                    Gate::GeluTanh => crate::functions::Activation::GeluTanh.apply(simd, x),
                };
                simd.store_some(simd.mul(opened, simd.load_some(values, 0.0)), out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{levels, numbers};

    #[test]
    fn gates_open_as_they_are_defined() {
        let (width, halves) = (19, numbers(3, 2 * 19 * 4).into_iter().map(|x| x * 6.0).collect::<Vec<_>>());
        for level in levels() {
            for gate in [Gate::Silu, Gate::GeluTanh] {
                let mut out = vec![0.0; halves.len() / 2];
                gate.apply(level, &halves, width, &mut out);
                for (row, out) in halves.chunks(2 * width).zip(out.chunks(width)) {
                    for (index, out) in out.iter().enumerate() {
                        let (x, value) = (f64::from(row[index]), f64::from(row[width + index]));
                        let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
                        let expected = value
                            * match gate {
                                Gate::Silu => x / (1.0 + (-x).exp()),
                                Gate::GeluTanh => x / 2.0 * (1.0 + inner.tanh()),
                            };
                        assert!((f64::from(*out) - expected).abs() < 1e-5, "{gate:?} {level}: {out}, not {expected}");
                    }
                }
            }
        }
    }
}
