//! Layer normalisation at every level against f64.

use super::LayerNorm;
use crate::test_support::{levels, numbers};

#[test]
fn rows_of_any_width_are_normalised() {
    for width in [1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 100, 384, 1000] {
        let (gain, bias, x) = (numbers(1, width), numbers(2, width), numbers(3, 3 * width));
        for level in levels() {
            let mut got = x.iter().map(|x| x * 5.0 + 3.0).collect::<Vec<_>>();
            let rows: Vec<Vec<f64>> =
                got.chunks(width).map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect();
            LayerNorm::new(level, gain.clone(), bias.clone(), 1e-5).apply(&mut got);
            for (row, got) in rows.iter().zip(got.chunks(width)) {
                let mean = row.iter().sum::<f64>() / width as f64;
                let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
                for (index, (x, got)) in row.iter().zip(got).enumerate() {
                    let unit = (x - mean) / (variance + 1e-5).sqrt();
                    let expected = unit * f64::from(gain[index]) + f64::from(bias[index]);
                    assert!((f64::from(*got) - expected).abs() < 1e-5, "{level}, {width}: {got}, not {expected}");
                }
            }
        }
    }
}

#[test]
fn a_row_alone_becomes_what_it_becomes_among_others() {
    for level in levels() {
        let norm = LayerNorm::new(level, numbers(1, 50), numbers(2, 50), 1e-12);
        let mut together = numbers(3, 150);
        let mut alone = together[50..100].to_vec();
        norm.apply(&mut together);
        norm.apply(&mut alone);
        assert_eq!(together[50..100], alone, "{level}");
    }
}

#[test]
fn no_rows_are_no_work() {
    LayerNorm::new(levels()[0], vec![1.0], vec![0.0], 1e-5).apply(&mut []);
}
