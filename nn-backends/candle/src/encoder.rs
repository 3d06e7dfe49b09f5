//! The transformer: packed tokens to token embeddings.
//!
//! Batches are packed, not padded: padding would cost as much as text, and no mask is needed. Query, key and value come
//! of one product. What a text becomes does not depend on the texts beside it, to the last bit.

use headland_encoder::Slice;
use headland_kernels::{Activation, Attention, AttentionScratch, LayerNorm, Linear, LinearScratch, Team};

use crate::weights::Floats;

/// A loaded encoder.
pub(crate) struct Encoder {
    pub embeddings: Embeddings,
    pub blocks: Vec<Block>,
    pub shape: Shape,
}

/// What all blocks have in common.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub attention: Attention,
    pub activation: Activation,
    /// Width of a token's embedding.
    pub hidden: usize,
}

/// The tables that tokens begin with.
pub(crate) struct Embeddings {
    pub words: Floats,
    pub positions: Floats,
    pub token_types: Option<Floats>,
    pub norm: LayerNorm,
}

/// A layer.
pub(crate) struct Block {
    /// The linear maps, in the order of [`Map`].
    pub maps: [Linear; 4],
    pub attention_norm: LayerNorm,
    pub output_norm: LayerNorm,
}

/// The linear maps of a layer.
#[derive(Clone, Copy)]
pub(crate) enum Map {
    QueryKeyValue,
    AttentionOutput,
    FeedForwardIn,
    FeedForwardOut,
}

/// Memory that a run needs, kept from one to the next. It grows to what the largest slice took.
#[derive(Default)]
pub(crate) struct Scratch {
    hidden: Vec<f32>,
    between: Between,
}

/// What lies between two steps of a layer.
#[derive(Default)]
pub(crate) struct Between {
    /// First what attention reads and writes, then what the feed-forward network widens to: when that comes, attention is done.
    steps: Vec<f32>,
    linear: LinearScratch,
    attention: AttentionScratch,
}

impl Encoder {
    /// Bytes of memory that weights and tables take, those in the file too.
    pub fn bytes(&self) -> usize {
        self.embeddings.bytes() + self.blocks.iter().map(Block::bytes).sum::<usize>()
    }

    /// The embeddings of all tokens of `slice`, `[tokens, hidden]`, by the threads of `team`.
    pub fn forward<'s>(&self, slice: &Slice, scratch: &'s mut Scratch, team: &mut Team) -> &'s [f32] {
        let Scratch { hidden, between } = scratch;
        let hidden = first(hidden, slice.ids().len() * self.shape.hidden);
        self.embeddings.forward(slice, hidden);
        for block in &self.blocks {
            self.shape.pass(block, slice, hidden, between, team, |_, _| {});
        }
        hidden
    }
}

impl Shape {
    /// Takes the tokens of `slice`, a row each in `hidden`, through `block`. `see` sees what goes into each linear map.
    pub fn pass(
        &self,
        block: &Block,
        slice: &Slice,
        hidden: &mut [f32],
        between: &mut Between,
        team: &mut Team,
        mut see: impl FnMut(Map, &[f32]),
    ) {
        let [query_key_value, attention_output, feed_forward_in, feed_forward_out] = &block.maps;
        let Between { steps, linear, attention } = between;
        let (parts, attended) = first(steps, 4 * hidden.len()).split_at_mut(3 * hidden.len());
        see(Map::QueryKeyValue, hidden);
        query_key_value.map(hidden, parts, linear, team);
        for text in slice.texts() {
            let text = text.start * self.hidden..text.end * self.hidden;
            self.attention.attend(&parts[3 * text.start..3 * text.end], &mut attended[text], attention);
        }
        see(Map::AttentionOutput, attended);
        attention_output.map_onto(attended, hidden, linear, team);
        block.attention_norm.apply(hidden);
        let widened = first(steps, slice.ids().len() * feed_forward_in.outputs());
        see(Map::FeedForwardIn, hidden);
        feed_forward_in.map_activated(hidden, self.activation, widened, linear, team);
        see(Map::FeedForwardOut, widened);
        feed_forward_out.map_onto(widened, hidden, linear, team);
        block.output_norm.apply(hidden);
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
    /// Looks the tokens of `slice` up, each as a row of `out`.
    pub fn forward(&self, slice: &Slice, out: &mut [f32]) {
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
        let maps: usize = self.maps.iter().map(Linear::bytes).sum();
        maps + self.attention_norm.bytes() + self.output_norm.bytes()
    }
}
