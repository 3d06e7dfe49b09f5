//! Loading models of the test data, and answering greedily with nothing but the model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use headland_decoder::{Decoder, DecoderOptions, load};
use headland_generation::{LanguageModel, Piece};
use headland_kernels::CacheStorage;
use headland_nn_core::{ModelFiles, NnError};
use serde::Deserialize;

/// What transformers computes for a prompt.
#[derive(Deserialize)]
pub struct Golden {
    pub prompt: Vec<u32>,
    pub logits: Vec<f32>,
    pub tokens: Vec<u32>,
    pub context: Option<usize>,
}

pub const FAMILIES: [&str; 8] = ["llama", "llama3", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"];

pub const OPTIONS: DecoderOptions = DecoderOptions {
    threads: 2,
    cache_bytes: 16 << 20,
    sequences_max: 1 << 20,
    context_max: None,
    cache: CacheStorage::F32,
};

pub fn folder(name: &str) -> PathBuf {
    Path::new("../../test-data/generation/tiny").join(name)
}

/// The files of a folder, in memory.
pub fn files(name: &str) -> BTreeMap<String, Bytes> {
    let entries = std::fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap());
    let file = |entry: std::fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), Bytes::from(std::fs::read(entry.path()).unwrap()))
    };
    entries.map(file).collect()
}

pub fn load_files(files: BTreeMap<String, Bytes>, options: &DecoderOptions) -> Result<Decoder, NnError> {
    load(&ModelFiles::new("test", files), options)
}

pub fn model(name: &str, options: &DecoderOptions) -> Decoder {
    load_files(files(name), options).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub fn goldens(name: &str) -> Vec<Golden> {
    serde_json::from_slice(&std::fs::read(folder(name).join("golden.json")).unwrap()).unwrap()
}

/// A sequence with pages of its own.
pub struct Sequence {
    pub tokens: Vec<u32>,
    pub computed: usize,
    pub pages: Vec<u32>,
}

impl Sequence {
    /// With pages from `first_page` on, as many as `tokens_max` need.
    pub fn new(prompt: &[u32], first_page: u32, tokens_max: usize, model: &Decoder) -> Self {
        let count = tokens_max.div_ceil(model.shape().page_tokens) as u32;
        // Neither in order nor side by side.
        let pages = (0..count).rev().map(|page| first_page + page).collect();
        Sequence { tokens: prompt.to_vec(), computed: 0, pages }
    }
}

/// Computes so many tokens of each, and adds the likeliest to those whose last token was computed: the logits of these.
pub fn step(model: &mut Decoder, sequences: &mut [(&mut Sequence, usize)]) -> Vec<Vec<f32>> {
    let mut logits = Vec::new();
    let pieces: Vec<Piece> = sequences
        .iter()
        .map(|(sequence, count)| {
            let end = (sequence.computed + count).min(sequence.tokens.len());
            let tokens = &sequence.tokens[sequence.computed..end];
            let last = end == sequence.tokens.len();
            Piece { tokens, first_position: sequence.computed, pages: &sequence.pages, logits: last }
        })
        .collect();
    model.step(&pieces, &mut logits).unwrap();
    let mut rows = logits.chunks(model.shape().vocabulary);
    let mut answered = Vec::new();
    for (sequence, count) in sequences {
        sequence.computed = (sequence.computed + *count).min(sequence.tokens.len());
        if sequence.computed == sequence.tokens.len() {
            let row = rows.next().unwrap();
            let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
            sequence.tokens.push(best as u32);
            answered.push(row.to_vec());
        }
    }
    answered
}

/// Answers alone, the prompt in pieces: the logits after the prompt, and the tokens.
pub fn answer(model: &mut Decoder, prompt: &[u32], count: usize, piece: usize) -> (Vec<f32>, Vec<u32>) {
    let mut sequence = Sequence::new(prompt, 0, prompt.len() + count, model);
    let mut first = None;
    while sequence.tokens.len() < prompt.len() + count {
        let logits = step(model, &mut [(&mut sequence, piece)]);
        first = first.or(logits.into_iter().next());
    }
    (first.unwrap(), sequence.tokens.split_off(prompt.len()))
}
