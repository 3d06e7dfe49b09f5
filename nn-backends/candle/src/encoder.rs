//! The transformer: packed tokens to token embeddings.
//!
//! Batches are packed, not padded: padding would cost as much as text, and no mask is needed. Query, key and value come
//! of one product. What a text becomes does not depend on the texts beside it, to the last bit.

use headland_encoder::{Architecture, Slice};
use headland_kernels::{Activation, Attention, AttentionScratch, LayerNorm, Level, Linear, LinearScratch, Precision};
use headland_nn_core::NnError;

use crate::weights::{Floats, Weights};

/// A loaded encoder.
pub(crate) struct Encoder {
    embeddings: Embeddings,
    blocks: Vec<Block>,
    attention: Attention,
    activation: Activation,
    hidden: usize,
}

struct Embeddings {
    words: Floats,
    positions: Floats,
    token_types: Option<Floats>,
    norm: LayerNorm,
}

struct Block {
    query_key_value: Linear,
    attention_output: Linear,
    attention_norm: LayerNorm,
    feed_forward_in: Linear,
    feed_forward_out: Linear,
    output_norm: LayerNorm,
}

/// Memory that a run needs, kept from one to the next. It grows to what the largest slice took.
#[derive(Default)]
pub(crate) struct Scratch {
    hidden: Vec<f32>,
    parts: Vec<f32>,
    attended: Vec<f32>,
    widened: Vec<f32>,
    linear: LinearScratch,
    attention: AttentionScratch,
}

impl Encoder {
    /// Reads and packs all tensors of `architecture`.
    pub fn load(weights: &Weights, architecture: &Architecture, precision: Precision) -> Result<Self, NnError> {
        let loader = Loader { weights, architecture, precision, level: Level::best() };
        let (heads, hidden) = (architecture.heads, architecture.hidden);
        Ok(Encoder {
            embeddings: loader.embeddings()?,
            blocks: (0..architecture.layers).map(|index| loader.block(index)).collect::<Result<_, _>>()?,
            attention: Attention::new(loader.level, heads, hidden / heads),
            activation: match architecture.activation {
                headland_encoder::Activation::Gelu => Activation::Gelu,
                headland_encoder::Activation::GeluTanh => Activation::GeluTanh,
                headland_encoder::Activation::Relu => Activation::Relu,
            },
            hidden,
        })
    }

    /// Bytes of memory that weights and tables take, those in the file too.
    pub fn bytes(&self) -> usize {
        self.embeddings.bytes() + self.blocks.iter().map(Block::bytes).sum::<usize>()
    }

    /// The embeddings of all tokens of `slice`, `[tokens, hidden]`.
    pub fn forward<'s>(&self, slice: &Slice, scratch: &'s mut Scratch) -> &'s [f32] {
        let size = slice.ids().len() * self.hidden;
        let Scratch { hidden, parts, attended, widened, linear, attention } = scratch;
        let hidden = first(hidden, size);
        self.embeddings.forward(slice, hidden);
        for block in &self.blocks {
            let parts = first(parts, 3 * size);
            block.query_key_value.map(hidden, parts, linear);
            let attended = first(attended, size);
            for text in slice.texts() {
                let text = text.start * self.hidden..text.end * self.hidden;
                let parts = &parts[3 * text.start..3 * text.end];
                self.attention.attend(parts, &mut attended[text], attention);
            }
            block.attention_output.map_onto(attended, hidden, linear);
            block.attention_norm.apply(hidden);
            let widened = first(widened, slice.ids().len() * block.feed_forward_in.outputs());
            block.feed_forward_in.map_activated(hidden, self.activation, widened, linear);
            block.feed_forward_out.map_onto(widened, hidden, linear);
            block.output_norm.apply(hidden);
        }
        hidden
    }
}

/// The first `len` elements, after making room for them.
fn first(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

impl Embeddings {
    fn forward(&self, slice: &Slice, out: &mut [f32]) {
        let width = out.len() / slice.ids().len();
        let tokens = slice.ids().iter().zip(slice.positions()).zip(slice.token_types());
        for (out, ((&id, &position), &token_type)) in out.chunks_exact_mut(width).zip(tokens) {
            out.fill(0.0);
            self.words.add_row(id as usize, out);
            self.positions.add_row(position as usize, out);
            if let Some(table) = &self.token_types {
                table.add_row(token_type as usize, out);
            }
        }
        self.norm.apply(out);
    }

    fn bytes(&self) -> usize {
        let token_types = self.token_types.as_ref().map_or(0, Floats::bytes);
        self.words.bytes() + self.positions.bytes() + token_types + self.norm.bytes()
    }
}

impl Block {
    fn bytes(&self) -> usize {
        let linears =
            [&self.query_key_value, &self.attention_output, &self.feed_forward_in, &self.feed_forward_out].into_iter();
        linears.map(Linear::bytes).sum::<usize>() + self.attention_norm.bytes() + self.output_norm.bytes()
    }
}

/// Makes the parts of an encoder.
struct Loader<'a> {
    weights: &'a Weights<'a>,
    architecture: &'a Architecture,
    precision: Precision,
    level: Level,
}

/// A linear map as it is stored.
struct Stored {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Loader<'_> {
    fn embeddings(&self) -> Result<Embeddings, NnError> {
        let table = |name: &str, rows: usize| {
            let name = format!("embeddings.{name}_embeddings.weight");
            self.weights.floats(&name, &[rows, self.architecture.hidden])
        };
        Ok(Embeddings {
            words: table("word", self.architecture.vocabulary)?,
            positions: table("position", self.architecture.positions)?,
            token_types: match self.architecture.token_types {
                0 => None,
                rows => Some(table("token_type", rows)?),
            },
            norm: self.norm("embeddings.LayerNorm")?,
        })
    }

    fn block(&self, index: usize) -> Result<Block, NnError> {
        let (names, hidden) = (self.architecture.names, self.architecture.hidden);
        let wide = self.architecture.intermediate;
        let name = |part: &str| format!("{}.{index}.{part}", names.layer);
        let linear = |part: &str, inputs: usize, outputs: usize| self.stored(&name(part), inputs, outputs);
        let mut all = linear(names.query, hidden, hidden)?;
        // The scores' division by the root of the head size, done once and for all.
        let factor = 1.0 / ((hidden / self.architecture.heads) as f32).sqrt();
        all.weight.iter_mut().chain(&mut all.bias).for_each(|weight| *weight *= factor);
        for part in [names.key, names.value] {
            let part = linear(part, hidden, hidden)?;
            all.weight.extend(part.weight);
            all.bias.extend(part.bias);
        }
        Ok(Block {
            query_key_value: self.packed(&all, hidden),
            attention_output: self.packed(&linear(names.attention_output, hidden, hidden)?, hidden),
            attention_norm: self.norm(&name(names.attention_norm))?,
            feed_forward_in: self.packed(&linear(names.feed_forward_in, hidden, wide)?, hidden),
            feed_forward_out: self.packed(&linear(names.feed_forward_out, wide, hidden)?, wide),
            output_norm: self.norm(&name(names.output_norm))?,
        })
    }

    fn stored(&self, name: &str, inputs: usize, outputs: usize) -> Result<Stored, NnError> {
        Ok(Stored {
            weight: self.weights.copied(&format!("{name}.weight"), &[outputs, inputs])?,
            bias: self.weights.copied(&format!("{name}.bias"), &[outputs])?,
        })
    }

    fn packed(&self, stored: &Stored, inputs: usize) -> Linear {
        Linear::new(self.level, self.precision, &stored.weight, inputs, &stored.bias)
    }

    /// `name.weight` and `name.bias`, or `name.gamma` and `name.beta`, as conversions from TensorFlow have them.
    fn norm(&self, name: &str) -> Result<LayerNorm, NnError> {
        let old = self.weights.has(&format!("{name}.gamma"));
        let (gain, bias) = if old { ("gamma", "beta") } else { ("weight", "bias") };
        let read = |part: &str| self.weights.copied(&format!("{name}.{part}"), &[self.architecture.hidden]);
        Ok(LayerNorm::new(self.level, read(gain)?, read(bias)?, self.architecture.norm_epsilon))
    }
}
