//! all-MiniLM-L6-v2 from the unmodified folder, against what sentence-transformers computes.

use std::env;
use std::path::PathBuf;

use crate::common::root;
use crate::encoders::{cosine, difference, load, run};
use headland_nn_core::{Executor, OutputSelection, Precision};
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
    embedding: Vec<f32>,
}

/// The folder of all-MiniLM-L6-v2, or `None` (and a printed reason) on a machine that has not fetched it.
fn minilm_dir() -> Option<PathBuf> {
    let cache = env::var_os("HEADLAND_CACHE").map_or_else(|| root().join(".cache"), PathBuf::from);
    let dir = cache.join("models/all-minilm-l6-v2");
    if dir.join("model.safetensors").exists() {
        return Some(dir);
    }
    assert!(env::var_os("REQUIRE_MODELS").is_none(), "REQUIRE_MODELS is set and {} is not there", dir.display());
    eprintln!("skipped: {} is not there; scripts/fetch.sh brings it", dir.display());
    None
}

/// The model in `precision`, and a way to embed with it.
fn embedder(precision: Precision) -> Option<impl FnMut(&[&str]) -> Vec<Vec<f32>>> {
    let dir = minilm_dir()?;
    let mut executor: Box<dyn Executor> = load(&dir, precision)?;
    let encoder = TextEncoder::open(&folder::open(&dir).unwrap()).unwrap().unwrap();
    Some(move |texts: &[&str]| {
        let inputs = encoder.encode(texts).unwrap().inputs(executor.signature()).unwrap();
        run(&mut *executor, &inputs, OutputSelection::Only(vec![0])).unwrap().remove(0)
    })
}

#[test]
fn embeddings_agree_with_sentence_transformers_alone_and_batched() {
    let Some(mut embed) = embedder(Precision::Full) else { return };
    let goldens = std::fs::read(root().join("test-data/embeddings/minilm.json")).unwrap();
    let goldens = serde_json::from_slice::<Goldens>(&goldens).unwrap().goldens;
    let texts: Vec<&str> = goldens.iter().map(|golden| &*golden.sentence).collect();
    for (golden, batched) in goldens.iter().zip(embed(&texts)) {
        let alone = &embed(&[&golden.sentence])[0];
        assert!(cosine(alone, &golden.embedding) > 0.9999, "{:?}", golden.sentence);
        assert!(difference(alone, &golden.embedding) < 1e-5, "{:?}", golden.sentence);
        assert!(difference(alone, &batched) < 1e-5, "{:?}", golden.sentence);
    }
}

#[test]
fn eight_bits_stay_within_a_hundredth_of_full_precision_and_two_thousandths_on_average() {
    let Some(mut full) = embedder(Precision::Full) else { return };
    let Some(mut int8) = embedder(Precision::Int8) else { return };
    let texts = varied_texts();
    assert!(texts.len() >= 100);
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let (full, together) = (full(&texts), int8(&texts));
    let cosines: Vec<f64> = full.iter().zip(&together).map(|(full, int8)| cosine(full, int8)).collect();
    let mean = cosines.iter().sum::<f64>() / cosines.len() as f64;
    let least = cosines.iter().copied().fold(1.0, f64::min);
    eprintln!("{} texts: mean {mean:.5}, least {least:.5}", texts.len());
    // The texts are this project's own documents, which change: the least of them is no constant.
    assert!(mean > 0.998 && least > 0.99, "mean {mean}, least {least}");
    for (text, together) in texts.iter().zip(&together).step_by(10) {
        assert!(difference(&int8(&[text])[0], together) < 1e-5, "{text}");
    }
}

/// Sentences and paragraphs of this project's own documents, from a word to a page.
fn varied_texts() -> Vec<String> {
    let mut texts = Vec::new();
    for document in ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "LICENSE"] {
        let text = std::fs::read_to_string(root().join(document)).unwrap();
        texts.extend(text.split("\n\n").map(str::to_owned));
        texts.extend(text.split(". ").map(str::to_owned));
        texts.extend(text.split_whitespace().step_by(97).map(str::to_owned));
    }
    texts.retain(|text| !text.trim().is_empty());
    texts.into_iter().step_by(2).take(200).collect()
}
