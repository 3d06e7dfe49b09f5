//! From a model's files to a decoder: its configuration, its weights packed, its cache as large as the memory it may take.

use std::sync::OnceLock;

use headland_generation::ModelShape;
use headland_gguf::Gguf;
use headland_kernels::{CacheStorage, KeyValueCache, Level, PAGE_TOKENS, RmsNorm, Team};
use headland_nn_core::{ModelFiles, NnError};

use crate::architecture::{self, Architecture, Family};
use crate::decoder::{Block, Decoder, Embedding, Scratch};
use crate::projection::Projection;
use crate::weights::{Part, Stored, Weights};

/// How a model is to be loaded.
#[derive(Clone, Copy, Debug)]
pub struct DecoderOptions {
    /// Threads that compute together, at least one.
    pub threads: usize,
    /// Memory for keys and values, in bytes; no more is taken than the sequences need.
    pub cache_bytes: u64,
    /// Sequences at a time.
    pub sequences_max: usize,
    /// Tokens of a sequence, if fewer than the model was made for.
    pub context_max: Option<usize>,
    /// In what numbers keys and values are kept.
    pub cache: CacheStorage,
}

/// The configuration's file.
const CONFIG: &str = "config.json";

/// Loads the model of a Hugging Face folder, or of a single GGUF file.
///
/// # Errors
/// [`NnError::BadModel`] naming file and cause; [`NnError::TooLarge`] when `cache_bytes` are not enough for one page.
pub fn load(model: &ModelFiles, options: &DecoderOptions) -> Result<Decoder, NnError> {
    let (architecture, weights) = open(model, options.context_max)?;
    let loader = Loader { level: Level::best(), weights, architecture };
    loader.load(options)
}

/// What keys and values take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSize {
    /// Memory of a page, in bytes.
    pub page_bytes: u64,
    /// Pages.
    pub pages: u32,
    /// Tokens of a sequence.
    pub context_max: usize,
}

impl CacheSize {
    /// What [`load`] will take with the same options. Reads the model's configuration alone.
    ///
    /// # Errors
    /// As [`load`].
    pub fn of(model: &ModelFiles, options: &DecoderOptions) -> Result<Self, NnError> {
        let (architecture, _) = open(model, options.context_max)?;
        CacheSize::of_architecture(&architecture, options)
    }

    fn of_architecture(architecture: &Architecture, options: &DecoderOptions) -> Result<Self, NnError> {
        let Architecture { key_heads, head_size, context_max, ref layers, .. } = *architecture;
        let page_bytes = options.cache.page_bytes(layers.len(), key_heads, head_size).map(|bytes| bytes as u64);
        let page_bytes = page_bytes.ok_or_else(|| NnError::bad_model("a page of its cache cannot be counted"))?;
        let needed = context_max.div_ceil(PAGE_TOKENS).saturating_mul(options.sequences_max.max(1));
        let pages = (options.cache_bytes / page_bytes.max(1)).min(needed as u64);
        let pages = u32::try_from(pages).unwrap_or(u32::MAX);
        if pages == 0 {
            let (bytes, all) = (page_bytes, options.cache_bytes);
            let problem =
                format!("keys and values of {PAGE_TOKENS} tokens take {bytes} bytes, and there are {all} for all");
            return Err(NnError::TooLarge(problem.into()));
        }
        Ok(CacheSize { page_bytes, pages, context_max })
    }

    /// Tokens that it holds.
    pub fn tokens(&self) -> usize {
        (self.pages as usize).saturating_mul(PAGE_TOKENS)
    }

    /// Memory of all of it, in bytes.
    pub fn bytes(&self) -> u64 {
        self.page_bytes.saturating_mul(u64::from(self.pages))
    }
}

fn open(model: &ModelFiles, context_max: Option<usize>) -> Result<(Architecture, Weights), NnError> {
    let gguf = model.iter().find(|(path, _)| path.ends_with(".gguf")).map(|(path, _)| path.to_owned());
    let bad = |path: &str, problem: String| NnError::bad_model(format!("{}: {problem}", model.describe(path)));
    Ok(match gguf {
        Some(path) => {
            let file = Gguf::parse(model.require(&path)?).map_err(|problem| bad(&path, problem))?;
            let architecture = architecture::from_gguf(&file, context_max).map_err(|problem| bad(&path, problem))?;
            (architecture, Weights::of_gguf(model.describe(&path), file))
        }
        None => {
            let architecture = architecture::from_config(model.require(CONFIG)?, context_max);
            let architecture = architecture.map_err(|problem| bad(CONFIG, problem))?;
            (architecture, Weights::of_folder(model)?)
        }
    })
}

struct Loader {
    level: Level,
    weights: Weights,
    architecture: Architecture,
}

impl Loader {
    fn load(self, options: &DecoderOptions) -> Result<Decoder, NnError> {
        let Architecture { family, vocabulary, hidden, key_heads, head_size, context_max, .. } = self.architecture;
        let CacheSize { page_bytes, pages, .. } = CacheSize::of_architecture(&self.architecture, options)?;
        let cache =
            KeyValueCache::new(options.cache, pages as usize, self.architecture.layers.len(), key_heads, head_size);
        let cache = cache.map_err(|error| {
            let bytes = page_bytes.saturating_mul(u64::from(pages));
            NnError::TooLarge(format!("the system gives no {bytes} bytes for keys and values: {error}").into())
        })?;
        let embedding = self.weights.matrix(family, Part::Embedding, 0, [vocabulary, hidden])?;
        let mut team = Team::new(options.threads.max(1), "generation").map_err(NnError::runtime)?;
        let (head, blocks) = self.pack(&mut team, &embedding)?;
        let final_norm = self.norm(Part::FinalNorm, 0, hidden)?;
        let row_bytes = embedding.bytes.len() / vocabulary;
        let weights_bytes =
            embedding.bytes.len() + head.bytes() + blocks.iter().map(Block::bytes).sum::<usize>() + final_norm.bytes();
        let shape = ModelShape {
            vocabulary,
            context_max,
            page_tokens: PAGE_TOKENS,
            pages,
            page_bytes,
            weights_bytes: weights_bytes as u64,
        };
        Ok(Decoder {
            shape,
            level: self.level,
            embedding: Embedding { storage: embedding.storage, row_bytes, bytes: embedding.bytes },
            blocks,
            final_norm,
            head,
            cache,
            scratch: Scratch::of_threads(team.threads()),
            team,
            architecture: self.architecture,
        })
    }

    /// The head and all layers, packed by the threads that will compute them.
    fn pack(&self, team: &mut Team, embedding: &Stored) -> Result<(Projection, Vec<Block>), NnError> {
        let head = OnceLock::new();
        let blocks: Vec<OnceLock<_>> = self.architecture.layers.iter().map(|_| OnceLock::new()).collect();
        // The head is as large as several layers, and so the first.
        team.run(blocks.len() + 1, &|item, _| match item.checked_sub(1) {
            None => _ = head.set(self.head(embedding)),
            Some(layer) => _ = blocks[layer].set(self.block(layer)),
        });
        let done = "a team does every item";
        let blocks = blocks.into_iter().map(|block| block.into_inner().expect(done));
        Ok((head.into_inner().expect(done)?, blocks.collect::<Result<_, _>>()?))
    }

    fn head(&self, embedding: &Stored) -> Result<Projection, NnError> {
        let Architecture { family, vocabulary, hidden, .. } = self.architecture;
        Ok(match self.weights.has(family, Part::Head, 0, "weight") {
            true => self.projection(&[(Part::Head, vocabulary)], 0, hidden)?,
            // The same table the other way.
            false => Projection::new(self.level, std::slice::from_ref(embedding), Vec::new()),
        })
    }

    fn block(&self, layer: usize) -> Result<Block, NnError> {
        let Architecture { hidden, feed_forward, query_heads, key_heads, head_size, .. } = self.architecture;
        let (queries, keys) = (query_heads * head_size, key_heads * head_size);
        let family = self.architecture.family;
        let has = |part| self.weights.has(family, part, layer, "weight");
        let query_key_value = match has(Part::QueryKeyValue) {
            true => vec![(Part::QueryKeyValue, queries + 2 * keys)],
            false => vec![(Part::Query, queries), (Part::Key, keys), (Part::Value, keys)],
        };
        // Where the two are in one, GGUF files have them under the name of one of them.
        let gate_up = match has(Part::Gate) {
            true => vec![(Part::Gate, feed_forward), (Part::Up, feed_forward)],
            false => vec![(Part::GateUp, 2 * feed_forward)],
        };
        let two = |parts: [Part; 2], len| {
            let [first, second] = parts.map(|part| self.norm(part, layer, len));
            Ok::<_, NnError>([first?, second?])
        };
        let after = [Part::AfterAttentionNorm, Part::AfterFeedForwardNorm];
        Ok(Block {
            attention_norm: self.norm(Part::AttentionNorm, layer, hidden)?,
            query_key_value: self.projection(&query_key_value, layer, hidden)?,
            head_norms: match self.architecture.head_norms {
                true => Some(two([Part::QueryNorm, Part::KeyNorm], head_size)?),
                false => None,
            },
            attention_output: self.projection(&[(Part::AttentionOutput, hidden)], layer, queries)?,
            norms_after: if self.architecture.norms_after { Some(two(after, hidden)?) } else { None },
            feed_forward_norm: self.norm(Part::FeedForwardNorm, layer, hidden)?,
            gate_up: self.projection(&gate_up, layer, hidden)?,
            down: self.projection(&[(Part::Down, hidden)], layer, feed_forward)?,
        })
    }

    fn norm(&self, part: Part, layer: usize, len: usize) -> Result<RmsNorm, NnError> {
        let mut gain = self.weights.vector(self.architecture.family, part, layer, "weight", len)?;
        gain.iter_mut().for_each(|gain| *gain += self.architecture.norm_offset);
        Ok(RmsNorm::new(self.level, gain, self.architecture.norm_epsilon))
    }

    /// The matrices of these parts, each with so many outputs, and their biases where they have any.
    fn projection(&self, parts: &[(Part, usize)], layer: usize, inputs: usize) -> Result<Projection, NnError> {
        let family: Family = self.architecture.family;
        let matrix = |&(part, outputs): &(Part, usize)| self.weights.matrix(family, part, layer, [outputs, inputs]);
        let stored: Vec<Stored> = parts.iter().map(matrix).collect::<Result<_, _>>()?;
        let mut bias = Vec::new();
        if parts.iter().any(|(part, _)| self.weights.has(family, *part, layer, "bias")) {
            for &(part, outputs) in parts {
                match self.weights.has(family, part, layer, "bias") {
                    true => bias.extend(self.weights.vector(family, part, layer, "bias", outputs)?),
                    false => bias.resize(bias.len() + outputs, 0.0),
                }
            }
        }
        Ok(Projection::new(self.level, &stored, bias))
    }
}

impl Block {
    fn bytes(&self) -> usize {
        let norms = [&self.attention_norm, &self.feed_forward_norm].into_iter();
        let norms = norms.chain(self.head_norms.iter().flatten()).chain(self.norms_after.iter().flatten());
        let maps = [&self.query_key_value, &self.attention_output, &self.gate_up, &self.down];
        norms.map(RmsNorm::bytes).sum::<usize>() + maps.into_iter().map(Projection::bytes).sum::<usize>()
    }
}
