//! Linear maps as the weights file has them.

use std::borrow::Cow;

use headland_nn_core::NnError;

use super::weights::{Stored, Weights};
use crate::graph::{Attribute, Edge, Graph};

/// `x W^T + b` over rows, the results of several maps side by side.
pub(crate) struct Linear<'a> {
    parts: Vec<Part<'a>>,
    /// Width of `x`.
    pub inputs: usize,
    /// Width of the result.
    pub outputs: usize,
    /// A name that no other has.
    pub name: String,
}

struct Part<'a> {
    /// `[outputs, inputs]`
    weight: Stored<'a>,
    bias: Stored<'a>,
}

impl<'a> Linear<'a> {
    /// Reads `name.weight` and `name.bias` for each of `names`, all of the same shape.
    pub fn read(weights: &Weights<'a>, names: &[&str], inputs: usize, outputs: usize) -> Result<Self, NnError> {
        let part = |name: &&str| {
            Ok(Part {
                weight: weights.tensor(&format!("{name}.weight"), &[outputs, inputs])?,
                bias: weights.tensor(&format!("{name}.bias"), &[outputs])?,
            })
        };
        let parts = names.iter().map(part).collect::<Result<Vec<_>, NnError>>()?;
        Ok(Linear { outputs: outputs * parts.len(), parts, inputs, name: names.join("+") })
    }

    /// The map in FP32, and what its weights take. Weights side by side are put together while the graph loads.
    pub fn full(&self, graph: &mut Graph, x: &str) -> (Edge, u64) {
        let weights: Vec<Edge> = self.parts.iter().map(|part| part.weight.constant_f32(graph)).collect();
        let biases: Vec<Edge> = self.parts.iter().map(|part| part.bias.constant_f32(graph)).collect();
        let (weight, bias) = (joined(graph, weights), joined(graph, biases));
        let result = graph.op("Gemm", &[x, &weight, &bias], &[("transB", Attribute::Int(1))]);
        (result, ((self.inputs + 1) * self.outputs * size_of::<f32>()) as u64)
    }

    /// All weights, `[outputs, inputs]`.
    pub fn weights(&self) -> Cow<'_, [f32]> {
        side_by_side(self.parts.iter().map(|part| part.weight.values()))
    }

    /// All biases.
    pub fn biases(&self) -> Cow<'_, [f32]> {
        side_by_side(self.parts.iter().map(|part| part.bias.values()))
    }
}

fn joined(graph: &mut Graph, parts: Vec<Edge>) -> Edge {
    match &parts[..] {
        [only] => only.clone(),
        _ => {
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            graph.op("Concat", &parts, &[("axis", Attribute::Int(0))])
        }
    }
}

fn side_by_side<'a>(mut parts: impl ExactSizeIterator<Item = Cow<'a, [f32]>>) -> Cow<'a, [f32]> {
    match parts.len() {
        1 => parts.next().unwrap_or_default(),
        _ => parts
            .fold(Vec::new(), |mut all, part| {
                all.extend_from_slice(&part);
                all
            })
            .into(),
    }
}
