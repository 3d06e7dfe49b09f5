//! Attention over pages against the definition in f64, and against itself in other pieces.

use proptest::prelude::*;

use super::*;
use crate::test_support::{levels, numbers};

#[derive(Clone, Copy, Debug)]
struct Case {
    tokens: usize,
    heads: [usize; 3],
    window: Option<usize>,
    soft_cap: Option<f32>,
    storage: CacheStorage,
}

const SCALE: f32 = 0.3;

struct Sequence {
    case: Case,
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    cache: KeyValueCache,
    pages: Vec<u32>,
}

impl Sequence {
    fn new(seed: u64, case: Case) -> Self {
        let Case { tokens, heads: [query_heads, key_heads, size], .. } = case;
        let (queries, keys) =
            (numbers(seed, tokens * query_heads * size), numbers(seed + 1, tokens * key_heads * size));
        let values = numbers(seed + 2, tokens * key_heads * size);
        let count = tokens.div_ceil(PAGE_TOKENS);
        let mut cache = KeyValueCache::new(case.storage, count + 3, 2, key_heads, size).unwrap();
        // Pages in any order; what stands in them of others is no number.
        let pages: Vec<u32> = (0..count as u32).map(|page| (page * 7 + 1) % (count as u32 + 3)).collect();
        let pages = if pages.iter().collect::<std::collections::BTreeSet<_>>().len() == count {
            pages
        } else {
            (0..count as u32).rev().collect()
        };
        let nothing = vec![f32::NAN; key_heads * size];
        for page in 0..cache.pages() as u32 {
            (0..PAGE_TOKENS).for_each(|slot| cache.write(1, page, slot, &nothing, &nothing));
        }
        let rows = keys.chunks(key_heads * size).zip(values.chunks(key_heads * size));
        for (position, (keys, values)) in rows.enumerate() {
            cache.write(1, pages[position / PAGE_TOKENS], position, keys, values);
        }
        Sequence { case, queries, keys, values, cache, pages }
    }

    /// In pieces of so many tokens.
    fn attend(&self, level: Level, piece: usize) -> Vec<f32> {
        let Case { heads: [query_heads, key_heads, size], window, soft_cap, .. } = self.case;
        let attention = CausalAttention::new(level, [query_heads, key_heads, size], SCALE, soft_cap);
        let (width, mut scratch) = (query_heads * size, PagedScratch::default());
        let mut all = Vec::new();
        for (index, rows) in self.queries.chunks(piece * width).enumerate() {
            let mut out = vec![f32::NAN; rows.len()];
            let (first_position, count) = (index * piece, rows.len() / width);
            let pages = &self.pages[..(first_position + count).div_ceil(PAGE_TOKENS)];
            let queries = Queries { rows, stride: width, first_position, pages, window };
            let target = Target::new(&mut out, width, 0, width);
            for head in 0..key_heads {
                // SAFETY: no other thread is here.
                unsafe { attention.attend(&self.cache, [1, head], &queries, 0..count, &target, &mut scratch) };
            }
            all.extend(out);
        }
        all
    }

    fn expected(&self) -> Vec<f64> {
        let Case { tokens, heads: [query_heads, key_heads, size], window, soft_cap, .. } = self.case;
        let mut out = Vec::new();
        for (token, head) in (0..tokens).flat_map(|token| (0..query_heads).map(move |head| (token, head))) {
            let key_head = head / (query_heads / key_heads);
            let row = |from: &'_ [f32], token: usize| {
                let start = (token * key_heads + key_head) * size;
                from[start..start + size].iter().map(|x| f64::from(*x)).collect::<Vec<_>>()
            };
            let query = &self.queries[(token * query_heads + head) * size..][..size];
            let seen = window.map_or(0, |window| (token + 1).saturating_sub(window))..token + 1;
            let score = |other: usize| {
                let keys = row(&self.keys, other);
                let product: f64 =
                    query.iter().zip(&keys).map(|(a, b)| f64::from(*a) * b).sum::<f64>() * f64::from(SCALE);
                soft_cap.map_or(product, |cap| f64::from(cap) * (product / f64::from(cap)).tanh()).exp()
            };
            let weights: Vec<f64> = seen.clone().map(score).collect();
            let sum: f64 = weights.iter().sum();
            for element in 0..size {
                let weighted =
                    seen.clone().zip(&weights).map(|(other, weight)| row(&self.values, other)[element] * weight);
                out.push(weighted.sum::<f64>() / sum);
            }
        }
        out
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let heads = prop_oneof![Just([1, 1]), Just([4, 2]), Just([7, 1]), Just([6, 2])];
    let size = prop_oneof![Just(4usize), Just(16), Just(24), Just(64)];
    let window = prop_oneof![Just(None), (1usize..40).prop_map(Some)];
    let soft_cap = prop_oneof![Just(None), Just(Some(2.0f32))];
    let storage = prop_oneof![Just(CacheStorage::F32), Just(CacheStorage::F16)];
    (1usize..50, heads, size, window, soft_cap, storage).prop_map(
        |(tokens, [queries, keys], size, window, soft_cap, storage)| Case {
            tokens,
            heads: [queries, keys, size],
            window,
            soft_cap,
            storage,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn tokens_gather_what_they_should_in_pieces_of_any_size(case in cases(), seed in 0u64..1000, piece in 1usize..20) {
        let sequence = Sequence::new(seed, case);
        let expected = sequence.expected();
        let allowed = if case.storage == CacheStorage::F32 { 2e-6 } else { 2e-3 };
        for level in levels() {
            let whole = sequence.attend(level, case.tokens);
            for (index, (got, expected)) in whole.iter().zip(&expected).enumerate() {
                let apart = (f64::from(*got) - expected).abs();
                prop_assert!(apart < allowed, "{level}, element {index}: {got}, not {expected}");
            }
            prop_assert_eq!(whole, sequence.attend(level, piece), "{}", level);
        }
    }
}
