//! What runs at once, and the indices by which attention finds its operands.

use std::ops::Range;

use headland_encoder::Slice;

/// Tokens of one run: enough to keep the matrix products busy, few enough that what lies between two of them stays in the
/// cache.
const RUN_TOKENS: usize = 512;

/// Pairs of tokens that a run's attention may compute for nothing, in units of the model's width: texts are padded to the
/// longest of their run. So many cost as much as some tens of tokens, and splitting a run costs about that too.
const WASTED_PAIRS_PER_WIDTH: usize = 64;

/// What attention adds to a score that is none.
const NOT_THERE: f32 = -1e9;

/// Texts that run together, and the inputs of their run.
pub(crate) struct Run {
    /// Positions among the slice's texts.
    pub texts: Vec<usize>,
    /// Tokens of the longest.
    pub longest: usize,
    pub ids: Vec<i32>,
    pub positions: Vec<i32>,
    pub token_types: Vec<i32>,
    /// For each text, head and token the row of its query, `[texts, heads, longest]`, where rows are one head's part of a
    /// token's queries, keys and values. Padding takes the text's first token's.
    pub head_rows: Vec<i32>,
    /// For each token and head its row in what attention gives, `[tokens, heads]`.
    pub token_rows: Vec<i32>,
    /// Zero for tokens, [`NOT_THERE`] for padding, `[texts, longest]`.
    pub mask: Vec<f32>,
}

/// The texts of `slice` in runs: those of similar length together.
pub(crate) fn runs<'a>(slice: &'a Slice<'a>, heads: usize, width: usize) -> impl Iterator<Item = Run> + 'a {
    let ranges: Vec<Range<usize>> = slice.texts().collect();
    let mut order: Vec<usize> = (0..ranges.len()).collect();
    order.sort_by_key(|&text| std::cmp::Reverse(ranges[text].len()));
    let mut begin = 0;
    std::iter::from_fn(move || {
        let rest = order.get(begin..).filter(|rest| !rest.is_empty())?;
        let count = fitting(rest.iter().map(|&text| ranges[text].len()), width);
        begin += count;
        Some(Run::new(slice, &ranges, &rest[..count], heads))
    })
}

/// How many of the texts of these `lengths`, the longest first, run together; at least one.
fn fitting(lengths: impl Iterator<Item = usize> + Clone, width: usize) -> usize {
    let longest = lengths.clone().next().unwrap_or_default();
    let (mut tokens, mut wasted) = (0, 0);
    let fits = |&length: &usize| {
        tokens += length;
        wasted += longest * longest - length * length;
        tokens <= RUN_TOKENS && wasted <= WASTED_PAIRS_PER_WIDTH * width
    };
    lengths.take_while(fits).count().max(1)
}

impl Run {
    fn new(slice: &Slice, ranges: &[Range<usize>], texts: &[usize], heads: usize) -> Self {
        let longest = ranges[texts[0]].len();
        let tokens = texts.iter().map(|&text| ranges[text].len()).sum::<usize>();
        let gathered = |values: &[u32]| {
            // Indices into tables, whose extents fit 31 bits or nothing would be loaded.
            texts.iter().flat_map(|&text| &values[ranges[text].clone()]).map(|&value| value as i32).collect()
        };
        let mut run = Run {
            texts: texts.to_vec(),
            longest,
            ids: gathered(slice.ids()),
            positions: gathered(slice.positions()),
            token_types: gathered(slice.token_types()),
            head_rows: Vec::with_capacity(texts.len() * heads * longest),
            token_rows: Vec::with_capacity(tokens * heads),
            mask: Vec::with_capacity(texts.len() * longest),
        };
        // Counters of 32 bits: a run has at most 2^16 tokens, and a model at most 2^10 heads.
        let (heads, longest) = (heads as i32, longest as i32);
        let mut first = 0;
        for (row, &text) in (0..).zip(texts) {
            let length = ranges[text].len() as i32;
            let padding = longest - length;
            for head in 0..heads {
                let row_of = |token: i32| (first + token) * 3 * heads + head;
                run.head_rows.extend((0..length).map(row_of));
                run.head_rows.extend((0..padding).map(|_| row_of(0)));
            }
            for token in 0..length {
                run.token_rows.extend((0..heads).map(|head| (row * heads + head) * longest + token));
            }
            run.mask.extend((0..length).map(|_| 0.0));
            run.mask.extend((0..padding).map(|_| NOT_THERE));
            first += length;
        }
        run
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_one_length_fill_a_run_and_a_long_one_does_not_draw_short_ones_in() {
        let count = |lengths: &[usize]| fitting(lengths.iter().copied(), 384);
        assert_eq!(count(&[13; 32]), 32);
        assert_eq!(count(&[256; 8]), RUN_TOKENS / 256);
        assert_eq!(count(&[2000, 5]), 1);
        assert_eq!(count(&[256, 8, 8, 8]), 1);
        assert_eq!(count(&[20, 18, 9, 8]), 4);
    }
}
