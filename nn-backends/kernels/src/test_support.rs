//! What the tests share: numbers that look random and are not, and sums in f64.

use crate::level::Level;

/// `count` numbers from -1 to 1 that `seed` gives rise to.
pub fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Every level of this machine: what fails only on one is to be named.
pub fn levels() -> Vec<Level> {
    let levels: Vec<Level> = Level::available().collect();
    assert_eq!(levels.last().unwrap().to_string(), "portable");
    levels
}

/// `x W^T` in f64, with the sum of the magnitudes beside each element: what its rounding is to be held against.
pub fn product(x: &[f32], weights: &[f32], depth: usize) -> Vec<[f64; 2]> {
    let element = |row: &[f32], weights: &[f32]| {
        row.iter()
            .zip(weights)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .fold([0.0; 2], |[sum, magnitude], term| [sum + term, magnitude + term.abs()])
    };
    x.chunks(depth).flat_map(|row| weights.chunks(depth).map(move |weights| element(row, weights))).collect()
}

/// The normal distribution function, by Simpson's rule.
pub fn normal(x: f64) -> f64 {
    const STEPS: usize = 2_000;
    let width = x / STEPS as f64;
    let density = |x: f64| (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt();
    let weight = |step: usize| if step == 0 || step == STEPS { 1.0 } else { [2.0, 4.0][step % 2] };
    0.5 + (0..=STEPS).map(|step| weight(step) * density(step as f64 * width)).sum::<f64>() * width / 3.0
}
