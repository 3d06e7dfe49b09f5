//! What goes into products: rows of floats, and the same rows in 8 bits for weights in blocks.

use super::format::BlockFormat;
use crate::level::Level;
use crate::simd::{Simd, Work};

/// Rows, in every form that the matrices ahead take. Its memory is kept from one product to the next.
#[derive(Default)]
pub struct Activations {
    rows: usize,
    inputs: usize,
    floats: Vec<f32>,
    short: Quantized,
    long: Quantized,
}

/// Rows in 8 bits: blocks of so many, each with a scale.
#[derive(Default)]
pub(super) struct Quantized {
    /// Row after row, as many as inputs.
    pub values: Vec<i8>,
    /// A scale for each block.
    pub scales: Vec<f32>,
    /// The sum of each [`SUM_DEPTH`] values.
    pub sums: Vec<i32>,
}

/// Values that are summed up together.
pub(super) const SUM_DEPTH: usize = 16;

impl Activations {
    /// Takes rows of `inputs`, for matrices that take these forms.
    ///
    /// # Panics
    /// When they are no whole rows, or no whole blocks of a form.
    pub fn fill(
        &mut self,
        level: Level,
        x: &[f32],
        inputs: usize,
        takes: impl IntoIterator<Item = Option<BlockFormat>>,
    ) {
        assert!(inputs > 0 && x.len().is_multiple_of(inputs), "rows of {inputs}");
        (self.rows, self.inputs) = (x.len() / inputs, inputs);
        self.floats.clear();
        let (mut short, mut long) = (false, false);
        for form in takes {
            match form {
                None if self.floats.is_empty() => self.floats.extend_from_slice(x),
                None => {}
                Some(format) if format.depth() == SHORT => short = true,
                Some(_) => long = true,
            }
        }
        self.short.clear();
        self.long.clear();
        if short {
            self.short.fill(level, x, inputs, SHORT);
        }
        if long {
            self.long.fill(level, x, inputs, LONG);
        }
    }

    /// How many there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How wide they are.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    pub(super) fn floats(&self) -> &[f32] {
        &self.floats
    }

    pub(super) fn quantized(&self, depth: usize) -> &Quantized {
        if depth == SHORT { &self.short } else { &self.long }
    }
}

/// Values with one scale, beside weights in blocks of 32.
pub(super) const SHORT: usize = 32;
/// Values with one scale, beside weights in blocks of 256.
pub(super) const LONG: usize = 256;

/// The largest magnitude in 8 bits. Not 128: its negative has no positive.
const MOST: f32 = 127.0;

impl Quantized {
    fn clear(&mut self) {
        self.values.clear();
        self.scales.clear();
        self.sums.clear();
    }

    fn fill(&mut self, level: Level, x: &[f32], inputs: usize, depth: usize) {
        assert!(inputs.is_multiple_of(depth), "rows of {inputs} are no blocks of {depth}");
        self.values.resize(x.len(), 0);
        self.scales.resize(x.len() / depth, 0.0);
        self.sums.resize(x.len() / SUM_DEPTH, 0);
        level.run(Fill { x, depth, into: self });
    }
}

struct Fill<'a> {
    x: &'a [f32],
    depth: usize,
    into: &'a mut Quantized,
}

impl Work for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Fill { x, depth, into: Quantized { values, scales, sums } } = self;
        let blocks = x.chunks_exact(depth).zip(values.chunks_exact_mut(depth));
        let parts = sums.chunks_exact_mut(depth / SUM_DEPTH).zip(scales);
        for ((block, values), (sums, scale)) in blocks.zip(parts) {
            let (mut most, mut least) = (simd.splat(f32::NEG_INFINITY), simd.splat(f32::INFINITY));
            for x in block.chunks_exact(S::LANES) {
                most = simd.max(most, simd.load(x));
                least = simd.min(least, simd.load(x));
            }
            let largest = simd.largest(most).max(simd.largest(simd.sub(simd.splat(0.0), least)));
            // What is no number passes on as such: in the scale, since values have none for it.
            let finite = block.iter().fold(true, |finite, x| finite & x.is_finite());
            *scale = if finite { largest / MOST } else { f32::NAN };
            let factor = simd.splat(if finite && largest > 0.0 { MOST / largest } else { 0.0 });
            for ((x, values), sum) in block.chunks_exact(SUM_DEPTH).zip(values.chunks_exact_mut(SUM_DEPTH)).zip(sums) {
                let mut integers = [0i32; SUM_DEPTH];
                for (x, integers) in x.chunks_exact(S::LANES).zip(integers.chunks_exact_mut(S::LANES)) {
                    let scaled = simd.to_int(simd.round(simd.mul(simd.load(x), factor)));
                    // SAFETY: there are `LANES` integers.
                    unsafe { simd.store_int_at(scaled, integers.as_mut_ptr()) };
                }
                // A scale rounded up may give 128, and what is no number gives any.
                integers.iter_mut().for_each(|integer| *integer = (*integer).clamp(-127, 127));
                *sum = integers.iter().sum();
                values.iter_mut().zip(integers).for_each(|(value, integer)| *value = integer as i8);
            }
        }
    }
}
