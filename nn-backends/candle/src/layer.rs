//! The two building blocks with weights: linear maps and layer normalisation.

use candle_core::{Result as CandleResult, Tensor};
use headland_nn_core::NnError;

use crate::weights::Weights;

/// `x W^T + b` over rows.
#[derive(Clone)]
pub(crate) struct Linear {
    /// `[outputs, inputs]`, as stored.
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    /// Reads `name.weight` and `name.bias`.
    pub fn load(weights: &mut Weights, name: &str, inputs: usize, outputs: usize) -> Result<Self, NnError> {
        Ok(Linear {
            weight: weights.tensor(&format!("{name}.weight"), &[outputs, inputs])?,
            bias: weights.tensor(&format!("{name}.bias"), &[outputs])?,
        })
    }

    /// The same map followed by a multiplication.
    pub fn scaled(self, factor: f64) -> CandleResult<Self> {
        Ok(Linear { weight: (self.weight * factor)?, bias: (self.bias * factor)? })
    }

    /// One map that gives the outputs of all `parts` side by side.
    pub fn side_by_side(parts: &[Linear]) -> CandleResult<Self> {
        let weights: Vec<&Tensor> = parts.iter().map(|part| &part.weight).collect();
        let biases: Vec<&Tensor> = parts.iter().map(|part| &part.bias).collect();
        Ok(Linear { weight: Tensor::cat(&weights, 0)?, bias: Tensor::cat(&biases, 0)? })
    }

    /// Maps the rows of `x`, `[rows, inputs]` to `[rows, outputs]`.
    pub fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        x.matmul(&self.weight.t()?)?.broadcast_add(&self.bias)
    }
}

/// Layer normalisation with gain and bias.
#[derive(Clone)]
pub(crate) struct Norm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f32,
}

impl Norm {
    /// Reads `name.weight` and `name.bias`, or `name.gamma` and `name.beta`, as conversions from TensorFlow have them.
    pub fn load(weights: &mut Weights, name: &str, width: usize, epsilon: f32) -> Result<Self, NnError> {
        let (weight, bias) = if weights.has(&format!("{name}.gamma")) { ("gamma", "beta") } else { ("weight", "bias") };
        Ok(Norm {
            weight: weights.tensor(&format!("{name}.{weight}"), &[width])?,
            bias: weights.tensor(&format!("{name}.{bias}"), &[width])?,
            epsilon,
        })
    }

    /// Normalises each row of `x`.
    pub fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        candle_nn::ops::layer_norm(x, &self.weight, &self.bias, self.epsilon)
    }
}
