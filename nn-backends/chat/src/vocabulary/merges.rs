//! The order in which neighbours are joined, for vocabularies that have scores instead.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;

/// Every way to make a token of two others, the best first, as Hugging Face's converters have it: SentencePiece joins the two
/// neighbours whose token has the best score, and of two such the left one. Among the ways to the same token, that whose left
/// part is longer comes first, which is the left one as well: what is left over stands at the end of a run of like characters.
pub(super) fn of_scores<'a>(
    tokens: &'a [Cow<'_, str>],
    ids: &HashMap<Cow<'_, str>, u32>,
    scores: &[f64],
) -> Vec<(&'a str, &'a str)> {
    let mut ways: Vec<(f64, (&str, &str))> = Vec::new();
    for (token, score) in tokens.iter().zip(scores) {
        let cuts = token.char_indices().skip(1).map(|(at, _)| token.split_at(at));
        let known = cuts.filter(|(left, right)| ids.contains_key(*left) && ids.contains_key(*right));
        ways.extend(known.map(|way| (*score, way)));
    }
    // Stable: tokens of one score stay in their order.
    ways.sort_by(|(score, (left, _)), (other, (other_left, _))| {
        other.total_cmp(score).then_with(|| Reverse(left.len()).cmp(&Reverse(other_left.len())))
    });
    ways.into_iter().map(|(_, way)| way).collect()
}
