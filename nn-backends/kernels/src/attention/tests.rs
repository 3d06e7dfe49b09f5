//! Attention at every level against f64.

use super::{Attention, AttentionScratch};
use crate::test_support::{levels, numbers};

/// Head by head and token by token, as the definition has it.
fn expected(parts: &[f32], heads: usize, head_size: usize) -> Vec<f64> {
    let hidden = heads * head_size;
    let tokens = parts.len() / (3 * hidden);
    let at = |token: usize, part: usize, index: usize| f64::from(parts[token * 3 * hidden + part * hidden + index]);
    let mut out = vec![0.0; tokens * hidden];
    for (head, token) in (0..heads).flat_map(|head| (0..tokens).map(move |token| (head, token))) {
        let own = head * head_size..(head + 1) * head_size;
        let score = |other: usize| own.clone().map(|index| at(token, 0, index) * at(other, 1, index)).sum::<f64>();
        let powers: Vec<f64> = (0..tokens).map(|other| score(other).exp()).collect();
        let total: f64 = powers.iter().sum();
        for index in own.clone() {
            let gathered: f64 = powers.iter().enumerate().map(|(other, power)| power * at(other, 2, index)).sum();
            out[token * hidden + index] = gathered / total;
        }
    }
    out
}

#[test]
fn texts_and_heads_of_any_size_attend() {
    let sizes =
        [(1, 1, 1), (1, 2, 3), (2, 3, 8), (7, 2, 16), (13, 3, 32), (16, 1, 64), (33, 2, 5), (85, 1, 32), (130, 2, 40)];
    for (tokens, heads, head_size) in sizes {
        let parts = numbers(tokens as u64, tokens * 3 * heads * head_size);
        let expected = expected(&parts, heads, head_size);
        for level in levels() {
            let mut out = vec![f32::NAN; expected.len()];
            Attention::new(level, heads, head_size).attend(&parts, &mut out, &mut AttentionScratch::default());
            for (got, expected) in out.iter().zip(&expected) {
                let apart = (f64::from(*got) - expected).abs();
                assert!(apart < 2e-6, "{level}, {tokens} tokens, {heads} heads of {head_size}: {got}, not {expected}");
            }
        }
    }
}

#[test]
fn scores_that_are_far_apart_stay_finite() {
    for level in levels() {
        let parts: Vec<f32> = numbers(4, 20 * 3 * 8).iter().map(|x| x * 100.0).collect();
        let mut out = vec![f32::NAN; 20 * 8];
        Attention::new(level, 1, 8).attend(&parts, &mut out, &mut AttentionScratch::default());
        assert!(out.iter().all(|x| x.abs() <= 100.0), "{level}: {out:?}");
    }
}

#[test]
fn what_went_before_leaves_no_trace() {
    for level in levels() {
        let (attention, mut scratch) = (Attention::new(level, 2, 8), AttentionScratch::default());
        let (short, long) = (numbers(1, 3 * 48), numbers(2, 90 * 48));
        let attend = |parts: &[f32], scratch: &mut AttentionScratch| {
            let mut out = vec![f32::NAN; parts.len() / 3];
            attention.attend(parts, &mut out, scratch);
            out
        };
        let first = attend(&short, &mut scratch);
        attend(&long, &mut scratch);
        assert_eq!(attend(&short, &mut scratch), first, "{level}");
    }
}

#[test]
fn no_tokens_are_no_work() {
    Attention::new(levels()[0], 2, 8).attend(&[], &mut [], &mut AttentionScratch::default());
}
