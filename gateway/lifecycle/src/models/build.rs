//! From a model's files to a model that answers: format, backend, executors, tokenizer, threads.

use std::num::NonZeroUsize;
use std::sync::Arc;

use headland_batcher::{BatchOptions, DEFAULT_QUEUE_MAX, Model, ModelInfo, ModelOptions};
use headland_nn_core::{Backend, Device, Executor, LoadOptions, ModelFiles, NnError, Precision};
use headland_package::serving::BackendChoice;
use headland_package::{Format, ModelName, ModelPackage, ModelVersion, PackageError, Sha256Digest};
use headland_text::TextEncoder;

use crate::models::budget::Reservation;
use crate::models::contest::{self, Contestant, Loss, Results};
use crate::models::generation::{self, GenerationPlan};
use crate::models::settle::settle;

/// The backends there are. Opening one may fail when its library is not there, so it happens when a model needs it.
pub trait Backends: Send + Sync {
    /// The backends that may run `format`, as far as `choice` leaves it open; at least one, the preferred one first.
    ///
    /// # Errors
    /// When the only one cannot be opened; the message says what is missing and how to get it.
    fn candidates(&self, format: &Format, choice: BackendChoice) -> Result<Vec<Arc<dyn Backend>>, NnError>;

    /// The one of them that is called `name`, if there is one. The others need not be opened for it.
    fn candidate(&self, format: &Format, choice: BackendChoice, name: &str) -> Option<Arc<dyn Backend>>;

    /// Where the results of contests between them are kept.
    fn results(&self) -> &Results;
}

/// What whoever loads a model decides about it, over what its package says.
#[derive(Clone, Debug, Default)]
pub struct ServeOptions {
    /// Where to run it; what the package asks for, or else the CPU, when absent.
    pub device: Option<Device>,
    /// Executors to run it on.
    pub instances: Option<NonZeroUsize>,
    /// Requests that may wait for it.
    pub queue_max: Option<usize>,
}

/// A model that cannot be made of these files.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The files are no usable package.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// A backend refuses them.
    #[error(transparent)]
    Backend(#[from] NnError),
    /// What 8-bit weights lose is more than the package allows.
    #[error(
        "with 8-bit weights the least cosine to the full ones is {least:.4}, and the package asks for {min}; leave out \
         `precision = \"int8\"`, or lower `precision_cosine_min`"
    )]
    TooLossy {
        /// The least cosine measured.
        least: f32,
        /// The least that is allowed.
        min: f32,
    },
    /// The package asks for a device that is written wrong.
    #[error("its headland.model.toml asks for a device there cannot be")]
    Device(#[from] headland_nn_core::ParseDeviceError),
}

/// A package that is ready to be built, and where it is to run.
pub struct Plan {
    /// The package.
    pub package: ModelPackage,
    /// Where.
    pub device: Device,
    /// On how many executors; the backend knows best when absent.
    pub instances: Option<NonZeroUsize>,
    queue_max: Option<usize>,
    /// How it answers, if it is a language model.
    generation: Option<GenerationPlan>,
}

impl Plan {
    /// Looks through `files` and decides where and how they are to run.
    ///
    /// # Errors
    /// [`BuildError`] when they are no usable package.
    pub fn of(files: ModelFiles, options: &ServeOptions) -> Result<Self, BuildError> {
        let package = ModelPackage::of(files)?;
        let device = match (&options.device, &package.device) {
            (Some(device), _) => *device,
            (None, Some(device)) => device.parse()?,
            (None, None) => Device::Cpu,
        };
        let instances = options.instances.or(package.instances);
        let queue_max = options.queue_max;
        let generation = match package.format.is_decoder() {
            true => Some(GenerationPlan::of(&package, device, queue_max)?),
            false => None,
        };
        Ok(Plan { package, device, instances, queue_max, generation })
    }

    /// Memory it will take, in bytes, as well as that can be told before: executors share the weights.
    pub fn memory_bytes(&self) -> u64 {
        let weights =
            |path: &str| [".safetensors", ".onnx", ".gguf", ".bin", ".data"].iter().any(|end| path.ends_with(end));
        let files = self.package.files.iter().filter(|(path, _)| weights(path));
        let bytes: u64 = files.map(|(_, bytes)| bytes.len() as u64).sum();
        bytes.saturating_add(self.cache_bytes())
    }

    /// Memory it will take for keys and values, in bytes, if it is a language model.
    pub fn cache_bytes(&self) -> u64 {
        self.generation.map_or(0, |generation| generation.cache_bytes())
    }

    /// Loads it. Blocks for as long as that takes. `reservation` is corrected by what it came to, and lives as long as the
    /// executors.
    ///
    /// # Errors
    /// [`BuildError::Backend`], naming file and cause.
    pub fn build(
        self,
        name: ModelName,
        version: ModelVersion,
        digest: Sha256Digest,
        backends: &dyn Backends,
        reservation: Arc<Reservation>,
    ) -> Result<Model, BuildError> {
        if let Some(generation) = self.generation {
            let info = ModelInfo { name, version, digest, backend: generation::BACKEND.into() };
            return Ok(generation.build(info, &self.package.files, reservation)?);
        }
        let text = TextEncoder::open(&self.package.files)?;
        let (Contestant { backend, executors }, loss) = self.load(backends, &digest, text.as_ref())?;
        let info = ModelInfo { name, version, digest, backend: backend.name().into() };
        reservation.correct(executors.iter().map(|executor| executor.memory_bytes()).sum());
        let batching = self.batching(executors.first().map(|executor| &**executor))?;
        let options = ModelOptions {
            queue_max: self.queue_max.unwrap_or(DEFAULT_QUEUE_MAX),
            batching,
            cache_bytes_max: self.package.cache_bytes_max,
            remark: loss.map(|Loss { least, mean }| {
                format!("cosine to full weights {mean:.4} on average, {least:.4} at least")
            }),
            held: Some(reservation),
        };
        settle(&self.package.files);
        Ok(Model::start(info, executors, text, options)?)
    }

    /// The executors, by the backend that is quickest here, and what 8-bit weights lose where they were asked for.
    fn load(
        &self,
        backends: &dyn Backends,
        digest: &Sha256Digest,
        text: Option<&TextEncoder>,
    ) -> Result<(Contestant, Option<Loss>), BuildError> {
        let (files, precision) = (&self.package.files, self.package.precision);
        let options = LoadOptions { device: self.device, instances: self.instances, precision };
        let key = contest::key(digest, &options);
        let mut chosen = match self.winner(backends, &key, &options) {
            Some(winner) => winner,
            None => self.chosen(backends, key, &options, text)?,
        };
        if precision == Precision::Full {
            return Ok((chosen, None));
        }
        let (Some(text), Some(executor)) = (text, chosen.executors.first_mut()) else {
            let problem =
                "`precision = \"int8\"` needs a tokenizer.json: what 8-bit weights lose is measured with texts";
            return Err(NnError::bad_model(problem).into());
        };
        let loss = contest::loss(&*chosen.backend, executor.as_mut(), files, &options, text)?;
        let min = self.package.precision_cosine_min;
        if loss.least < min {
            return Err(BuildError::TooLossy { least: loss.least, min });
        }
        Ok((chosen, Some(loss)))
    }

    /// What won the contest when it was held. One that cannot load the model any more has not won.
    fn winner(&self, backends: &dyn Backends, key: &str, options: &LoadOptions) -> Option<Contestant> {
        let name = backends.results().winner(key).filter(|_| self.package.backend == BackendChoice::Auto)?;
        let backend = backends.candidate(&self.package.format, self.package.backend, &name)?;
        Some(Contestant { executors: backend.load(&self.package.files, options).ok()?, backend })
    }

    /// The quickest of those that may run it.
    fn chosen(
        &self,
        backends: &dyn Backends,
        key: String,
        options: &LoadOptions,
        text: Option<&TextEncoder>,
    ) -> Result<Contestant, BuildError> {
        let files = &self.package.files;
        let candidates = backends.candidates(&self.package.format, self.package.backend)?;
        match (&candidates[..], text) {
            ([_, _, ..], Some(text)) => {
                let chosen = contest::quickest(candidates, files, options, text)?;
                backends.results().keep(key, chosen.backend.name());
                Ok(chosen)
            }
            // Without texts there is nothing to measure with: the preferred one.
            ([first, ..], _) => Ok(Contestant { executors: first.load(files, options)?, backend: first.clone() }),
            ([], _) => Err(NnError::bad_model("no backend runs models of this format").into()),
        }
    }

    /// What the package says of batching, held against the graph.
    fn batching(&self, executor: Option<&dyn Executor>) -> Result<BatchOptions, BuildError> {
        let manifest = &self.package.batching;
        let axes = match executor {
            Some(executor) => manifest.axes(executor.signature()).map_err(NnError::bad_model)?,
            None => None,
        };
        Ok(BatchOptions {
            off: !manifest.enabled,
            axes,
            rows_max: manifest.max_rows,
            cells_max: manifest.max_tokens,
            preferred: manifest.preferred_rows.clone(),
            delay_max: manifest.delay_max(),
        })
    }
}
