//! Tiny random models of every family, against what transformers computes of them.

use headland_decoder::DecoderOptions;
use headland_kernels::CacheStorage;

use crate::common::{FAMILIES, Golden, OPTIONS, Sequence, answer, goldens, model, step};

fn options(golden: &Golden) -> DecoderOptions {
    DecoderOptions { context_max: golden.context, ..OPTIONS }
}

#[test]
fn every_family_computes_what_transformers_does() {
    for name in FAMILIES {
        for golden in goldens(name) {
            let mut model = model(name, &options(&golden));
            let (logits, tokens) = answer(&mut model, &golden.prompt, golden.tokens.len(), usize::MAX >> 1);
            let apart = logits.iter().zip(&golden.logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart < 1e-3, "{name}, prompt of {}: logits are {apart} apart", golden.prompt.len());
            assert_eq!(tokens, golden.tokens, "{name}, prompt of {}", golden.prompt.len());
        }
    }
}

#[test]
fn a_prompt_in_pieces_gives_the_same_bits() {
    for name in FAMILIES {
        for golden in goldens(name) {
            let mut model = model(name, &options(&golden));
            let whole = answer(&mut model, &golden.prompt, 16, usize::MAX >> 1);
            for piece in [1, 7, 16] {
                let pieces = answer(&mut model, &golden.prompt, 16, piece);
                assert!(whole == pieces, "{name}, prompt of {} by {piece}", golden.prompt.len());
            }
        }
    }
}

#[test]
fn an_answer_is_the_same_in_company() {
    for name in FAMILIES {
        let goldens: Vec<Golden> = goldens(name).into_iter().filter(|golden| golden.context.is_none()).collect();
        let mut model = model(name, &OPTIONS);
        let alone: Vec<(Vec<f32>, Vec<u32>)> =
            goldens.iter().map(|golden| answer(&mut model, &golden.prompt, golden.tokens.len(), 64)).collect();
        let mut sequences: Vec<Sequence> = Vec::new();
        for golden in &goldens {
            let first_page = sequences.iter().map(|sequence| sequence.pages.len() as u32).sum();
            sequences.push(Sequence::new(&golden.prompt, first_page, golden.prompt.len() + 65, &model));
        }
        // One comes after the other, each prompt in pieces of another size, beside those that answer already.
        let done = |sequence: &Sequence, golden: &Golden| sequence.tokens.len() >= golden.prompt.len() + 64;
        let mut first: Vec<Option<Vec<f32>>> = vec![None; goldens.len()];
        for round in 0.. {
            let mut running: Vec<usize> = (0..goldens.len()).filter(|index| round >= index * 9).collect();
            running.retain(|index| !done(&sequences[*index], &goldens[*index]));
            if running.is_empty() && round > 100 {
                break;
            }
            let answers: Vec<usize> = running
                .iter()
                .copied()
                .filter(|&index| sequences[index].computed + 5 + index >= sequences[index].tokens.len())
                .collect();
            let mut parts: Vec<(&mut Sequence, usize)> = sequences
                .iter_mut()
                .enumerate()
                .filter(|(index, _)| running.contains(index))
                .map(|(index, sequence)| (sequence, 5 + index))
                .collect();
            let logits = step(&mut model, &mut parts);
            for (index, logits) in answers.into_iter().zip(logits) {
                first[index].get_or_insert(logits);
            }
        }
        for (index, (logits, tokens)) in alone.iter().enumerate() {
            assert!(first[index].as_ref() == Some(logits), "{name}: the logits of prompt {index}");
            assert_eq!(sequences[index].tokens[goldens[index].prompt.len()..], tokens[..], "{name}, prompt {index}");
        }
    }
}

#[test]
fn pages_that_hold_the_beginning_are_as_good_as_computing_it() {
    for name in FAMILIES {
        let golden = goldens(name).into_iter().find(|golden| golden.prompt.len() == 70).unwrap();
        let mut model = model(name, &OPTIONS);
        let mut first = Sequence::new(&golden.prompt, 0, 140, &model);
        step(&mut model, &mut [(&mut first, 70)]);
        let mut second = Sequence::new(&golden.prompt, 40, 140, &model);
        second.pages[..4].copy_from_slice(&first.pages[..4]);
        second.computed = 64;
        while second.tokens.len() < 70 + golden.tokens.len() {
            step(&mut model, &mut [(&mut second, 100)]);
        }
        assert_eq!(second.tokens[70..], golden.tokens, "{name}");
    }
}

#[test]
fn keys_and_values_in_16_bits_are_near() {
    for name in FAMILIES {
        let golden = &goldens(name)[1];
        let options = DecoderOptions { cache: CacheStorage::F16, ..OPTIONS };
        let (logits, _) = answer(&mut model(name, &options), &golden.prompt, 1, 64);
        let apart = logits.iter().zip(&golden.logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 0.1, "{name}: logits are {apart} apart");
    }
}
