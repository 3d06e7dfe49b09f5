//! The computation: scores, their exponentials, and the values weighted by them.

use std::ops::Range;

use super::cache::{Head, Use};
use super::{CausalAttention, KeyValueCache, PAGE_TOKENS, PagedScratch, Queries};
use crate::functions::exp;
use crate::matrix::{Element, Target};
use crate::simd::{LANES_MAX, Simd, Work};

pub(super) struct Gather<'a> {
    pub attention: &'a CausalAttention,
    pub cache: &'a KeyValueCache,
    pub layer: usize,
    pub head: usize,
    pub queries: &'a Queries<'a>,
    pub tokens: Range<usize>,
    pub target: &'a Target<'a>,
    pub scratch: &'a mut PagedScratch,
}

/// Rows that go through the pages together.
const ROWS_MAX: usize = 8;

impl Work for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (cache, layer, head) = (self.cache, self.layer, self.head);
        cache.with(layer, head, In { simd, gather: self });
    }
}

struct In<'a, S> {
    simd: S,
    gather: Gather<'a>,
}

impl<S: Simd> Use for In<'_, S> {
    #[inline(always)]
    fn of<E: Element>(self, keys: Head<E>) {
        let In { simd, gather: Gather { attention, head, queries, tokens, target, scratch, .. } } = self;
        let shared = attention.query_heads / attention.key_heads;
        let rows = tokens.start * shared..tokens.end * shared;
        let mut row = rows.start;
        while row < rows.end {
            let tile = Tile { attention, head, keys, queries, row, target, scratch: &mut *scratch };
            row += match rows.end - row {
                ROWS_MAX.. => simd.vectorize(Of::<E, ROWS_MAX>(tile)),
                4.. => simd.vectorize(Of::<E, 4>(tile)),
                2.. => simd.vectorize(Of::<E, 2>(tile)),
                _ => simd.vectorize(Of::<E, 1>(tile)),
            };
        }
    }
}

struct Tile<'a, E> {
    attention: &'a CausalAttention,
    /// The key head.
    head: usize,
    keys: Head<'a, E>,
    queries: &'a Queries<'a>,
    /// The first one: a token's query heads that share the key head are consecutive rows.
    row: usize,
    target: &'a Target<'a>,
    scratch: &'a mut PagedScratch,
}

/// A tile of `R` rows.
struct Of<'a, E, const R: usize>(Tile<'a, E>);

impl<E: Element, const R: usize> Work for Of<'_, E, R> {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> usize {
        let Of(Tile { attention, head, keys, queries, row, target, scratch }) = self;
        let CausalAttention { query_heads, key_heads, head_size: size, scale, soft_cap, .. } = *attention;
        let shared = query_heads / key_heads;
        let of_row = |index: usize| ((row + index) / shared, head * shared + (row + index) % shared);
        // What each row sees, and all of them together; from the beginning of a page.
        let sees: [Range<usize>; R] = std::array::from_fn(|index| {
            let end = queries.first_position + of_row(index).0 + 1;
            queries.window.map_or(0, |window| end.saturating_sub(window))..end
        });
        let (first, end) = (sees[0].start, sees[R - 1].end);
        let origin = first / PAGE_TOKENS * PAGE_TOKENS;
        let stride = (end - origin).next_multiple_of(PAGE_TOKENS);
        let PagedScratch { queries: scaled, scores } = scratch;
        scaled.resize(scaled.len().max(R * size), 0.0);
        scores.resize(scores.len().max(R * stride), 0.0);
        for (index, scaled) in scaled.chunks_exact_mut(size).enumerate().take(R) {
            let (token, head) = of_row(index);
            let query = &queries.rows[token * queries.stride + head * size..][..size];
            scaled.iter_mut().zip(query).for_each(|(scaled, x)| *scaled = x * scale);
        }
        let pages = || queries.pages[origin / PAGE_TOKENS..].iter().zip((0..stride).step_by(PAGE_TOKENS));
        for (&page, place) in pages() {
            score::<S, E, R>(simd, keys.keys(page), &scaled[..R * size], size, &mut scores[place..], stride);
        }
        let mut weights = [0.0; R];
        for ((sees, weight), scores) in sees.iter().zip(&mut weights).zip(scores.chunks_exact_mut(stride)) {
            *weight = exponentials(simd, scores, sees.start - origin..sees.end - origin, soft_cap);
        }
        let width = keys.width();
        for column in (0..size).step_by(LANES_MAX) {
            let mut sums = [[simd.splat(0.0); MOST_VECTORS]; R];
            for (&page, place) in pages() {
                let values = keys.values(page);
                // Only tokens of this sequence: what another left in the page may be no number, which no weight heals.
                let slots = first.saturating_sub(origin + place)..PAGE_TOKENS.min(end - origin - place);
                for slot in slots {
                    let values = &values[slot * width + column..][..LANES_MAX];
                    let mut loaded = [simd.splat(0.0); MOST_VECTORS];
                    for (vector, loaded) in loaded.iter_mut().enumerate().take(LANES_MAX / S::LANES) {
                        // SAFETY: there are as many as the widest vector has lanes, as sliced.
                        *loaded = unsafe { E::load(simd, values.as_ptr().add(vector * S::LANES)) };
                    }
                    for (index, sums) in sums.iter_mut().enumerate() {
                        let weight = simd.splat(scores[index * stride + place + slot]);
                        for (sum, values) in sums.iter_mut().zip(loaded).take(LANES_MAX / S::LANES) {
                            *sum = simd.mul_add(weight, values, *sum);
                        }
                    }
                }
            }
            for (index, (sums, weight)) in sums.iter().zip(weights).enumerate() {
                let (token, head) = of_row(index);
                for (vector, sum) in sums.iter().enumerate().take(LANES_MAX / S::LANES) {
                    let at = column + vector * S::LANES;
                    if at < size {
                        let gathered = simd.mul(*sum, simd.splat(1.0 / weight));
                        // SAFETY: a token's columns of this head are the caller's alone, by the promise of `attend`.
                        unsafe { target.write_some(simd, token, head * size + at, size - at, gathered) };
                    }
                }
            }
        }
        R
    }
}

/// Vectors, of the fewest lanes, that a vector of most lanes is.
const MOST_VECTORS: usize = LANES_MAX / 4;

/// The products of `R` queries with the keys of a page.
#[inline(always)]
fn score<S: Simd, E: Element, const R: usize>(
    simd: S,
    keys: &[E],
    queries: &[f32],
    size: usize,
    scores: &mut [f32],
    stride: usize,
) {
    assert!(keys.len() >= size * PAGE_TOKENS && queries.len() >= R * size);
    assert!(scores.len() >= (R - 1) * stride + PAGE_TOKENS);
    for slot in (0..PAGE_TOKENS).step_by(S::LANES) {
        let mut sums = [simd.splat(0.0); R];
        for element in 0..size {
            // SAFETY: there are `size` rows of keys of all tokens of a page, and `R` queries of `size`, as asserted.
            unsafe {
                let key = E::load(simd, keys.as_ptr().add(element * PAGE_TOKENS + slot));
                for (index, sum) in sums.iter_mut().enumerate() {
                    *sum = simd.mul_add(simd.splat(*queries.get_unchecked(index * size + element)), key, *sum);
                }
            }
        }
        for (index, sum) in sums.into_iter().enumerate() {
            simd.store(sum, &mut scores[index * stride + slot..]);
        }
    }
}

/// Makes weights of the scores that are seen, and zeros of the others: the weights' sum.
#[inline(always)]
fn exponentials<S: Simd>(simd: S, scores: &mut [f32], seen: Range<usize>, soft_cap: Option<f32>) -> f32 {
    if let Some(cap) = soft_cap {
        for scores in scores.chunks_exact_mut(S::LANES) {
            simd.store(bend(simd, simd.load(scores), cap), scores);
        }
    }
    let (before, rest) = scores.split_at_mut(seen.start);
    before.fill(f32::NEG_INFINITY);
    rest[seen.len()..].fill(f32::NEG_INFINITY);
    let mut most = simd.splat(f32::NEG_INFINITY);
    for scores in scores.chunks_exact(S::LANES) {
        most = simd.max(most, simd.load(scores));
    }
    let most = simd.splat(simd.largest(most));
    for scores in scores.chunks_exact_mut(S::LANES) {
        simd.store(exp(simd, simd.sub(simd.load(scores), most)), scores);
    }
    // `exp` of nothing is next to nothing; it is to be nothing.
    scores[..seen.start].fill(0.0);
    scores[seen.end..].fill(0.0);
    let mut sum = simd.splat(0.0);
    for scores in scores.chunks_exact(S::LANES) {
        sum = simd.add(sum, simd.load(scores));
    }
    simd.sum(sum)
}

/// `cap tanh(x / cap)`.
#[inline(always)]
fn bend<S: Simd>(simd: S, x: S::F, cap: f32) -> S::F {
    let power = exp(simd, simd.mul(x, simd.splat(2.0 / cap)));
    let below = simd.div(simd.splat(2.0), simd.add(power, simd.splat(1.0)));
    simd.mul(simd.splat(cap), simd.sub(simd.splat(1.0), below))
}
