//! Demand as time goes by: it follows the sun, and comes in bursts.

use headland_placement::Rng;

use crate::scenario::SimScenario;

/// Seconds of a day.
const DAY_S: f64 = 86_400.0;
/// The local hour at which most is asked for.
const PEAK_HOUR: f64 = 20.0;

/// The share of its mean that a place asks for at a time, by where the sun stands there.
pub(crate) fn diurnal(scenario: &SimScenario, longitude_deg: f64, now_s: f64) -> f64 {
    let local_hours = now_s / 3_600.0 + longitude_deg / 15.0;
    let angle = (local_hours - PEAK_HOUR) / (DAY_S / 3_600.0) * std::f64::consts::TAU;
    1.0 + scenario.diurnal_swing * angle.cos()
}

/// A number of mean 1 from the Gamma distribution with a coefficient of variation (Marsaglia and Tsang, 2000).
pub(crate) fn gamma(variation: f64, rng: &mut Rng) -> f64 {
    if variation <= 0.0 {
        return 1.0;
    }
    let shape = variation.powi(-2);
    // For shapes below 1, a number of the next shape is brought down by a power of a uniform one.
    let (shape_up, down) = if shape < 1.0 { (shape + 1.0, (1.0 - rng.unit()).powf(1.0 / shape)) } else { (shape, 1.0) };
    let d = shape_up - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let normal = rng.normal();
        let cube = (1.0 + c * normal).powi(3);
        if cube > 0.0 && (1.0 - rng.unit()).ln() < 0.5 * normal * normal + d - d * cube + d * cube.ln() {
            return d * cube * down / shape;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_peaks_in_the_evening_wherever_it_is() {
        let scenario = SimScenario { diurnal_swing: 0.5, ..SimScenario::default() };
        let at = |longitude_deg, hours: f64| diurnal(&scenario, longitude_deg, hours * 3_600.0);
        assert!((at(0.0, 20.0) - 1.5).abs() < 1e-9 && (at(0.0, 8.0) - 0.5).abs() < 1e-9);
        assert!((at(90.0, 14.0) - 1.5).abs() < 1e-9);
    }

    #[test]
    fn bursts_have_the_mean_and_variation_they_are_asked_for() {
        for variation in [0.3, 1.0, 2.0] {
            let rng = &mut Rng::new(5);
            let numbers: Vec<f64> = (0..40_000).map(|_| gamma(variation, rng)).collect();
            let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
            let deviation = (numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / numbers.len() as f64).sqrt();
            assert!(
                (mean - 1.0).abs() < 0.05 && (deviation / variation - 1.0).abs() < 0.1,
                "{variation}: {mean} {deviation}"
            );
        }
    }
}
