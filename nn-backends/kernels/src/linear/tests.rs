//! Products at every level against f64, of sizes that are no multiple of anything.

use proptest::prelude::*;

use super::{Linear, LinearScratch};
use crate::functions::Activation;
use crate::level::Level;
use crate::team::Team;
use crate::test_support::{levels, numbers, product};

#[derive(Clone, Copy, Debug)]
enum Precision {
    Full,
    Int8,
    Smoothed,
}

const PRECISIONS: [Precision; 3] = [Precision::Full, Precision::Int8, Precision::Smoothed];

struct Case {
    x: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    inputs: usize,
}

impl Case {
    fn new(seed: u64, rows: usize, inputs: usize, outputs: usize) -> Self {
        Case {
            x: numbers(seed, rows * inputs),
            weights: numbers(seed + 1, inputs * outputs),
            bias: numbers(seed + 2, outputs),
            inputs,
        }
    }

    fn linear(&self, level: Level, precision: Precision) -> Linear {
        let Case { weights, bias, inputs, .. } = self;
        let mut largest = vec![0.0f32; *inputs];
        for row in self.x.chunks(*inputs) {
            largest.iter_mut().zip(row).for_each(|(most, x)| *most = most.max(x.abs()));
        }
        match precision {
            Precision::Full => Linear::full(level, weights, *inputs, bias),
            Precision::Int8 => Linear::int8(level, weights, *inputs, bias, &[]),
            Precision::Smoothed => Linear::int8(level, weights, *inputs, bias, &largest),
        }
    }

    fn map(&self, level: Level, precision: Precision) -> Vec<f32> {
        map(&self.linear(level, precision), &self.x)
    }

    /// The largest error of `got` in terms of what rounding can do to each sum.
    fn check(&self, got: &[f32], relative: f64) {
        let expected = product(&self.x, &self.weights, self.inputs);
        assert_eq!(got.len(), expected.len());
        for (index, ([sum, magnitude], got)) in expected.into_iter().zip(got).enumerate() {
            let expected = sum + f64::from(self.bias[index % self.bias.len()]);
            let apart = (f64::from(*got) - expected).abs();
            assert!(apart <= relative * (magnitude + 1.0), "element {index}: {got}, not {expected}");
        }
    }
}

fn map(linear: &Linear, x: &[f32]) -> Vec<f32> {
    let mut out = vec![f32::NAN; x.len() / linear.inputs() * linear.outputs()];
    linear.map(x, &mut out, &mut LinearScratch::default(), &mut Team::alone());
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_size_is_multiplied_right_at_any_level(
        seed in 0u64..1000, rows in 0usize..45, inputs in 1usize..90, outputs in 1usize..100,
    ) {
        let case = Case::new(seed, rows, inputs, outputs);
        for level in levels() {
            // Every sum rounds once a term.
            case.check(&case.map(level, Precision::Full), 1e-7 * (inputs + 4) as f64);
            // Half a step of 1/127 in a weight, half of 2/255 in an activation, and both at once.
            case.check(&case.map(level, Precision::Int8), 0.02);
        }
    }

    #[test]
    fn a_row_alone_becomes_what_it_becomes_among_others_to_the_last_bit(
        seed in 0u64..1000, rows in 1usize..40, inputs in 1usize..40, outputs in 1usize..70,
    ) {
        let case = Case::new(seed, rows, inputs, outputs);
        for (level, precision) in levels().into_iter().flat_map(|level| PRECISIONS.map(|precision| (level, precision))) {
            let linear = case.linear(level, precision);
            let together = map(&linear, &case.x);
            for (row, expected) in case.x.chunks(inputs).zip(together.chunks(outputs)) {
                prop_assert_eq!(map(&linear, row), expected, "{} {:?}", level, precision);
            }
        }
    }
}

#[test]
fn sums_of_eight_bits_are_the_same_at_every_level() {
    let case = Case::new(5, 20, 131, 50);
    let expected = case.map(levels()[0], Precision::Int8);
    for level in levels() {
        for (got, expected) in case.map(level, Precision::Int8).iter().zip(&expected) {
            assert!((got - expected).abs() < 1e-5, "{level}: {got}, not {expected}");
        }
    }
}

#[test]
fn no_sum_of_eight_bits_saturates() {
    let (inputs, outputs) = (4096, 40);
    for sign in [1.0, -1.0] {
        let (weights, bias) = (vec![sign; inputs * outputs], vec![0.0; outputs]);
        for level in levels() {
            let linear = Linear::int8(level, &weights, inputs, &bias, &[]);
            for value in [1.0, -1.0] {
                let expected = sign * value * inputs as f32;
                let got = map(&linear, &vec![value; 3 * inputs]);
                assert!(got.iter().all(|got| (got / expected - 1.0).abs() < 1e-6), "{level}: {} {expected}", got[0]);
            }
        }
    }
}

#[test]
fn large_and_small_rows_do_not_disturb_each_other_in_eight_bits() {
    for level in levels() {
        let mut case = Case::new(9, 2, 100, 30);
        case.bias.fill(0.0);
        case.x[..100].iter_mut().for_each(|x| *x *= 1e6);
        let small = Case { x: case.x[100..].to_vec(), ..Case::new(9, 0, 100, 30) };
        assert_eq!(case.map(level, Precision::Int8)[30..], {
            let linear = case.linear(level, Precision::Int8);
            map(&linear, &small.x)
        });
    }
}

#[test]
fn smoothing_keeps_what_one_large_input_would_drown() {
    let mut case = Case::new(7, 30, 64, 40);
    case.x.iter_mut().step_by(64).for_each(|x| *x *= 300.0);
    case.weights.iter_mut().step_by(64).for_each(|weight| *weight /= 300.0);
    case.bias.fill(0.0);
    for level in levels() {
        let error = |precision: Precision| {
            let exact = product(&case.x, &case.weights, 64);
            let squares =
                exact.iter().zip(case.map(level, precision)).map(|(exact, x)| (exact[0] - f64::from(x)).powi(2));
            squares.sum::<f64>().sqrt()
        };
        let (plain, smoothed) = (error(Precision::Int8), error(Precision::Smoothed));
        assert!(smoothed < plain / 8.0, "{level}: {smoothed} and {plain}");
    }
}

#[test]
fn what_follows_a_product_is_done_to_it() {
    let case = Case::new(3, 17, 33, 37);
    for (level, precision) in levels().into_iter().flat_map(|level| PRECISIONS.map(|precision| (level, precision))) {
        let (linear, mut scratch) = (case.linear(level, precision), LinearScratch::default());
        let plain = case.map(level, precision);
        let mut out = vec![f32::NAN; plain.len()];
        linear.map_activated(&case.x, Activation::Relu, &mut out, &mut scratch, &mut Team::alone());
        assert_eq!(out, plain.iter().map(|x| x.max(0.0)).collect::<Vec<_>>(), "{level}");
        let mut onto = numbers(8, plain.len());
        let expected: Vec<f32> = onto.iter().zip(&plain).map(|(residual, x)| x + residual).collect();
        linear.map_onto(&case.x, &mut onto, &mut scratch, &mut Team::alone());
        assert_eq!(onto, expected, "{level}");
    }
}

#[test]
fn rows_of_zeros_give_the_bias_in_eight_bits_too() {
    let mut case = Case::new(3, 2, 20, 35);
    case.x.fill(0.0);
    for (level, precision) in levels().into_iter().flat_map(|level| PRECISIONS.map(|precision| (level, precision))) {
        assert_eq!(case.map(level, precision), [&*case.bias, &*case.bias].concat(), "{level}");
    }
}

#[test]
fn numbers_that_are_none_stay_in_their_row() {
    for (level, precision) in levels().into_iter().flat_map(|level| PRECISIONS.map(|precision| (level, precision))) {
        let mut case = Case::new(3, 3, 20, 35);
        let linear = case.linear(level, precision);
        let clean = map(&linear, &case.x);
        case.x[20] = f32::NAN;
        case.x[21] = f32::INFINITY;
        let spoiled = map(&linear, &case.x);
        assert_eq!((&spoiled[..35], &spoiled[70..]), (&clean[..35], &clean[70..]), "{level}");
    }
}

#[test]
fn a_team_computes_what_one_thread_does() {
    for (level, precision) in levels().into_iter().flat_map(|level| PRECISIONS.map(|precision| (level, precision))) {
        for (rows, inputs, outputs) in [(1, 24, 7), (5, 32, 100), (13, 48, 1_000)] {
            let case = Case::new(11, rows, inputs, outputs);
            let (linear, mut team) = (case.linear(level, precision), Team::new(3, "test").unwrap());
            let mut out = vec![f32::NAN; rows * outputs];
            linear.map(&case.x, &mut out, &mut LinearScratch::default(), &mut team);
            assert_eq!(out, case.map(level, precision), "{level}, {rows} rows");
        }
    }
}

#[test]
#[should_panic = "rows of 7 outputs"]
fn an_output_that_is_too_short_is_refused() {
    let linear = Linear::full(Level::best(), &[0.0; 35], 5, &[0.0; 7]);
    linear.map(&[0.0; 10], &mut [0.0; 13], &mut LinearScratch::default(), &mut Team::alone());
}
