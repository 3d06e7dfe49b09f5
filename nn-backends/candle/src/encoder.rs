//! The transformer: packed tokens to token embeddings.
//!
//! candle-transformers has a BERT of its own. This one runs on packed batches instead of padded ones (padding would cost
//! as much as text, and no mask is needed), asks for query, key and value in one product, and serves the whole family.

use candle_core::{Device, Result as CandleResult, Tensor};
use candle_nn::ops::softmax_last_dim;
use headland_encoder::{Activation, Architecture, Slice};
use headland_nn_core::NnError;

use crate::layer::{Linear, Norm};
use crate::weights::Weights;

/// A loaded encoder.
#[derive(Clone)]
pub(crate) struct Encoder {
    embeddings: Embeddings,
    blocks: Vec<Block>,
    heads: usize,
    activation: Activation,
}

#[derive(Clone)]
struct Embeddings {
    words: Tensor,
    positions: Tensor,
    token_types: Option<Tensor>,
    norm: Norm,
}

#[derive(Clone)]
struct Block {
    query_key_value: Linear,
    attention_output: Linear,
    attention_norm: Norm,
    feed_forward_in: Linear,
    feed_forward_out: Linear,
    output_norm: Norm,
}

impl Encoder {
    /// Reads all tensors of `architecture`.
    pub fn load(weights: &mut Weights, architecture: &Architecture) -> Result<Self, NnError> {
        Ok(Encoder {
            embeddings: Embeddings::load(weights, architecture)?,
            blocks: (0..architecture.layers)
                .map(|index| Block::load(weights, architecture, index))
                .collect::<Result<_, _>>()?,
            heads: architecture.heads,
            activation: architecture.activation,
        })
    }

    /// The embeddings of all tokens of `slice`, `[tokens, hidden]`.
    pub fn forward(&self, slice: &Slice) -> CandleResult<Tensor> {
        let mut hidden = self.embeddings.forward(slice)?;
        for block in &self.blocks {
            let attended = self.attention(block, &hidden, slice)?;
            hidden = block.attention_norm.forward(&(hidden + attended)?)?;
            let widened = self.activate(block.feed_forward_in.forward(&hidden)?)?;
            let narrowed = block.feed_forward_out.forward(&widened)?;
            hidden = block.output_norm.forward(&(hidden + narrowed)?)?;
        }
        Ok(hidden)
    }

    fn activate(&self, x: Tensor) -> CandleResult<Tensor> {
        match self.activation {
            Activation::Gelu => x.gelu_erf(),
            Activation::GeluTanh => x.gelu(),
            Activation::Relu => x.relu(),
        }
    }

    /// Self-attention of every text with itself.
    fn attention(&self, block: &Block, hidden: &Tensor, slice: &Slice) -> CandleResult<Tensor> {
        let all = block.query_key_value.forward(hidden)?;
        let head_size = all.dim(1)? / (3 * self.heads);
        let mut attended = Vec::with_capacity(slice.texts().len());
        for text in slice.texts() {
            // [tokens, 3 * heads, head_size] seen as [3 * heads, tokens, head_size]; nothing is copied.
            let parts = all.narrow(0, text.start, text.len())?.reshape((text.len(), 3 * self.heads, head_size))?;
            let parts = parts.transpose(0, 1)?;
            let part = |index: usize| parts.narrow(0, index * self.heads, self.heads);
            let scores = part(0)?.matmul(&part(1)?.t()?)?;
            let mixed = softmax_last_dim(&scores)?.matmul(&part(2)?)?;
            attended.push(mixed.transpose(0, 1)?.flatten_from(1)?);
        }
        block.attention_output.forward(&Tensor::cat(&attended, 0)?)
    }
}

impl Embeddings {
    fn load(weights: &mut Weights, architecture: &Architecture) -> Result<Self, NnError> {
        let hidden = architecture.hidden;
        let mut table =
            |name: &str, rows: usize| weights.tensor(&format!("embeddings.{name}_embeddings.weight"), &[rows, hidden]);
        Ok(Embeddings {
            words: table("word", architecture.vocabulary)?,
            positions: table("position", architecture.positions)?,
            token_types: match architecture.token_types {
                0 => None,
                rows => Some(table("token_type", rows)?),
            },
            norm: Norm::load(weights, "embeddings.LayerNorm", hidden, architecture.norm_epsilon)?,
        })
    }

    fn forward(&self, slice: &Slice) -> CandleResult<Tensor> {
        let rows =
            |table: &Tensor, ids: &[u32]| table.index_select(&Tensor::from_slice(ids, ids.len(), &Device::Cpu)?, 0);
        let mut sum = (rows(&self.words, slice.ids())? + rows(&self.positions, slice.positions())?)?;
        if let Some(table) = &self.token_types {
            sum = (sum + rows(table, slice.token_types())?)?;
        }
        self.norm.forward(&sum)
    }
}

impl Block {
    fn load(weights: &mut Weights, architecture: &Architecture, index: usize) -> Result<Self, NnError> {
        let (names, hidden) = (architecture.names, architecture.hidden);
        let name = |part: &str| format!("{}.{index}.{part}", names.layer);
        let mut linear =
            |part: &str, inputs: usize, outputs: usize| Linear::load(weights, &name(part), inputs, outputs);
        let query = linear(names.query, hidden, hidden)?;
        let (key, value) = (linear(names.key, hidden, hidden)?, linear(names.value, hidden, hidden)?);
        let attention_output = linear(names.attention_output, hidden, hidden)?;
        let feed_forward_in = linear(names.feed_forward_in, hidden, architecture.intermediate)?;
        let feed_forward_out = linear(names.feed_forward_out, architecture.intermediate, hidden)?;
        let mut norm = |part: &str| Norm::load(weights, &name(part), hidden, architecture.norm_epsilon);
        let (attention_norm, output_norm) = (norm(names.attention_norm)?, norm(names.output_norm)?);
        // The scores' division by the root of the head size, done once and for all.
        let factor = 1.0 / ((hidden / architecture.heads) as f64).sqrt();
        let query_key_value = query
            .scaled(factor)
            .and_then(|query| Linear::side_by_side(&[query, key, value]))
            .map_err(NnError::runtime)?;
        Ok(Block { query_key_value, attention_output, attention_norm, feed_forward_in, feed_forward_out, output_norm })
    }
}
