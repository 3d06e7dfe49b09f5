//! Attention of decoders: each token with all before it, whose keys and values lie in pages of a cache.
//!
//! In a page, the keys of a layer's head are columns, so that one vector of scores is the products of a query's elements with
//! rows; its values are rows (after Kwon et al., "PagedAttention", 2023). Query heads that share keys are rows of one
//! product. What a token gathers does not depend, bit for bit, on the tokens that are computed with it.

mod cache;
mod gather;

pub use cache::{CacheStorage, KeyValueCache, PAGE_TOKENS};

use crate::level::Level;
use crate::matrix::Target;
use gather::Gather;

/// How the heads of a decoder attend.
#[derive(Clone, Copy, Debug)]
pub struct CausalAttention {
    level: Level,
    query_heads: usize,
    key_heads: usize,
    head_size: usize,
    /// What scores are multiplied by.
    scale: f32,
    /// Scores are bent to stay below it.
    soft_cap: Option<f32>,
}

/// A sequence's tokens that are computed together.
#[derive(Clone, Copy, Debug)]
pub struct Queries<'a> {
    /// A row for each token: its queries, head after head, and whatever follows.
    pub rows: &'a [f32],
    /// Elements of a row.
    pub stride: usize,
    /// Where in the sequence the first of them stands.
    pub first_position: usize,
    /// The sequence's pages, in its order: those of all tokens up to the last of these.
    pub pages: &'a [u32],
    /// How many tokens each one sees, itself included; all before it when absent.
    pub window: Option<usize>,
}

/// Memory that attention needs while it runs, kept from one item to the next; one for each thread.
#[derive(Default)]
pub struct PagedScratch {
    queries: Vec<f32>,
    scores: Vec<f32>,
}

impl CausalAttention {
    /// # Panics
    /// Without heads, with empty ones, or when no whole number of query heads shares a key head.
    pub fn new(
        level: Level,
        [query_heads, key_heads, head_size]: [usize; 3],
        scale: f32,
        soft_cap: Option<f32>,
    ) -> Self {
        assert!(query_heads > 0 && key_heads > 0 && head_size > 0, "{query_heads}, {key_heads} heads of {head_size}");
        assert!(query_heads.is_multiple_of(key_heads), "{query_heads} heads share {key_heads}");
        CausalAttention { level, query_heads, key_heads, head_size, scale, soft_cap }
    }

    /// Attends with `tokens` of `queries` and the query heads of one key head, into the rows and columns of these in
    /// `target`, a row for each token of `queries`.
    ///
    /// # Panics
    /// When something does not fit.
    ///
    /// # Safety
    /// No other thread attends with the same tokens and head into `target` meanwhile.
    pub unsafe fn attend(
        &self,
        cache: &KeyValueCache,
        [layer, head]: [usize; 2],
        queries: &Queries,
        tokens: std::ops::Range<usize>,
        target: &Target,
        scratch: &mut PagedScratch,
    ) {
        let CausalAttention { query_heads, key_heads, head_size, .. } = *self;
        let count = queries.rows.len() / queries.stride.max(1);
        assert!(queries.rows.len() == count * queries.stride && queries.stride >= query_heads * head_size, "queries");
        assert!(tokens.end <= count && head < key_heads, "tokens {tokens:?} of {count}, head {head} of {key_heads}");
        assert!(target.fits(count, query_heads * head_size), "{count} rows of {query_heads} heads of {head_size}");
        assert!(cache.fits(layer, key_heads, head_size), "a cache for {key_heads} heads of {head_size}");
        let seen = queries.first_position + tokens.end;
        assert!(queries.pages.len() * PAGE_TOKENS >= seen, "{} pages for {seen} tokens", queries.pages.len());
        assert!(queries.pages.iter().all(|page| (*page as usize) < cache.pages()), "pages of another cache");
        assert!(queries.window != Some(0), "a token sees itself");
        if !tokens.is_empty() {
            self.level.run(Gather { attention: self, cache, layer, head, queries, tokens, target, scratch });
        }
    }
}

#[cfg(test)]
mod tests;
