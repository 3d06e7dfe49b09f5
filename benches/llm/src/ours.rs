//! The decoder, called directly.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use headland_decoder::{Decoder, DecoderOptions, load};
use headland_generation::{LanguageModel, Piece};
use headland_kernels::CacheStorage;
use headland_nn_core::ModelFiles;
use headland_package::folder;

use crate::{Order, Rates, STREAMS};

/// Memory for keys and values: enough for all streams at the model's whole context.
const CACHE_BYTES: u64 = 1 << 30;

/// A model, loaded.
pub struct Ours {
    pub model: Decoder,
    pub load_s: f64,
}

impl Ours {
    /// Loads `file`.
    pub fn load(file: &Path, threads: usize) -> Result<Self> {
        let begin = Instant::now();
        let folder = folder::open(file.parent().context("a file in a folder")?)?;
        let name = file.file_name().and_then(|name| name.to_str()).context("a file's name")?;
        let bytes = folder.get(name).context("the file")?.clone();
        let options = DecoderOptions {
            threads,
            cache_bytes: CACHE_BYTES,
            // The streams, and who comes in beside them.
            sequences_max: 2 * STREAMS,
            context_max: None,
            cache: CacheStorage::F16,
        };
        let model = load(&ModelFiles::new("measured", [(name.to_owned(), bytes)]), &options)?;
        Ok(Ours { model, load_s: begin.elapsed().as_secs_f64() })
    }

    /// Measures.
    pub fn measure(&mut self, Order { streams, prompt, answer }: Order) -> Result<Rates> {
        let model = &mut self.model;
        let each = (prompt + answer).div_ceil(model.shape().page_tokens) as u32;
        ensure!(each * streams as u32 <= model.shape().pages, "there is no memory for {streams} streams");
        let vocabulary = model.shape().vocabulary;
        let prompts: Vec<Vec<u32>> = (0..streams).map(|stream| tokens(prompt, stream, vocabulary)).collect();
        let pages: Vec<Vec<u32>> =
            (0..streams as u32).map(|stream| (stream * each..(stream + 1) * each).collect()).collect();
        let (mut logits, mut last) = (Vec::new(), Vec::new());
        let begin = Instant::now();
        for (tokens, pages) in prompts.iter().zip(&pages) {
            model.step(&[Piece { tokens, first_position: 0, pages, logits: true }], &mut logits)?;
            last.push([likeliest(&logits)]);
        }
        let read_s = begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        for at in 0..answer {
            let piece = |(tokens, pages)| Piece { tokens, first_position: prompt + at, pages, logits: true };
            let pieces: Vec<Piece> =
                last.iter().map(|token| &token[..]).zip(pages.iter().map(|pages| &pages[..])).map(piece).collect();
            model.step(&pieces, &mut logits)?;
            last = logits.chunks(vocabulary).map(|row| [likeliest(row)]).collect();
        }
        let answer_s = begin.elapsed().as_secs_f64();
        Ok(Rates { prefill: (streams * prompt) as f64 / read_s, decode: (streams * answer) as f64 / answer_s })
    }
}

/// A prompt of so many tokens that no other `salt` gives.
pub fn tokens(count: usize, salt: usize, vocabulary: usize) -> Vec<u32> {
    (0..count).map(|at| ((at * 7919 + salt * 104_729 + 13) % vocabulary) as u32).collect()
}

fn likeliest(row: &[f32]) -> u32 {
    let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(token, _)| token as u32)
}
