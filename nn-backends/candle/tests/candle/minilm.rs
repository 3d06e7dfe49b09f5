//! all-MiniLM-L6-v2 from the unmodified folder, against what sentence-transformers computes.

use std::path::PathBuf;

use crate::common::{difference, input, load, load_in, minilm_dir, rows, run, sentences};
use headland_nn_core::{OutputSelection, Precision};
use headland_package::folder;
use headland_text::TextEncoder;
use serde::Deserialize;

#[derive(Deserialize)]
struct Goldens {
    goldens: Vec<Golden>,
}

#[derive(Deserialize)]
struct Golden {
    sentence: String,
    input_ids: Vec<i64>,
    embedding: Vec<f32>,
}

fn goldens() -> Vec<Golden> {
    let path = PathBuf::from("../../test-data/embeddings/minilm.json");
    serde_json::from_slice::<Goldens>(&std::fs::read(path).unwrap()).unwrap().goldens
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn embeddings_agree_with_sentence_transformers_alone_and_batched() {
    let Some(dir) = minilm_dir() else { return };
    let mut executor = load(&dir).unwrap();
    let encoder = TextEncoder::open(&folder::open(&dir).unwrap()).unwrap().unwrap();
    let goldens = goldens();
    let signature = executor.signature().clone();
    let texts: Vec<&str> = goldens.iter().map(|golden| &*golden.sentence).collect();
    let batched = sentences(&mut *executor, &encoder.encode(&texts).unwrap().inputs(&signature).unwrap());
    for (golden, batched) in goldens.iter().zip(&batched) {
        let inputs = encoder.encode(&[&golden.sentence]).unwrap().inputs(&signature).unwrap();
        let single = &sentences(&mut *executor, &inputs)[0];
        let (cosine, apart) = (cosine(single, &golden.embedding), difference(single, &golden.embedding));
        eprintln!("cosine {cosine:.9}, golden - single {apart:.1e}");
        assert!(cosine > 0.9999, "{:?}: {cosine}", golden.sentence);
        assert!(apart < 1e-5, "{:?}: {apart}", golden.sentence);
        assert_eq!(single, batched, "{:?}", golden.sentence);
    }
}

#[test]
fn eight_bits_stay_close_to_full_precision_and_batched_equals_single() {
    let Some(dir) = minilm_dir() else { return };
    let [mut full, mut int8] = [Precision::Full, Precision::Int8].map(|precision| load_in(&dir, precision).unwrap());
    let encoder = TextEncoder::open(&folder::open(&dir).unwrap()).unwrap().unwrap();
    let goldens = goldens();
    let texts: Vec<&str> = goldens.iter().map(|golden| &*golden.sentence).collect();
    let encode = |texts: &[&str]| encoder.encode(texts).unwrap().inputs(full.signature()).unwrap();
    let (all, singles) = (encode(&texts), texts.iter().map(|text| encode(&[text])).collect::<Vec<_>>());
    let exact = sentences(&mut *full, &all);
    let batched = sentences(&mut *int8, &all);
    for (index, text) in texts.iter().enumerate() {
        let cosine = cosine(&exact[index], &batched[index]);
        eprintln!("cosine {cosine:.6} {text:.40?}");
        assert!(cosine > 0.995, "{text:?}: {cosine}");
        assert_eq!(sentences(&mut *int8, &singles[index])[0], batched[index], "{text:?}");
    }
    assert!(int8.memory_bytes() < full.memory_bytes() / 3 * 2, "{} {}", int8.memory_bytes(), full.memory_bytes());
}

#[test]
fn text_and_own_tokens_agree() {
    let Some(dir) = minilm_dir() else { return };
    let mut executor = load(&dir).unwrap();
    let encoder = TextEncoder::open(&folder::open(&dir).unwrap()).unwrap().unwrap();
    for golden in goldens() {
        let text = encoder.encode(&[&golden.sentence]).unwrap().inputs(executor.signature()).unwrap();
        let own = [input("input_ids", [1, golden.input_ids.len()], &golden.input_ids)];
        assert_eq!(sentences(&mut *executor, &text), sentences(&mut *executor, &own), "{:?}", golden.sentence);
    }
}

#[test]
fn token_embeddings_come_only_when_wanted_and_pool_to_the_sentence() {
    let Some(dir) = minilm_dir() else { return };
    let mut executor = load(&dir).unwrap();
    let inputs = [
        input("input_ids", [2, 4], &[101, 7592, 102, 0, 101, 7592, 2088, 102]),
        input("attention_mask", [2, 4], &[1, 1, 1, 0, 1, 1, 1, 1]),
    ];
    let both = run(&mut *executor, &inputs, &OutputSelection::Only(vec![1, 0])).unwrap();
    assert_eq!([&*both[0].name, &*both[1].name], ["token_embeddings", "sentence_embedding"]);
    assert_eq!(&**both[0].tensor.shape(), [2, 4, 384]);
    let tokens = rows(&both[0]);
    assert!(tokens[3].iter().all(|value| *value == 0.0), "padding has an embedding");
    let mean: Vec<f32> = (0..384).map(|i| tokens[..3].iter().map(|token| token[i]).sum::<f32>() / 3.0).collect();
    assert!(cosine(&mean, &rows(&both[1])[0]) > 0.999_999);
    let one = run(&mut *executor, &inputs, &OutputSelection::Only(vec![0])).unwrap();
    assert_eq!((one.len(), &one[0]), (1, &both[1]));
    assert_eq!(run(&mut *executor, &inputs, &OutputSelection::All).unwrap()[1], both[0]);
}

#[test]
fn memory_is_what_the_weights_take() {
    let Some(dir) = minilm_dir() else { return };
    let file = std::fs::metadata(dir.join("model.safetensors")).unwrap().len();
    let memory = load(&dir).unwrap().memory_bytes();
    assert!(memory < file && memory > file / 100 * 95, "{memory} of {file}");
}
