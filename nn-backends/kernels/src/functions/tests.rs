//! Every function at every level against f64.

use super::{Activation, exp};
use crate::level::Level;
use crate::simd::{LANES_MAX, Simd, Work};
use crate::test_support::{levels, normal};

enum Function {
    Exp,
    Activate(Activation),
}

struct Apply<'a> {
    function: Function,
    x: &'a mut [f32],
}

impl Work for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for x in self.x.chunks_mut(S::LANES) {
            let y = match self.function {
                Function::Exp => exp(simd, simd.load_some(x, 0.0)),
                Function::Activate(activation) => activation.apply(simd, simd.load_some(x, 0.0)),
            };
            simd.store_some(y, x);
        }
    }
}

fn apply(level: Level, function: Function, x: &[f32]) -> Vec<f32> {
    let mut y = x.to_vec();
    level.run(Apply { function, x: &mut y });
    y
}

/// Points on both sides of zero, a step apart.
fn points(most: f32, count: i32) -> Vec<f32> {
    (-count..=count).map(|i| i as f32 * most / count as f32).collect()
}

#[test]
fn exp_is_within_three_units_in_the_last_place() {
    let x = points(87.0, 100_000);
    for level in levels() {
        for (x, y) in x.iter().zip(apply(level, Function::Exp, &x)) {
            let expected = f64::from(*x).exp();
            let units = (f64::from(y) - expected).abs() / (expected * f64::from(f32::EPSILON));
            assert!(units < 3.0, "{level}: exp {x} is {y}, {units:.1} units from {expected}");
        }
    }
}

#[test]
fn exp_of_what_is_far_out_is_next_to_nothing_or_huge() {
    for level in levels() {
        let y = apply(level, Function::Exp, &[-1e30, f32::NEG_INFINITY, 1e30, f32::INFINITY]);
        assert!(y[..2].iter().all(|y| (0.0..1e-37).contains(y)), "{level}: {y:?}");
        assert!(y[2..].iter().all(|y| *y > 1e38), "{level}: {y:?}");
    }
}

#[test]
fn gelu_is_within_its_stated_error() {
    let x = points(8.0, 4_000);
    for level in levels() {
        for (x, y) in x.iter().zip(apply(level, Function::Activate(Activation::Gelu), &x)) {
            let expected = f64::from(*x) * normal(f64::from(*x));
            assert!((f64::from(y) - expected).abs() < 1.2e-6, "{level}: gelu {x} is {y}, not {expected}");
        }
        let far = apply(level, Function::Activate(Activation::Gelu), &[-1e4, -6.0, 6.0, 1e4]);
        assert_eq!(far, [0.0, 0.0, 6.0, 1e4], "{level}");
    }
}

#[test]
fn gelu_by_tanh_is_what_its_formula_says() {
    let x = points(10.0, 10_000);
    for level in levels() {
        for (x, y) in x.iter().zip(apply(level, Function::Activate(Activation::GeluTanh), &x)) {
            let x = f64::from(*x);
            let expected = x / 2.0 * (1.0 + (std::f64::consts::FRAC_2_PI.sqrt() * (x + 0.044_715 * x.powi(3))).tanh());
            assert!((f64::from(y) - expected).abs() < 2e-6, "{level}: at {x} {y}, not {expected}");
        }
    }
}

#[test]
fn relu_keeps_what_is_above_zero() {
    for level in levels() {
        assert_eq!(apply(level, Function::Activate(Activation::Relu), &[-1.0, 0.0, 2.5]), [0.0, 0.0, 2.5], "{level}");
    }
}

#[test]
fn a_vector_that_is_cut_short_touches_no_more_than_it_has() {
    for level in levels() {
        for len in 0..LANES_MAX {
            let mut x = vec![3.0; LANES_MAX];
            level.run(Apply { function: Function::Activate(Activation::Relu), x: &mut x[..len] });
            assert_eq!(x, [3.0; LANES_MAX], "{level}");
        }
    }
}
