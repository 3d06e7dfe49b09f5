//! [`Attention`]: every token of a text with every other, head by head.

use crate::functions::exp;
use crate::gemm::{FinishFloats, Panels, Rows, multiply, pack_columns, pack_rows};
use crate::level::Level;
use crate::matrix::Target;
use crate::simd::{Simd, Work};

/// Tokens whose scores are computed before they are used: enough to keep the products busy, few enough that the scores
/// of a long text stay in the second cache.
const BLOCK_TOKENS: usize = 84;

/// Self-attention of packed texts (Vaswani et al., 2017).
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    level: Level,
    heads: usize,
    head_size: usize,
}

/// Memory that attention needs while it runs, kept from one text to the next.
#[derive(Default)]
pub struct AttentionScratch {
    keys: Vec<f32>,
    values: Vec<f32>,
    scores: Vec<f32>,
}

impl Attention {
    /// # Panics
    /// Without heads, or with empty ones.
    pub fn new(level: Level, heads: usize, head_size: usize) -> Self {
        assert!(heads > 0 && head_size > 0, "{heads} heads of {head_size}");
        Attention { level, heads, head_size }
    }

    /// Attends within one text. A row of `parts` is a token's queries, keys and values, each head after head; the queries
    /// are scaled already. A row of `out` is what the token gathered, head after head.
    ///
    /// # Panics
    /// When the lengths do not fit.
    pub fn attend(&self, parts: &[f32], out: &mut [f32], scratch: &mut AttentionScratch) {
        let hidden = self.heads * self.head_size;
        let tokens = out.len() / hidden;
        assert_eq!(out.len(), tokens * hidden, "rows of {hidden}");
        assert_eq!(parts.len(), 3 * out.len(), "queries, keys and values of {tokens} tokens");
        self.level.run(Attend { attention: *self, tokens, parts, out, scratch });
    }
}

struct Attend<'a> {
    attention: Attention,
    tokens: usize,
    parts: &'a [f32],
    out: &'a mut [f32],
    scratch: &'a mut AttentionScratch,
}

impl Work for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Attend { attention: Attention { heads, head_size, .. }, tokens, parts, out, scratch } = self;
        let AttentionScratch { keys, values, scores } = scratch;
        let hidden = heads * head_size;
        if tokens == 0 {
            return;
        }
        // Rows of scores are whole vectors.
        let stride = tokens.next_multiple_of(S::LANES);
        scores.resize(BLOCK_TOKENS.min(tokens) * stride, 0.0);
        for begin in (0..hidden).step_by(head_size) {
            let of_part = |part: usize| &parts[part * hidden + begin..];
            let keys = pack_columns(simd, of_part(1), tokens, 3 * hidden, head_size, keys);
            let values = pack_rows(simd, of_part(2), tokens, 3 * hidden, head_size, values);
            for block in (0..tokens).step_by(BLOCK_TOKENS) {
                let rows = BLOCK_TOKENS.min(tokens - block);
                let scores = &mut scores[..rows * stride];
                let queries = Rows { data: &of_part(0)[block * 3 * hidden..], rows, stride: 3 * hidden };
                let all = Target::new(scores, stride, 0, stride);
                multiply(simd, queries, Panels { columns: stride, ..keys }, &mut FinishFloats::storing(all));
                scores.chunks_exact_mut(stride).for_each(|row| softmax(simd, row, tokens));
                let scores = Rows { data: scores, rows, stride };
                let gathered = Target::new(&mut out[block * hidden..][..rows * hidden], hidden, begin, head_size);
                multiply(simd, scores, values, &mut FinishFloats::storing(gathered));
            }
        }
    }
}

/// e to the power of each of the first `count` elements of `row`, over the sum of these. `row` is whole vectors; what
/// stands beyond `count` is no number to use, before and after.
#[inline(always)]
fn softmax<S: Simd>(simd: S, row: &mut [f32], count: usize) {
    let vectors = || (0..count).step_by(S::LANES);
    let mut most = simd.splat(f32::NEG_INFINITY);
    for begin in vectors() {
        most = simd.max(most, simd.load_some(&row[begin..count], f32::NEG_INFINITY));
    }
    let most = simd.splat(simd.largest(most));
    let mut sum = simd.splat(0.0);
    for begin in vectors() {
        // What fills the last vector up becomes next to nothing, less than any sum's last bit.
        let power = exp(simd, simd.sub(simd.load_some(&row[begin..count], f32::NEG_INFINITY), most));
        sum = simd.add(sum, power);
        simd.store(power, &mut row[begin..]);
    }
    let factor = simd.splat(1.0 / simd.sum(sum));
    for begin in vectors() {
        simd.store(simd.mul(simd.load(&row[begin..]), factor), &mut row[begin..]);
    }
}

#[cfg(test)]
mod tests;
