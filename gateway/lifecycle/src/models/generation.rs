//! From the files of a language model to one that answers: decoder, tokenizer, engine.

use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;

use headland_batcher::{Model, ModelInfo};
use headland_chat::Tokens;
use headland_decoder::{CacheSize, DecoderOptions};
use headland_generation::{DEFAULT_RUNNING_MAX, Engine, EngineOptions, LanguageModel};
use headland_kernels::CacheStorage;
use headland_nn_core::{Device, ModelFiles, NnError};
use headland_package::serving::GenerationManifest;
use headland_package::{ByteSize, MANIFEST, ModelPackage};

use super::budget::Reservation;
use super::build::BuildError;
use super::settle::settle;

/// Memory for keys and values, unless the package says otherwise or fewer do.
pub const DEFAULT_KV_CACHE_BYTES: u64 = 1 << 30;

/// What runs language models, as its name appears everywhere.
pub const BACKEND: &str = "headland";

/// Memory for keys and values of a language model, in bytes; none for other models.
///
/// # Errors
/// [`BuildError`] when the files are no usable package.
pub fn cache_bytes(files: ModelFiles) -> Result<u64, BuildError> {
    let package = ModelPackage::of(files)?;
    match package.format.is_decoder() {
        true => Ok(GenerationPlan::of(&package, Device::Cpu, None)?.cache_bytes()),
        false => Ok(0),
    }
}

/// How a language model is to be loaded.
#[derive(Clone, Copy, Debug)]
pub struct GenerationPlan {
    options: DecoderOptions,
    cache: CacheSize,
    queue_max: Option<usize>,
}

impl GenerationPlan {
    /// Looks at the model's configuration.
    ///
    /// # Errors
    /// [`NnError::BadModel`] for one that is not known here; [`NnError::DeviceUnavailable`] for a GPU;
    /// [`NnError::TooLarge`] when the memory for keys and values is too small.
    pub fn of(package: &ModelPackage, device: Device, queue_max: Option<usize>) -> Result<Self, NnError> {
        if device != Device::Cpu {
            let problem = format!("language models run on the processor in this version, not on {device}; use `cpu`");
            return Err(NnError::DeviceUnavailable(problem.into()));
        }
        let GenerationManifest { max_context, kv_cache, max_streams } = package.generation;
        let options = DecoderOptions {
            threads: available_parallelism().map_or(1, NonZero::get),
            cache_bytes: kv_cache.map_or(DEFAULT_KV_CACHE_BYTES, |ByteSize(bytes)| bytes),
            sequences_max: max_streams.unwrap_or(DEFAULT_RUNNING_MAX),
            context_max: max_context,
            cache: CacheStorage::F16,
        };
        let cache = CacheSize::of(&package.files, &options)?;
        if let Some(asked) = max_context.filter(|&asked| asked > cache.context_max) {
            let problem =
                format!("{MANIFEST} says `max_context = {asked}`; the model was made for {}", cache.context_max);
            return Err(NnError::bad_model(problem));
        }
        let holds = cache.tokens();
        if holds < cache.context_max {
            let label = package.files.label();
            tracing::warn!(
                "{label}: `kv_cache` holds {holds} tokens, and the model takes {}: longer ones are refused",
                cache.context_max
            );
        }
        Ok(GenerationPlan { options, cache, queue_max })
    }

    /// Memory for keys and values, in bytes.
    pub fn cache_bytes(&self) -> u64 {
        self.cache.bytes()
    }

    /// Loads it. Blocks for as long as that takes.
    ///
    /// # Errors
    /// [`NnError::BadModel`] naming file and cause.
    pub fn build(self, info: ModelInfo, files: &ModelFiles, reservation: Arc<Reservation>) -> Result<Model, NnError> {
        let tokens = Arc::new(Tokens::open(files)?);
        let decoder = headland_decoder::load(files, &self.options)?;
        let shape = decoder.shape();
        if let Some(token) = tokens.end_tokens().iter().find(|token| **token as usize >= shape.vocabulary) {
            let problem = format!("its answers are to end with token {token}, and it has {}", shape.vocabulary);
            return Err(NnError::bad_model(problem));
        }
        reservation.correct(shape.weights_bytes.saturating_add(self.cache.bytes()));
        let mut options = EngineOptions {
            running_max: self.options.sequences_max,
            end_tokens: tokens.end_tokens().to_vec(),
            held: Some(reservation),
            ..EngineOptions::default()
        };
        options.queue_max = self.queue_max.unwrap_or(options.queue_max);
        let architecture = decoder.architecture();
        let (family, layers, width) = (architecture.family, architecture.layers.len(), architecture.hidden);
        let described = format!("{family:?}, {layers} layers of {width}, {} threads", self.options.threads);
        let engine = Engine::start(info.name.as_str(), Box::new(decoder), tokens.clone(), options)?;
        settle(files);
        Ok(Model::generating(info, engine, tokens, Device::Cpu, Some(described)))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use headland_package::folder;

    use super::*;

    #[test]
    fn keys_and_values_are_reckoned_with_before_a_language_model_is_loaded() {
        let of = |model: &str| cache_bytes(folder::open(&Path::new("../../models").join(model)).unwrap()).unwrap();
        // Those of a token, of 32 full contexts.
        assert_eq!(of("small-talk"), 2560 * 1024 * 32);
        assert_eq!(of("digits"), 0);
        assert!(cache_bytes(ModelFiles::new("nothing", [])).is_err());
    }
}
