//! Tokens per second of one stream, and of several: `measure_decoder FILE.gguf THREADS [STREAMS]`, for any GGUF file or folder.
//!
//! A prompt of 512 tokens, then 128 tokens of an answer to each stream, the model called directly. Prints one line of JSON.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use headland_decoder::{DecoderOptions, load};
use headland_generation::{LanguageModel, Piece};
use headland_kernels::CacheStorage;
use headland_nn_core::ModelFiles;
use headland_package::folder;

const PROMPT: usize = 512;
const ANSWER: usize = 128;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (path, threads) = match &arguments[..] {
        [path, threads, ..] => (Path::new(path), threads.parse()?),
        _ => anyhow::bail!("measure_decoder FILE.gguf THREADS [STREAMS]"),
    };
    let streams: usize = arguments.get(2).map_or(Ok(1), |streams| streams.parse())?;
    let options = DecoderOptions {
        threads,
        cache_bytes: 1 << 30,
        sequences_max: 32,
        context_max: None,
        cache: CacheStorage::F16,
    };
    let begin = Instant::now();
    let folder = folder::open(path.parent().context("a file in a folder")?)?;
    let name = path.file_name().and_then(|name| name.to_str()).context("a file's name")?;
    let bytes = folder.get(name).context("the file")?.clone();
    let mut model = load(&ModelFiles::new("measured", [(name.to_owned(), bytes)]), &options)?;
    let load_s = begin.elapsed().as_secs_f64();
    let pages = (PROMPT + ANSWER).div_ceil(model.shape().page_tokens) as u32;
    ensure!(pages * streams as u32 <= model.shape().pages, "memory for {streams} streams");
    let vocabulary = model.shape().vocabulary as u32;
    let prompts: Vec<Vec<u32>> = (0..streams as u32)
        .map(|stream| (0..PROMPT as u32).map(|at| (at * 7919 + stream * 104_729 + 13) % vocabulary).collect())
        .collect();
    let pages: Vec<Vec<u32>> =
        (0..streams as u32).map(|stream| (stream * pages..(stream + 1) * pages).collect()).collect();
    let mut logits = Vec::new();
    let mut tokens = Vec::new();
    let begin = Instant::now();
    for (prompt, pages) in prompts.iter().zip(&pages) {
        model.step(&[Piece { tokens: prompt, first_position: 0, pages, logits: true }], &mut logits)?;
        tokens.push([likeliest(&logits)]);
    }
    let prefill = (streams * PROMPT) as f64 / begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    for at in 0..ANSWER {
        let pieces: Vec<Piece> = tokens
            .iter()
            .zip(&pages)
            .map(|(tokens, pages)| Piece { tokens, first_position: PROMPT + at, pages, logits: true })
            .collect();
        model.step(&pieces, &mut logits)?;
        tokens = logits.chunks(vocabulary as usize).map(|row| [likeliest(row)]).collect();
    }
    let decode = (streams * ANSWER) as f64 / begin.elapsed().as_secs_f64();
    println!(r#"{{"prefill": {prefill:.1}, "decode": {decode:.2}, "load_s": {load_s:.2}, "streams": {streams}}}"#);
    Ok(())
}

fn likeliest(row: &[f32]) -> u32 {
    let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(token, _)| token as u32)
}
