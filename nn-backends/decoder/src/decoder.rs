//! [`Decoder`]: tokens in, logits out.
//!
//! The tokens of a step lie packed, a row for each, whatever sequence they are of: products take them all at once, only
//! attention and positions look at where each belongs. A row becomes what it becomes by itself, so that an answer does not
//! depend on what else is computed.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use headland_generation::{LanguageModel, ModelShape, Piece};
use headland_kernels::{
    Activations, CausalAttention, KeyValueCache, Level, PAGE_TOKENS, PagedScratch, Queries, RmsNorm, Storage, Target,
    Team,
};
use headland_nn_core::NnError;

use crate::architecture::Architecture;
use crate::projection::Projection;

/// A loaded model with its cache and its threads.
pub struct Decoder {
    pub(crate) architecture: Architecture,
    pub(crate) shape: ModelShape,
    pub(crate) level: Level,
    pub(crate) embedding: Embedding,
    pub(crate) blocks: Vec<Block>,
    pub(crate) final_norm: RmsNorm,
    pub(crate) head: Projection,
    pub(crate) cache: KeyValueCache,
    pub(crate) team: Team,
    pub(crate) scratch: Scratch,
}

/// A layer.
pub(crate) struct Block {
    pub attention_norm: RmsNorm,
    pub query_key_value: Projection,
    /// For queries and keys.
    pub head_norms: Option<[RmsNorm; 2]>,
    pub attention_output: Projection,
    /// After attention and after the feed-forward block.
    pub norms_after: Option<[RmsNorm; 2]>,
    pub feed_forward_norm: RmsNorm,
    pub gate_up: Projection,
    pub down: Projection,
}

/// The table that tokens begin with, left where it is stored.
pub(crate) struct Embedding {
    pub storage: Storage,
    pub row_bytes: usize,
    pub bytes: Bytes,
}

/// Memory that steps need, kept from one to the next. It grows to what the largest step took.
#[derive(Default)]
pub(crate) struct Scratch {
    activations: Activations,
    hidden: Vec<f32>,
    normed: Vec<f32>,
    parts: Vec<f32>,
    attended: Vec<f32>,
    halves: Vec<f32>,
    gated: Vec<f32>,
    cosines: [Vec<f32>; 2],
    sines: [Vec<f32>; 2],
    /// One for each thread.
    attention: Vec<Mutex<PagedScratch>>,
}

impl Scratch {
    pub fn of_threads(threads: usize) -> Self {
        Scratch { attention: (0..threads).map(|_| Mutex::default()).collect(), ..Scratch::default() }
    }
}

/// Rows that are normalised, or gated, as one item.
const ROWS_PER_ITEM: usize = 8;
/// Tokens of a sequence whose attention to one head is an item.
const TOKENS_PER_ITEM: usize = 16;

impl Decoder {
    /// What the model is.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    fn check(&self, pieces: &[Piece]) -> Result<(), NnError> {
        for piece in pieces {
            let end = piece.first_position + piece.tokens.len();
            if let Some(token) = piece.tokens.iter().find(|token| **token as usize >= self.architecture.vocabulary) {
                let vocabulary = self.architecture.vocabulary;
                return Err(NnError::invalid(format!("token {token} is outside the vocabulary of {vocabulary}")));
            }
            let fits = end <= self.shape.context_max && piece.pages.len() * PAGE_TOKENS >= end;
            if !fits || piece.pages.iter().any(|page| *page >= self.shape.pages) {
                return Err(NnError::runtime(format!("{} pages for {end} tokens", piece.pages.len())));
            }
        }
        Ok(())
    }

    fn embed(&mut self, pieces: &[Piece]) {
        let (width, scale) = (self.architecture.hidden, self.architecture.embedding_scale);
        let Embedding { storage, row_bytes, bytes } = &self.embedding;
        let tokens = pieces.iter().flat_map(|piece| piece.tokens);
        for (token, row) in tokens.zip(self.scratch.hidden.chunks_exact_mut(width)) {
            let start = *token as usize * row_bytes;
            storage.read(&bytes[start..start + row_bytes], row);
            row.iter_mut().for_each(|x| *x *= scale);
        }
    }

    /// Angles of every token's position, for both ropes.
    fn angles(&mut self, pieces: &[Piece]) {
        let Scratch { cosines, sines, .. } = &mut self.scratch;
        for ((rope, cosines), sines) in self.architecture.ropes.iter().zip(cosines).zip(sines) {
            let pairs = rope.frequencies.len();
            let positions =
                pieces.iter().flat_map(|piece| piece.first_position..piece.first_position + piece.tokens.len());
            let positions: Vec<usize> = positions.collect();
            let (cosines, sines) = (first(cosines, positions.len() * pairs), first(sines, positions.len() * pairs));
            let rows = cosines.chunks_exact_mut(pairs).zip(sines.chunks_exact_mut(pairs));
            rows.zip(positions).for_each(|((cosines, sines), position)| rope.angles(position, cosines, sines));
        }
    }

    /// Takes all tokens through a layer.
    fn pass(&mut self, index: usize, pieces: &[Piece]) {
        let Decoder { architecture, level, blocks, cache, team, scratch, .. } = self;
        let (block, level) = (&blocks[index], *level);
        let Architecture { hidden: width, query_heads, key_heads, head_size, .. } = *architecture;
        let Scratch { activations, hidden, normed, parts, attended, halves, gated, cosines, sines, attention } =
            scratch;
        let rows = hidden.len() / width;
        let normed = first(normed, hidden.len());
        let parts = first(parts, rows * architecture.query_key_value());
        let attended = first(attended, rows * query_heads * head_size);

        normed.copy_from_slice(hidden);
        norm_rows(team, &block.attention_norm, normed, width);
        block.query_key_value.multiply(team, normed, activations, parts, false);
        let layer = architecture.layers[index];
        let (rope, which) = (architecture.rope(layer), usize::from(layer.window.is_some()));
        let pairs = rope.frequencies.len();
        let (query_width, key_width) = (query_heads * head_size, key_heads * head_size);
        let places = pieces.iter().flat_map(|piece| {
            let positions = piece.first_position..piece.first_position + piece.tokens.len();
            positions.map(|position| (piece.pages[position / PAGE_TOKENS], position))
        });
        for (row, (parts, (page, position))) in
            parts.chunks_exact_mut(query_width + 2 * key_width).zip(places).enumerate()
        {
            let (queries, rest) = parts.split_at_mut(query_width);
            let (keys, values) = rest.split_at_mut(key_width);
            if let Some([query_norm, key_norm]) = &block.head_norms {
                query_norm.apply(queries);
                key_norm.apply(keys);
            }
            let angles = (&cosines[which][row * pairs..][..pairs], &sines[which][row * pairs..][..pairs]);
            let heads = queries.chunks_exact_mut(head_size).chain(keys.chunks_exact_mut(head_size));
            heads.for_each(|head| rope.turn(head, angles.0, angles.1));
            cache.write(index, page, position, keys, values);
        }
        attend(architecture, level, (index, layer.window), pieces, cache, team, (parts, attended), attention);
        self::add(block, 0, &block.attention_output, team, activations, attended, normed, hidden, width);

        normed.copy_from_slice(hidden);
        norm_rows(team, &block.feed_forward_norm, normed, width);
        let wide = architecture.feed_forward;
        let (halves, gated) = (first(halves, rows * 2 * wide), first(gated, rows * wide));
        block.gate_up.multiply(team, normed, activations, halves, false);
        let (gate, all_halves) = (architecture.gate, &*halves);
        by_rows(team, gated, wide, &|first, gated| {
            let halves = &all_halves[first * 2 * wide..][..2 * gated.len()];
            gate.apply(level, halves, wide, gated);
        });
        self::add(block, 1, &block.down, team, activations, gated, normed, hidden, width);
    }

    /// Logits after the last token of each piece that wants them.
    fn logits(&mut self, pieces: &[Piece], logits: &mut Vec<f32>) {
        let Decoder { architecture, final_norm, head, team, scratch, .. } = self;
        let width = architecture.hidden;
        let Scratch { activations, hidden, normed, .. } = scratch;
        let wanted = pieces.iter().filter(|piece| piece.logits).count();
        let normed = first(normed, wanted * width);
        let mut rows = normed.chunks_exact_mut(width);
        let mut end = 0;
        for piece in pieces {
            end += piece.tokens.len();
            if piece.logits
                && let Some(row) = rows.next()
            {
                row.copy_from_slice(&hidden[(end - 1) * width..end * width]);
            }
        }
        logits.clear();
        if wanted == 0 {
            return;
        }
        final_norm.apply(normed);
        logits.resize(wanted * architecture.vocabulary, 0.0);
        head.multiply(team, normed, activations, logits, false);
        if let Some(cap) = architecture.logit_cap {
            by_rows(team, logits, architecture.vocabulary, &|_, logits| {
                logits.iter_mut().for_each(|logit| *logit = cap * (*logit / cap).tanh());
            });
        }
    }
}

impl LanguageModel for Decoder {
    fn shape(&self) -> &ModelShape {
        &self.shape
    }

    fn step(&mut self, pieces: &[Piece<'_>], logits: &mut Vec<f32>) -> Result<(), NnError> {
        let pieces: Vec<Piece> = pieces.iter().filter(|piece| !piece.tokens.is_empty()).copied().collect();
        self.check(&pieces)?;
        let rows: usize = pieces.iter().map(|piece| piece.tokens.len()).sum();
        self.scratch.hidden.resize(rows * self.architecture.hidden, 0.0);
        self.embed(&pieces);
        self.angles(&pieces);
        for index in 0..self.blocks.len() {
            self.pass(index, &pieces);
        }
        self.logits(&pieces, logits);
        Ok(())
    }
}

/// Attends in one layer: an item is a key head and a few tokens of a sequence.
#[allow(clippy::too_many_arguments, reason = "what a step and a layer have, each once")]
fn attend(
    architecture: &Architecture,
    level: Level,
    (layer, window): (usize, Option<usize>),
    pieces: &[Piece],
    cache: &KeyValueCache,
    team: &mut Team,
    (parts, attended): (&[f32], &mut [f32]),
    scratch: &[Mutex<PagedScratch>],
) {
    let &Architecture { query_heads, key_heads, head_size, score_scale, score_cap, .. } = architecture;
    let attention = CausalAttention::new(level, [query_heads, key_heads, head_size], score_scale, score_cap);
    let (stride, width) = (architecture.query_key_value(), query_heads * head_size);
    let (mut row, mut rest) = (0, attended);
    let mut sequences = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let count = piece.tokens.len();
        let (own, after) = rest.split_at_mut(count * width);
        rest = after;
        let rows = &parts[row * stride..][..count * stride];
        row += count;
        let Piece { first_position, pages, .. } = *piece;
        let queries = Queries { rows, stride, first_position, pages, window };
        sequences.push((queries, count, Target::new(own, width, 0, width)));
    }
    let items = sequences.iter().enumerate().flat_map(|(sequence, (_, count, _))| {
        let tokens =
            (0..*count).step_by(TOKENS_PER_ITEM).map(move |first| first..(first + TOKENS_PER_ITEM).min(*count));
        tokens.flat_map(move |tokens| (0..key_heads).map(move |head| (sequence, tokens.clone(), head)))
    });
    let items: Vec<(usize, Range<usize>, usize)> = items.collect();
    team.run(items.len(), &|item, thread| {
        let (sequence, tokens, head) = items[item].clone();
        let (queries, _, target) = &sequences[sequence];
        let mut scratch = scratch[thread].lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: each token and head of a sequence is in one item, and each item in one thread.
        unsafe { attention.attend(cache, [layer, head], queries, tokens, target, &mut scratch) };
    });
}

/// Adds what `projection` makes of `x` to `hidden`, normalised first where the family does that.
#[allow(clippy::too_many_arguments, reason = "what a step and a layer have, each once")]
fn add(
    block: &Block,
    after: usize,
    projection: &Projection,
    team: &mut Team,
    activations: &mut Activations,
    x: &[f32],
    between: &mut [f32],
    hidden: &mut [f32],
    width: usize,
) {
    let Some(norms) = &block.norms_after else {
        return projection.multiply(team, x, activations, hidden, true);
    };
    projection.multiply(team, x, activations, between, false);
    norm_rows(team, &norms[after], between, width);
    hidden.iter_mut().zip(between).for_each(|(hidden, x)| *hidden += *x);
}

fn norm_rows(team: &mut Team, norm: &RmsNorm, rows: &mut [f32], width: usize) {
    by_rows(team, rows, width, &|_, rows| norm.apply(rows));
}

/// Does `work` with all rows, a few at a time; it is told the number of the first.
fn by_rows(team: &mut Team, rows: &mut [f32], width: usize, work: &(dyn Fn(usize, &mut [f32]) + Sync)) {
    let items: Vec<Mutex<&mut [f32]>> = rows.chunks_mut(ROWS_PER_ITEM * width).map(Mutex::new).collect();
    team.run(items.len(), &|item, _| {
        let mut rows = items[item].lock().unwrap_or_else(PoisonError::into_inner);
        work(item * ROWS_PER_ITEM, &mut rows);
    });
}

/// The first `len` elements, after making room for them.
fn first(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}
