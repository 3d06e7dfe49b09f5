//! Products of every format at every level against f64, and against themselves with other rows beside them.

use proptest::prelude::*;

use super::*;
use crate::test_support::{levels, numbers, product};

const BLOCKS: [BlockFormat; 8] = [
    BlockFormat::Q4_0,
    BlockFormat::Q4_1,
    BlockFormat::Q5_0,
    BlockFormat::Q5_1,
    BlockFormat::Q8_0,
    BlockFormat::Q4K,
    BlockFormat::Q5K,
    BlockFormat::Q6K,
];

fn storages() -> impl Iterator<Item = Storage> {
    [Storage::F32, Storage::F16, Storage::BF16].into_iter().chain(BLOCKS.map(Storage::Blocks))
}

/// Random bytes, but for scales that are numbers of a usual size.
fn bytes(storage: Storage, seed: u64, elements: usize) -> Vec<u8> {
    let random = |count: usize| numbers(seed, count).into_iter().map(|x| ((x + 1.0) * 127.99) as u8);
    let half = |x: f32| half::f16::from_f32(x).to_le_bytes();
    match storage {
        Storage::F32 => numbers(seed, elements).into_iter().flat_map(f32::to_le_bytes).collect(),
        Storage::F16 => numbers(seed, elements).into_iter().flat_map(half).collect(),
        Storage::BF16 => numbers(seed, elements).into_iter().flat_map(|x| x.to_le_bytes()[2..].to_vec()).collect(),
        Storage::Blocks(format) => {
            let mut bytes: Vec<u8> = random(storage.bytes(elements).unwrap()).collect();
            for (index, block) in bytes.chunks_exact_mut(format.block_bytes()).enumerate() {
                let scale = half(0.01 + index as f32 % 7.0 / 100.0);
                match format {
                    BlockFormat::Q6K => block[208..].copy_from_slice(&scale),
                    BlockFormat::Q4_0 | BlockFormat::Q5_0 | BlockFormat::Q8_0 => block[..2].copy_from_slice(&scale),
                    _ => {
                        block[..2].copy_from_slice(&scale);
                        block[2..4].copy_from_slice(&half(0.02));
                    }
                }
            }
            bytes
        }
    }
}

fn multiply(matrix: &Matrix, level: Level, x: &[f32], begin: f32, bias: Option<&[f32]>) -> Vec<f32> {
    let mut activations = Activations::default();
    activations.fill(level, x, matrix.inputs(), [matrix.takes()]);
    let mut out = vec![begin; activations.rows() * matrix.outputs()];
    let target = Target::new(&mut out, matrix.outputs(), 0, matrix.outputs()).adding().with_bias(bias);
    let half = matrix.panels() / 2;
    // SAFETY: no other thread is here.
    unsafe {
        matrix.multiply(&activations, half..matrix.panels(), &target);
        matrix.multiply(&activations, 0..half, &target);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn products_are_right_in_every_format_at_every_level(
        seed in 0u64..1000, rows in 0usize..21, blocks in 1usize..4, outputs in 1usize..70,
    ) {
        let inputs = blocks * 256;
        for storage in storages() {
            let bytes = bytes(storage, seed, inputs * outputs);
            let mut weights = vec![0.0; inputs * outputs];
            storage.read(&bytes, &mut weights);
            let (x, bias) = (numbers(seed + 1, rows * inputs), numbers(seed + 2, outputs));
            let expected = product(&x, &weights, inputs);
            // Rows in 8 bits are within half a step of 127 of the largest of each block.
            let largest = weights.iter().fold(0.0f64, |most, x| most.max(f64::from(x.abs())));
            let of_sum = inputs as f64 * f64::from(f32::EPSILON);
            let of_rows = if matches!(storage, Storage::Blocks(_)) { (inputs as f64).sqrt() * 4.0 / 254.0 } else { 0.0 };
            for level in levels() {
                let matrix = Matrix::new(level, storage, &bytes, inputs, outputs);
                let got = multiply(&matrix, level, &x, 2.0, Some(&bias));
                for (index, ([sum, magnitude], got)) in expected.iter().zip(got).enumerate() {
                    let expected = sum + 2.0 + f64::from(bias[index % outputs]);
                    let apart = (f64::from(got) - expected).abs();
                    let allowed = of_sum * (magnitude + 3.0) + of_rows * largest;
                    prop_assert!(apart <= allowed, "{storage:?} {level}: {got}, not {expected}, {apart} apart");
                }
            }
        }
    }

    #[test]
    fn a_row_is_the_same_whatever_is_beside_it(seed in 0u64..1000, rows in 1usize..21, outputs in 1usize..40) {
        let inputs = 256;
        for storage in storages() {
            let bytes = bytes(storage, seed, inputs * outputs);
            let x = numbers(seed + 1, rows * inputs);
            for level in levels() {
                let matrix = Matrix::new(level, storage, &bytes, inputs, outputs);
                let together = multiply(&matrix, level, &x, 0.0, None);
                let alone = x.chunks(inputs).flat_map(|row| multiply(&matrix, level, row, 0.0, None));
                prop_assert_eq!(together, alone.collect::<Vec<_>>(), "{:?} {}", storage, level);
            }
        }
    }
}

/// What rows in 8 bits lose is no part of this: they are such that nothing is lost.
#[test]
fn integers_are_multiplied_exactly() {
    for format in BLOCKS {
        let (inputs, outputs) = (512, 33);
        let bytes = bytes(Storage::Blocks(format), 7, inputs * outputs);
        let mut weights = vec![0.0; inputs * outputs];
        Storage::Blocks(format).read(&bytes, &mut weights);
        // Each block of 32 has a 127, so that its scale is one.
        let x: Vec<f32> =
            (0..inputs * 3).map(|i| if i % 32 == 0 { 127.0 } else { (i * 37 % 255) as f32 - 127.0 }).collect();
        let expected = product(&x, &weights, inputs);
        for level in levels() {
            let matrix = Matrix::new(level, Storage::Blocks(format), &bytes, inputs, outputs);
            for ([sum, magnitude], got) in expected.iter().zip(multiply(&matrix, level, &x, 0.0, None)) {
                assert!((f64::from(got) - sum).abs() < 1e-5 * magnitude, "{format:?} {level}: {got}, not {sum}");
            }
        }
    }
}

#[test]
fn what_is_no_number_stays_none() {
    for storage in storages() {
        let (bytes, level) = (bytes(storage, 7, 256 * 8), Level::best());
        let mut x = numbers(1, 512);
        x[300] = f32::NAN;
        let out = multiply(&Matrix::new(level, storage, &bytes, 256, 8), level, &x, 0.0, None);
        assert!(out[..8].iter().all(|x| x.is_finite()) && out[8..].iter().all(|x| x.is_nan()), "{storage:?}");
    }
}

#[test]
fn half_precision_reads_as_it_lies() {
    let mut floats = [0.0; 3];
    Storage::F16.read(&[0x00, 0x3c, 0x00, 0xc0, 0x00, 0x00], &mut floats);
    assert_eq!(floats, [1.0, -2.0, 0.0]);
    Storage::BF16.read(&[0x80, 0x3f, 0x00, 0xc0, 0x00, 0x00], &mut floats);
    assert_eq!(floats, [1.0, -2.0, 0.0]);
}
