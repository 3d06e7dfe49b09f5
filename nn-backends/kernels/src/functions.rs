//! Functions of one variable on vectors: exp, and the activations.

use crate::simd::Simd;

/// The nonlinearity between the halves of a feed-forward block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x` times the normal distribution function of `x`, within 1.2e-6 for magnitudes up to 8.
    Gelu,
    /// Its approximation by tanh.
    GeluTanh,
    /// Negative values become zero.
    Relu,
}

impl Activation {
    /// The activation of each lane.
    #[inline(always)]
    pub(crate) fn apply<S: Simd>(self, simd: S, x: S::F) -> S::F {
        match self {
            Activation::Gelu => gelu(simd, x),
            Activation::GeluTanh => gelu_tanh(simd, x),
            Activation::Relu => simd.max(x, simd.splat(0.0)),
        }
    }
}

/// A polynomial by Horner's rule, the highest coefficient first.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(simd: S, x: S::F, coefficients: [f32; N]) -> S::F {
    let mut sum = simd.splat(coefficients[0]);
    for &coefficient in &coefficients[1..] {
        sum = simd.mul_add(sum, x, simd.splat(coefficient));
    }
    sum
}

/// Below it exp is no normal number, and [`exp`] stays at what it is there.
const EXP_LEAST: f32 = -87.0;
/// Above it exp is no finite number.
const EXP_MOST: f32 = 88.0;

/// e^x within 3 units in the last place, for `x` held between [`EXP_LEAST`] and [`EXP_MOST`].
#[inline(always)]
pub(crate) fn exp<S: Simd>(simd: S, x: S::F) -> S::F {
    // ln 2 in two parts, the first of few bits: its multiples are exact.
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = (std::f64::consts::LN_2 - 355.0 / 512.0) as f32;
    // Least maximum relative error on half of ln 2 to both sides, 3.3e-9, with the first two coefficients fixed.
    const COEFFICIENTS: [f32; 7] =
        [0.001_381_308_5, 0.008_369_419, 0.041_668_456, 0.166_665_15, 0.499_999_94, 1.0, 1.0];
    let x = simd.min(simd.max(x, simd.splat(EXP_LEAST)), simd.splat(EXP_MOST));
    let power = simd.round(simd.mul(x, simd.splat(std::f32::consts::LOG2_E)));
    let rest = simd.mul_add(power, simd.splat(-LN_2_HIGH), x);
    let rest = simd.mul_add(power, simd.splat(-LN_2_LOW), rest);
    simd.scale(polynomial(simd, rest, COEFFICIENTS), power)
}

/// `x` times the normal distribution function, which is one half plus an odd function: that is a quotient of polynomials
/// here, fitted for the least maximum error (7e-9) up to where it is one half to the last bit.
#[inline(always)]
fn gelu<S: Simd>(simd: S, x: S::F) -> S::F {
    const MOST: f32 = 5.5;
    const ABOVE: [f32; 6] =
        [2.274_950_9e-8, 6.352_109_7e-6, 1.688_243_4e-4, 4.677_252_4e-3, 3.385_251_4e-2, 0.398_942_23];
    const BELOW: [f32; 6] = [1.197_507_6e-6, 7.364_708e-5, 1.884_437e-3, 2.864_579_5e-2, 0.251_521_6, 1.0];
    let held = simd.min(simd.max(x, simd.splat(-MOST)), simd.splat(MOST));
    let square = simd.mul(held, held);
    let quotient = simd.div(polynomial(simd, square, ABOVE), polynomial(simd, square, BELOW));
    let odd = simd.mul(held, quotient);
    let odd = simd.min(simd.max(odd, simd.splat(-0.5)), simd.splat(0.5));
    simd.mul(x, simd.add(odd, simd.splat(0.5)))
}

/// `x / 2 (1 + tanh y)`, which is `x / (1 + e^-2y)`.
#[inline(always)]
fn gelu_tanh<S: Simd>(simd: S, x: S::F) -> S::F {
    // Twice the root of 2 / pi, and that by the cubic's coefficient.
    const LINEAR: f32 = 1.595_769;
    const CUBIC: f32 = LINEAR * 0.044_715;
    let minus_two_y = simd.mul(x, simd.mul_add(simd.mul(x, x), simd.splat(-CUBIC), simd.splat(-LINEAR)));
    simd.div(x, simd.add(simd.splat(1.0), exp(simd, minus_two_y)))
}

#[cfg(test)]
mod tests;
