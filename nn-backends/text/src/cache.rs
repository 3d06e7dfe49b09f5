//! The tokens of texts that came before: the same query, label or prompt is tokenised once.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::encoded::Sequence;

/// Memory that the remembered texts of one model take, all together.
pub const TOKEN_CACHE_BYTES_MAX: u64 = 4 << 20;

/// Longer texts are not remembered: they repeat rarely, and would put many short ones out.
pub const CACHED_TEXT_BYTES_MAX: usize = 4 << 10;

/// What an entry takes besides its text and tokens, roughly.
const ENTRY_BYTES: usize = 160;

/// Texts and their tokens; the least used go first.
pub(crate) struct TokenCache(Cache<Box<str>, Arc<Sequence>, Bytes>);

#[derive(Clone)]
struct Bytes;

impl Weighter<Box<str>, Arc<Sequence>> for Bytes {
    fn weight(&self, text: &Box<str>, sequence: &Arc<Sequence>) -> u64 {
        let tokens = sequence.ids.len() + sequence.type_ids.len();
        (ENTRY_BYTES + text.len() + tokens * size_of::<u32>()) as u64
    }
}

impl TokenCache {
    pub fn new() -> Self {
        let entries = TOKEN_CACHE_BYTES_MAX as usize / (2 * ENTRY_BYTES);
        TokenCache(Cache::with_weighter(entries, TOKEN_CACHE_BYTES_MAX, Bytes))
    }

    /// The tokens of `text`: remembered, or made now.
    pub fn get_or_make<E>(&self, text: &str, make: impl FnOnce() -> Result<Sequence, E>) -> Result<Arc<Sequence>, E> {
        if text.len() > CACHED_TEXT_BYTES_MAX {
            return make().map(Arc::new);
        }
        if let Some(sequence) = self.0.get(text) {
            return Ok(sequence);
        }
        let sequence = Arc::new(make()?);
        self.0.insert(text.into(), sequence.clone());
        Ok(sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(tokens: usize) -> Result<Sequence, ()> {
        Ok(Sequence { ids: vec![7; tokens], type_ids: vec![0; tokens], truncated: false })
    }

    #[test]
    fn a_text_is_made_once_and_a_long_one_every_time() {
        let cache = TokenCache::new();
        let again = || -> Result<Sequence, ()> { Err(()) };
        assert_eq!(cache.get_or_make("a", || sequence(3)).unwrap().ids, [7; 3]);
        assert_eq!(cache.get_or_make("a", again).unwrap().ids, [7; 3]);
        let long = "x".repeat(CACHED_TEXT_BYTES_MAX + 1);
        cache.get_or_make(&long, || sequence(1)).unwrap();
        assert!(cache.get_or_make(&long, again).is_err());
    }

    #[test]
    fn it_stays_within_its_bytes_whatever_comes() {
        let cache = TokenCache::new();
        for index in 0..20_000 {
            cache.get_or_make(&format!("text {index}"), || sequence(100)).unwrap();
        }
        assert!(cache.0.weight() <= TOKEN_CACHE_BYTES_MAX, "{}", cache.0.weight());
        assert!(cache.0.len() > 1_000);
    }
}
