//! [`Linear`]: rows times weights plus bias, and what follows.

use std::ops::Range;

use crate::functions::Activation;
use crate::gemm::{FinishFloats, Packed, Rows, Then, multiply_panels, panel_width};
use crate::level::Level;
use crate::matrix::Target;
use crate::quantize::{FinishUnits, QuantizedRows, QuantizedWeights};
use crate::simd::{Simd, Work};
use crate::team::Team;

/// `x W^T + b` over rows.
pub struct Linear {
    level: Level,
    inputs: usize,
    outputs: usize,
    /// Columns that lie together.
    panel_width: usize,
    /// Filled up to whole panels.
    bias: Vec<f32>,
    weights: Weights,
}

enum Weights {
    Full(Packed<f32>),
    Int8(QuantizedWeights),
}

/// Memory that products need while they run, kept from one to the next.
#[derive(Default)]
pub struct LinearScratch(QuantizedRows);

impl Linear {
    /// Packs `weights`, `[outputs, inputs]`, of which there must be `inputs` for each `bias`, to compute in f32.
    ///
    /// # Panics
    /// When there are not, or none.
    pub fn full(level: Level, weights: &[f32], inputs: usize, bias: &[f32]) -> Self {
        level.run(Pack { level, weights, inputs, bias, largest: None })
    }

    /// The same, to compute in 8 bits: activations with a scale and a zero for each row, weights with a scale for each
    /// output. `largest` has the largest magnitude of each input that was seen in a sample, or is empty.
    ///
    /// # Panics
    /// As [`Self::full`], and when `largest` is of another length.
    pub fn int8(level: Level, weights: &[f32], inputs: usize, bias: &[f32], largest: &[f32]) -> Self {
        assert!(largest.is_empty() || largest.len() == inputs, "{} magnitudes of {inputs} inputs", largest.len());
        level.run(Pack { level, weights, inputs, bias, largest: Some(largest) })
    }

    /// Columns of what goes in.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Columns of what comes out.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Bytes of memory that the weights take.
    pub fn bytes(&self) -> usize {
        let weights = match &self.weights {
            Weights::Full(packed) => packed.bytes(),
            Weights::Int8(weights) => weights.bytes(),
        };
        weights + self.bias.len() * size_of::<f32>()
    }

    /// Maps the rows of `x` into those of `out`.
    ///
    /// # Panics
    /// When the lengths do not fit, as do the others.
    pub fn map(&self, x: &[f32], out: &mut [f32], scratch: &mut LinearScratch, team: &mut Team) {
        self.compute(x, Then::Store, out, scratch, team);
    }

    /// Maps the rows of `x`, and puts the activation of that into those of `out`.
    pub fn map_activated(
        &self,
        x: &[f32],
        activation: Activation,
        out: &mut [f32],
        scratch: &mut LinearScratch,
        team: &mut Team,
    ) {
        self.compute(x, Then::Activate(activation), out, scratch, team);
    }

    /// Maps the rows of `x`, and adds that to those of `out`.
    pub fn map_onto(&self, x: &[f32], out: &mut [f32], scratch: &mut LinearScratch, team: &mut Team) {
        self.compute(x, Then::Add, out, scratch, team);
    }

    fn compute(&self, x: &[f32], then: Then, out: &mut [f32], scratch: &mut LinearScratch, team: &mut Team) {
        let rows = x.len() / self.inputs;
        assert_eq!(x.len(), rows * self.inputs, "rows of {} inputs", self.inputs);
        assert_eq!(out.len(), rows * self.outputs, "{rows} rows of {} outputs", self.outputs);
        let LinearScratch(quantized) = scratch;
        if let Weights::Int8(weights) = &self.weights {
            self.level.run(Quantize { x, weights, into: quantized });
        }
        let (quantized, out) = (&*quantized, Target::new(out, self.outputs, 0, self.outputs));
        // The bias fills whole panels up.
        let panels = self.bias.len() / self.panel_width;
        let items = team.items().min(panels);
        team.run(items, &|item, _| {
            let panels = panels * item / items..panels * (item + 1) / items;
            // SAFETY: each panel, and with it each column, is in one item, and each item in one thread.
            let out = unsafe { out.again() };
            self.level.run(Multiply { linear: self, x, quantized, panels, then, out });
        });
    }
}

struct Pack<'a> {
    level: Level,
    weights: &'a [f32],
    inputs: usize,
    bias: &'a [f32],
    /// For 8 bits.
    largest: Option<&'a [f32]>,
}

impl Work for Pack<'_> {
    type Output = Linear;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Linear {
        let Pack { level, weights, inputs, bias, largest } = self;
        let outputs = bias.len();
        assert!(inputs > 0 && outputs > 0, "a map from or to nothing");
        assert_eq!(weights.len(), inputs * outputs, "weights for {inputs} inputs and {outputs} outputs");
        let mut bias = bias.to_vec();
        bias.resize(outputs.next_multiple_of(panel_width::<S>()), 0.0);
        let weights = match largest {
            None => Weights::Full(Packed::new::<S>(inputs, outputs, |input, output| weights[output * inputs + input])),
            Some(largest) => Weights::Int8(QuantizedWeights::new::<S>(weights, inputs, outputs, largest)),
        };
        Linear { level, inputs, outputs, panel_width: panel_width::<S>(), bias, weights }
    }
}

/// Makes 8 bits of rows, once for all that multiply them.
struct Quantize<'a> {
    x: &'a [f32],
    weights: &'a QuantizedWeights,
    into: &'a mut QuantizedRows,
}

impl Work for Quantize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Quantize { x, weights, into } = self;
        into.fill(simd, x, &weights.factors);
    }
}

struct Multiply<'a> {
    linear: &'a Linear,
    x: &'a [f32],
    /// The rows in 8 bits, for weights that are.
    quantized: &'a QuantizedRows,
    panels: Range<usize>,
    then: Then,
    out: Target<'a>,
}

impl Work for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Multiply { linear, x, quantized: rows, panels, then, out } = self;
        let mut floats = FinishFloats::new(&linear.bias, then, out);
        match &linear.weights {
            Weights::Full(packed) => {
                let rows = Rows { data: x, rows: x.len() / linear.inputs, stride: linear.inputs };
                multiply_panels(simd, rows, packed.panels(), panels, &mut floats);
            }
            Weights::Int8(weights) => {
                let mut finish = FinishUnits { weights, rows, floats };
                multiply_panels(simd, rows.rows(), weights.packed.panels(), panels, &mut finish);
            }
        }
    }
}

#[cfg(test)]
mod tests;
