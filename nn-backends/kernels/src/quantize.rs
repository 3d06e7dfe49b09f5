//! Floats to 8 bits: each row of activations with a scale and a zero of its own, each output's weights with a scale.
//!
//! One scale for a whole batch, as ONNX Runtime's dynamic quantisation has it, lets one token with large values take the
//! bits from all others, and lets a text's result depend on what runs beside it. One a row does neither.

use crate::gemm::{Finish, FinishFloats, Packed, Rows, panel_width};
use crate::simd::Simd;

/// The largest magnitude of a weight in 8 bits.
const WEIGHT_MOST: f32 = 127.0;
/// The largest activation; the least is 0.
const ACTIVATION_MOST: f32 = 255.0;

/// Rows in 8 bits, kept from run to run for their memory.
#[derive(Default)]
pub(crate) struct QuantizedRows {
    units: Vec<i32>,
    /// Units of a row.
    stride: usize,
    of_row: Vec<RowScale>,
}

/// What a row's numbers stand for: `scale * (number - zero)`.
#[derive(Clone, Copy, Default)]
pub(crate) struct RowScale {
    scale: f32,
    zero: i32,
}

impl QuantizedRows {
    /// Takes `rows`, each multiplied by `factors`.
    #[inline(always)]
    pub fn fill<S: Simd>(&mut self, simd: S, rows: &[f32], factors: &[f32]) {
        let width = factors.len();
        let count = rows.len() / width;
        // Whole vectors are stored, so a row has room for them.
        self.stride = width.next_multiple_of(S::LANES) / S::GROUP;
        self.units.resize(count * self.stride, 0);
        self.of_row.resize(count, RowScale::default());
        let units = self.units.chunks_exact_mut(self.stride);
        for ((row, units), scale) in rows.chunks_exact(width).zip(units).zip(&mut self.of_row) {
            *scale = quantize_row(simd, row, factors, units);
        }
    }

    /// The rows to multiply.
    pub fn rows(&self) -> Rows<'_, i32> {
        Rows { data: &self.units, rows: self.of_row.len(), stride: self.stride }
    }
}

#[inline(always)]
fn quantize_row<S: Simd>(simd: S, row: &[f32], factors: &[f32], units: &mut [i32]) -> RowScale {
    let vectors = || {
        let pairs = row.chunks(S::LANES).zip(factors.chunks(S::LANES));
        pairs.map(|(values, factors)| simd.mul(simd.load_some(values, 0.0), simd.load_some(factors, 0.0)))
    };
    let mut most = simd.splat(0.0);
    let mut least_negated = simd.splat(0.0);
    for values in vectors() {
        most = simd.max(most, values);
        least_negated = simd.max(least_negated, simd.sub(simd.splat(0.0), values));
    }
    let (most, below_zero) = (simd.largest(most), simd.largest(least_negated));
    let range = most + below_zero;
    let per_step = if range > 0.0 { ACTIVATION_MOST / range } else { 0.0 };
    let zero = (below_zero * per_step).round_ties_even();
    let (factor, shift) = (simd.splat(per_step), simd.splat(zero));
    let zero = zero as i32;
    let subtracted = simd.splat_int(zero);
    for (values, units) in vectors().zip(units.chunks_exact_mut(S::LANES / S::GROUP)) {
        let number = simd.round(simd.mul_add(values, factor, shift));
        let number = simd.min(simd.max(number, simd.splat(0.0)), simd.splat(ACTIVATION_MOST));
        // SAFETY: the chunk has as many units as a vector makes.
        unsafe { simd.store_units_at(simd.to_int(number), subtracted, units.as_mut_ptr()) };
    }
    RowScale { scale: range / ACTIVATION_MOST, zero }
}

/// Weights in 8 bits.
pub(crate) struct QuantizedWeights {
    pub packed: Packed<i32>,
    /// For each output, filled up to whole panels: what one step is worth.
    scales: Vec<f32>,
    /// For each output, filled up to whole panels: the sum of its weights, which a row's zero adds that many times.
    sums: Vec<i32>,
    /// For each input: what activations are multiplied by, and weights divided by.
    pub factors: Vec<f32>,
}

impl QuantizedWeights {
    /// Of weights `[outputs, inputs]`, where `largest` has the largest magnitude of each input that was seen, or is empty.
    pub fn new<S: Simd>(weights: &[f32], inputs: usize, outputs: usize, largest: &[f32]) -> Self {
        let factors = if largest.is_empty() { vec![1.0; inputs] } else { smoothing(weights, largest) };
        let weights: Vec<f32> = weights
            .chunks_exact(inputs)
            .flat_map(|row| row.iter().zip(&factors).map(|(w, factor)| w / factor))
            .collect();
        let padded = outputs.next_multiple_of(panel_width::<S>());
        let (mut scales, mut sums) = (vec![0.0; padded], vec![0; padded]);
        let mut numbers = vec![0i8; weights.len()];
        for (output, (weights, numbers)) in
            weights.chunks_exact(inputs).zip(numbers.chunks_exact_mut(inputs)).enumerate()
        {
            let most = weights.iter().fold(0.0f32, |most, weight| most.max(weight.abs()));
            let per_step = if most > 0.0 { WEIGHT_MOST / most } else { 0.0 };
            for (number, weight) in numbers.iter_mut().zip(weights) {
                // Saturates: whatever stands in a file becomes some number.
                *number = (weight * per_step).round_ties_even() as i8;
            }
            scales[output] = most / WEIGHT_MOST;
            sums[output] = numbers.iter().map(|&number| i32::from(number)).sum();
        }
        let packed = Packed::new::<S>(inputs.div_ceil(S::GROUP), outputs, |step, output| {
            let row = &numbers[output * inputs..][..inputs];
            let value = |index: usize| row.get(step * S::GROUP + index).map_or(0, |&number| i32::from(number));
            (0..S::GROUP).fold(0, |unit, index| {
                let bits = 32 / S::GROUP;
                unit | (value(index) & (!0u32 >> (32 - bits)) as i32) << (index * bits)
            })
        });
        QuantizedWeights { packed, scales, sums, factors }
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        let of_inputs_and_outputs = self.scales.len() + self.sums.len() + self.factors.len();
        self.packed.bytes() + of_inputs_and_outputs * size_of::<f32>()
    }
}

/// Factors that take what makes 8 bits hard from the activations, where few inputs are large, and give half of it, by the
/// root, to the weights, which have a scale for each output (SmoothQuant; Xiao et al., 2022). Inputs that a sample shows to
/// be small may be larger in other texts: none counts as less than the median.
fn smoothing(weights: &[f32], largest: &[f32]) -> Vec<f32> {
    let mut of_weights = vec![0.0f32; largest.len()];
    for row in weights.chunks_exact(largest.len()) {
        of_weights.iter_mut().zip(row).for_each(|(most, weight)| *most = most.max(weight.abs()));
    }
    let (floor, weight_floor) = (quantile(largest, 2), quantile(&of_weights, 10));
    let factor = |(input, weight): (&f32, &f32)| (weight.max(weight_floor) / input.max(floor)).sqrt();
    let factors = largest.iter().zip(&of_weights).map(factor);
    // What is no usable number comes of weights or activations that are none.
    factors.map(|factor| if factor.is_normal() { factor } else { 1.0 }).collect()
}

/// The value that one in `parts` is below.
fn quantile(values: &[f32], parts: usize) -> f32 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f32::total_cmp);
    sorted[sorted.len() / parts]
}

/// Makes floats of sums of units, and passes them on.
pub(crate) struct FinishUnits<'a> {
    pub weights: &'a QuantizedWeights,
    pub rows: &'a QuantizedRows,
    pub floats: FinishFloats<'a>,
}

impl Finish<i32> for FinishUnits<'_> {
    #[inline(always)]
    fn row<S: Simd>(&mut self, simd: S, row: usize, column: usize, width: usize, sums: &[i32]) {
        let RowScale { scale, zero } = self.rows.of_row[row];
        let (scale, zero) = (simd.splat(scale), simd.splat_int(zero));
        for (begin, sums) in (0..width).step_by(S::LANES).zip(sums.chunks_exact(S::LANES)) {
            let column = column + begin;
            let (scales, of_weights) = (&self.weights.scales[column..], &self.weights.sums[column..][..S::LANES]);
            // SAFETY: both have `LANES` elements.
            let (mut sum, of_weights) =
                unsafe { (simd.load_int_at(sums.as_ptr()), simd.load_int_at(of_weights.as_ptr())) };
            if S::UNSIGNED {
                sum = simd.sub_int(sum, simd.mul_int(zero, of_weights));
            }
            let x = simd.mul(simd.to_float(sum), simd.mul(scale, simd.load(scales)));
            self.floats.vector(simd, row, column, width - begin, x);
        }
    }
}
