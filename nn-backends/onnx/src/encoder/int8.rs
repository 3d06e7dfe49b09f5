//! Linear maps with products of 8 bits.
//!
//! Each row of `x` is scaled by its own largest value, so that a text's embedding does not depend on what it shares a
//! batch with, and each output's weights by theirs. Two things keep the result close to FP32's:
//!
//! - After a layer normalisation a few channels are many times larger than the rest, which would leave the rest few steps.
//!   As in SmoothQuant (<https://arxiv.org/abs/2211.10438>) part of their size is moved into the weights: channels are
//!   divided by the root of their peak over their largest weight. The peaks come from a short run (`calibrate`).
//! - What comes out of an activation is hardly negative. It is moved up by the little it can be, so that all steps lie
//!   where the values are; what that adds to the result is taken off its bias.
//!
//! The accumulation is exact: 2^8 * 2^7 * 2^16 inputs fit 32 bits.

use headland_encoder::Activation;

use super::linear::Linear;
use crate::graph::{Edge, Elem, Graph};

/// The lowest value of GELU and of its approximation by tanh is -0.17004.
const GELU_FLOOR: f32 = 0.1701;

/// Steps to either side of zero.
const STEPS: f32 = 127.0;
/// Zero among unsigned numbers with as many steps to either side.
const MIDDLE: u8 = 128;
/// Steps of unsigned numbers.
const STEPS_UNSIGNED: f32 = 255.0;

/// Stands in where a row or a channel is all zero.
const LEAST: f32 = 1e-20;

/// The largest absolute value in each channel of what goes into each layer's attention and feed-forward block, by turns.
pub(crate) struct Peaks {
    values: Vec<f32>,
    width: usize,
}

impl Peaks {
    /// Peaks in rows of `width`.
    pub fn new(values: Vec<f32>, width: usize) -> Self {
        Peaks { values, width }
    }

    fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.width..][..self.width]
    }
}

/// What is known of the input of a map.
#[derive(Clone, Copy)]
pub(crate) enum Range {
    /// The peaks of its channels stand in this row.
    Peaks(usize),
    /// It is about as often negative as positive.
    Symmetric,
    /// Nothing in it lies below minus this.
    Above(f32),
}

impl Range {
    /// That of an activation's results.
    pub fn above(activation: Activation) -> Self {
        match activation {
            Activation::Gelu | Activation::GeluTanh => Range::Above(GELU_FLOOR),
            Activation::Relu => Range::Above(0.0),
        }
    }
}

/// Adds `linear` of `x`; returns its result and what its weights take.
pub(crate) fn linear(graph: &mut Graph, linear: &Linear, x: &str, range: Range, peaks: &Peaks) -> (Edge, u64) {
    let weights = linear.weights();
    let biases = linear.biases();
    let name = |part: &str| format!("{}.{part}", linear.name);
    let vector = |graph: &mut Graph, part: &str, values: &[f32]| {
        graph.constant(&name(part), Elem::F32, &[values.len()], bytemuck::cast_slice(values))
    };
    let (x, factors, floor) = match range {
        Range::Peaks(row) => {
            let factors = smoothing(peaks.row(row), &weights);
            let divisors: Vec<f32> = factors.iter().map(|factor| 1.0 / factor).collect();
            let divisors = vector(graph, "smoothing", &divisors);
            (graph.op("Mul", &[x, &divisors], &[]), Some(factors), None)
        }
        Range::Symmetric => (x.to_owned(), None, None),
        Range::Above(floor) => {
            let floor_edge = graph.scalar(&format!("above_{floor}"), floor);
            (graph.op("Add", &[x, &floor_edge], &[]), None, Some(floor))
        }
    };
    let quantized = Quantized::new(&weights, linear.inputs, factors.as_deref());
    let biases: Vec<f32> = match floor {
        Some(floor) => biases.iter().zip(&quantized.sums).map(|(bias, sum)| bias - floor * sum).collect(),
        None => biases.into_owned(),
    };
    let values = quantized.constant(graph, &name("int8"), [linear.inputs, linear.outputs]);
    let scales = vector(graph, "scales", &quantized.scales);
    let product = product(graph, &x, &values, &scales, floor.is_none());
    let biases = vector(graph, "biases", &biases);
    let bytes = (linear.inputs + 2 * size_of::<f32>()) * linear.outputs;
    (graph.op("Add", &[&product, &biases], &[]), bytes as u64)
}

/// `x` times the weights, its rows scaled to the steps there are and back.
fn product(graph: &mut Graph, x: &str, values: &Edge, scales: &Edge, symmetric: bool) -> Edge {
    let (steps, zero) = if symmetric { (STEPS, MIDDLE) } else { (STEPS_UNSIGNED, 0) };
    let size = if symmetric { graph.op("Abs", &[x], &[]) } else { x.to_owned() };
    let channels = graph.list("channels_axis", &[-1]);
    let peak = graph.op("ReduceMax", &[&size, &channels], &[]);
    let least = graph.scalar("least", LEAST);
    let peak = graph.op("Max", &[&peak, &least], &[]);
    let wanted = graph.scalar(&format!("steps_{steps}"), steps);
    let per_step = graph.op("Div", &[&wanted, &peak], &[]);
    let scaled = graph.op("Mul", &[x, &per_step], &[]);
    let unit = graph.scalar("one", 1.0);
    let zero = graph.constant(&format!("zero_{zero}"), Elem::U8, &[], &[zero]);
    let steps_of_x = graph.op("QuantizeLinear", &[&scaled, &unit, &zero], &[]);
    let step = graph.scalar(&format!("step_{steps}"), 1.0 / steps);
    let mut inputs = vec![&*steps_of_x, values, &step, scales, &zero];
    let middle = (!signed_weights()).then(|| graph.constant("middle", Elem::U8, &[], &[MIDDLE]));
    inputs.extend(middle.as_deref());
    let product = graph.own_op("MatMulIntegerToFloat", &inputs, &[]);
    graph.op("Mul", &[&product, &peak], &[])
}

/// What each channel is divided by, and its weights multiplied: it leaves both equally large.
fn smoothing(peaks: &[f32], weights: &[f32]) -> Vec<f32> {
    let mut largest = vec![LEAST; peaks.len()];
    for output in weights.chunks_exact(peaks.len()) {
        largest.iter_mut().zip(output).for_each(|(largest, weight)| *largest = largest.max(weight.abs()));
    }
    // A channel that is always zero, or that nothing reads, needs no help.
    let factor = |(&peak, &largest): (&f32, &f32)| (peak / largest).sqrt();
    let usable = |factor: &f32| factor.is_finite() && *factor > 0.0;
    peaks.iter().zip(&largest).map(|pair| Some(factor(pair)).filter(usable).unwrap_or(1.0)).collect()
}

/// Weights of 8 bits.
struct Quantized {
    /// `[inputs, outputs]`
    values: Vec<i8>,
    /// The worth of a step, for each output.
    scales: Vec<f32>,
    /// The sum of each output's weights.
    sums: Vec<f32>,
}

impl Quantized {
    /// From `weights`, `[outputs, inputs]`, each input's multiplied by its factor.
    fn new(weights: &[f32], inputs: usize, factors: Option<&[f32]>) -> Self {
        let outputs = weights.len() / inputs;
        let mut values = vec![0i8; weights.len()];
        let (mut scales, mut sums) = (Vec::with_capacity(outputs), Vec::with_capacity(outputs));
        let mut row = vec![0.0; inputs];
        for (output, weights) in weights.chunks_exact(inputs).enumerate() {
            row.copy_from_slice(weights);
            if let Some(factors) = factors {
                row.iter_mut().zip(factors).for_each(|(weight, factor)| *weight *= factor);
            }
            let peak = row.iter().fold(LEAST, |peak, weight| peak.max(weight.abs()));
            let (scale, per_step, mut sum) = (peak / STEPS, STEPS / peak, 0i32);
            for (weight, column) in row.iter().zip(values.chunks_exact_mut(outputs)) {
                // Within -127 and 127 by the choice of the scale.
                let value = (weight * per_step).round_ties_even() as i8;
                column[output] = value;
                sum += i32::from(value);
            }
            scales.push(scale);
            sums.push(sum as f32 * scale);
        }
        Quantized { values, scales, sums }
    }

    fn constant(&self, graph: &mut Graph, name: &str, shape: [usize; 2]) -> Edge {
        if signed_weights() {
            return graph.constant(name, Elem::I8, &shape, bytemuck::cast_slice(&self.values));
        }
        let moved: Vec<u8> = self.values.iter().map(|value| value.wrapping_add_unsigned(MIDDLE) as u8).collect();
        graph.constant(name, Elem::U8, &shape, &moved)
    }
}

/// Whether weights are stored with their sign. Where the processor has no instruction for sums of four products, ONNX
/// Runtime multiplies unsigned by signed numbers in sums of two that saturate, and unsigned ones exactly.
fn signed_weights() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512vnni") || std::arch::is_x86_feature_detected!("avxvnni");
    #[cfg(not(target_arch = "x86_64"))]
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_come_back_within_half_a_step() {
        let weights = [0.5, -1.0, 0.25, 0.0, 0.0, 0.0, 3.0, 2.0, -0.01];
        let factors = [1.0, 2.0, 0.5];
        let quantized = Quantized::new(&weights, 3, Some(&factors));
        for (place, weight) in weights.iter().enumerate() {
            let (output, input) = (place / 3, place % 3);
            let scale = quantized.scales[output];
            let back = f32::from(quantized.values[input * 3 + output]) * scale;
            assert!((back - weight * factors[input]).abs() <= scale * 0.501, "{place}: {back}");
        }
        assert_eq!(quantized.sums[1], 0.0);
    }

    #[test]
    fn smoothing_leaves_inputs_and_weights_equally_large_and_spares_what_is_zero() {
        let factors = smoothing(&[8.0, 0.0, 1.0], &[0.5, 1.0, 0.0, -2.0, 0.5, 0.0]);
        assert_eq!(factors[0], 2.0);
        assert_eq!(8.0 / factors[0], 2.0 * factors[0]);
        assert_eq!(factors[1], 1.0);
        assert!(factors[2].is_finite());
    }
}
