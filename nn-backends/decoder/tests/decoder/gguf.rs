//! GGUF files in every type of block and every architecture, against what llama.cpp answers with the same bytes.
//!
//! The files are made here by the recipes of `test-data/generation/gguf.json`, as its script made them for llama.cpp.

use std::collections::BTreeMap;

use bytes::Bytes;
use headland_decoder::{Decoder, DecoderOptions};
use headland_nn_core::NnError;
use serde::Deserialize;
use serde_json::Value;

use crate::common::{OPTIONS, answer, load_files};

#[derive(Deserialize)]
struct Recipe {
    entries: BTreeMap<String, Value>,
    tensors: Vec<TensorRecipe>,
    prompt: Vec<u32>,
    logits: Vec<f32>,
    tokens: Vec<u32>,
}

/// Name, shape, type; middle and width of random floats, or the floats themselves.
type TensorRecipe = (String, Vec<usize>, String, f32, f32, Option<Vec<f32>>);

fn recipes() -> BTreeMap<String, Recipe> {
    serde_json::from_slice(&std::fs::read("../../test-data/generation/gguf.json").unwrap()).unwrap()
}

/// SplitMix64 from the FNV-1a of a name.
fn numbers(name: &str) -> impl Iterator<Item = u64> {
    let seed = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |seed, byte| (seed ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    (1..).map(move |at: u64| {
        let z = seed.wrapping_add(at.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// ggml's number of a type, and for blocks their bytes, their elements, and where their scales stand.
fn kind(name: &str) -> (u32, usize, usize, &'static [(usize, f32)]) {
    match name {
        "F32" => (0, 4, 1, &[]),
        "F16" => (1, 2, 1, &[]),
        "BF16" => (30, 2, 1, &[]),
        "Q4_0" => (2, 18, 32, &[(0, 0.015_625)]),
        "Q5_0" => (6, 22, 32, &[(0, 0.007_812_5)]),
        "Q8_0" => (8, 34, 32, &[(0, 0.000_976_562_5)]),
        "Q4_K" => (12, 144, 256, &[(0, 0.000_244_140_63), (2, 7.5 * 0.000_244_140_63)]),
        "Q5_K" => (13, 176, 256, &[(0, 0.000_122_070_31), (2, 15.5 * 0.000_122_070_31)]),
        "Q6_K" => (14, 210, 256, &[(208, 0.000_061_035_156)]),
        other => panic!("{other}"),
    }
}

fn tensor(name: &str, count: usize, kind_name: &str, base: f32, scale: f32, values: Option<&[f32]>) -> Vec<u8> {
    if let Some(values) = values {
        return values.iter().flat_map(|value| value.to_le_bytes()).collect();
    }
    let (_, size, depth, scales) = kind(kind_name);
    if depth > 1 {
        let mut bytes: Vec<u8> = numbers(name).take(count / depth * size).map(|number| (number >> 56) as u8).collect();
        if kind_name == "Q4_0" {
            let nibble = |nibble: u8| if nibble == 0 { 8 } else { nibble };
            bytes.iter_mut().for_each(|byte| *byte = nibble(*byte & 15) | (nibble(*byte >> 4) << 4));
        }
        for block in bytes.chunks_exact_mut(size) {
            for (at, value) in scales {
                block[*at..at + 2].copy_from_slice(&half::f16::from_f32(*value).to_le_bytes());
            }
        }
        return bytes;
    }
    let unit = |number: u64| (number >> 40) as f32 / (1 << 23) as f32 - 1.0;
    let floats = numbers(name).take(count).map(|number| base + scale * unit(number));
    match kind_name {
        "F32" => floats.flat_map(f32::to_le_bytes).collect(),
        "F16" => floats.flat_map(|x| half::f16::from_f32(x).to_le_bytes()).collect(),
        _ => floats.flat_map(|x| ((x.to_bits() >> 16) as u16).to_le_bytes()).collect(),
    }
}

fn file(recipe: &Recipe) -> Vec<u8> {
    let string = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let mut file = [&b"GGUF"[..], &3u32.to_le_bytes()].concat();
    file.extend((recipe.tensors.len() as u64).to_le_bytes());
    file.extend((recipe.entries.len() as u64).to_le_bytes());
    for (key, value) in &recipe.entries {
        file.extend(string(key));
        match value {
            Value::String(text) => file.extend([8u32.to_le_bytes().to_vec(), string(text)].concat()),
            Value::Number(number) if number.is_u64() => {
                file.extend([4u32, u32::try_from(number.as_u64().unwrap()).unwrap()].map(u32::to_le_bytes).concat());
            }
            Value::Number(number) => {
                file.extend(6u32.to_le_bytes());
                file.extend((number.as_f64().unwrap() as f32).to_le_bytes());
            }
            other => panic!("{other}"),
        }
    }
    let mut data: Vec<u8> = Vec::new();
    for (name, shape, kind_name, base, scale, values) in &recipe.tensors {
        file.extend(string(name));
        file.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|extent| file.extend((*extent as u64).to_le_bytes()));
        file.extend(kind(kind_name).0.to_le_bytes());
        file.extend((data.len() as u64).to_le_bytes());
        data.extend(tensor(name, shape.iter().product(), kind_name, *base, *scale, values.as_deref()));
        data.resize(data.len().next_multiple_of(32), 0);
    }
    file.resize(file.len().next_multiple_of(32), 0);
    [file, data].concat()
}

fn load(bytes: Bytes) -> Result<Decoder, NnError> {
    load_files([("model.gguf".to_owned(), bytes)].into(), &DecoderOptions { cache_bytes: 64 << 20, ..OPTIONS })
}

#[test]
fn every_type_and_architecture_answers_as_llama_cpp_does() {
    let mut wrong = Vec::new();
    for (name, recipe) in recipes() {
        let mut model = load(file(&recipe).into()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (logits, tokens) = answer(&mut model, &recipe.prompt, recipe.tokens.len(), 64);
        let deviation = (logits.iter().map(|x| x * x).sum::<f32>() / logits.len() as f32).sqrt();
        let apart = logits.iter().zip(&recipe.logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / deviation;
        // llama.cpp rounds activations to what weights are: to bfloat16, and to 8 bits with scales of 16, where ours have 32.
        let rounds = ["BF16", "Q4_0", "Q5_0", "Q8_0", "Q4_K"].iter().any(|kind| name.ends_with(kind));
        let allowed = if rounds { 0.1 } else { 0.01 };
        println!("{name}: logits are {apart:.5} deviations apart, tokens the same: {}", tokens == recipe.tokens);
        if apart > allowed || tokens != recipe.tokens {
            wrong.push(format!("{name}: {apart} apart, {tokens:?}, not {:?}", recipe.tokens));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_that_lie_are_refused_with_what_they_lie_about() {
    let recipe = &recipes()["llama-Q8_0"];
    let whole = file(recipe);
    let error = |bytes: Vec<u8>| load(bytes.into()).err().unwrap().to_string();
    for part in 1..20 {
        let cut = error(whole[..whole.len() * part / 20].to_vec());
        assert!(cut.contains("test/model.gguf: "), "{cut}");
    }
    let with = |change: &dyn Fn(&mut Recipe)| {
        let mut recipe = recipes().remove("llama-Q8_0").unwrap();
        change(&mut recipe);
        error(file(&recipe))
    };
    let set =
        |key: &'static str, value: u64| with(&move |recipe| drop(recipe.entries.insert(key.to_owned(), value.into())));
    assert!(set("llama.embedding_length", 512).contains("tensor `token_embd.weight` has shape [256, 256]"));
    assert!(set("llama.block_count", 4_000_000_000).contains("1024 at most"));
    assert!(set("llama.attention.head_count", 0).contains("attention heads is 0"));
    assert!(set("llama.feed_forward_length", 4_000_000_000).contains("feed-forward size"));
    let other = with(&|recipe| drop(recipe.entries.insert("general.architecture".to_owned(), "mamba".into())));
    assert!(other.contains("`mamba`") && other.contains("qwen3") && other.contains("phi3"), "{other}");
    assert!(with(&|recipe| drop(recipe.tensors.remove(5))).contains("is missing"));
}
