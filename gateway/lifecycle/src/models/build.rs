//! From a model's files to a model that answers: format, backend, executors, tokenizer, threads.

use std::num::NonZeroUsize;
use std::sync::Arc;

use headland_batcher::{Model, ModelInfo, ModelOptions};
use headland_nn_core::{Backend, Device, LoadOptions, ModelFiles, NnError, Precision};
use headland_package::{Format, ModelName, ModelPackage, ModelVersion, PackageError, Sha256Digest};
use headland_text::TextEncoder;

use crate::models::budget::Reservation;

/// The backends there are. Opening one may fail when its library is not there, so it happens when a model needs it.
pub trait Backends: Send + Sync {
    /// The backend for `format`.
    ///
    /// # Errors
    /// When it cannot be opened; the message says what is missing and how to get it.
    fn for_format(&self, format: &Format) -> Result<Arc<dyn Backend>, NnError>;
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
        Ok(Plan { package, device, instances, queue_max: options.queue_max })
    }

    /// Memory it will take, in bytes, as well as that can be told before: executors share the weights.
    pub fn memory_bytes(&self) -> u64 {
        let weights =
            |path: &str| [".safetensors", ".onnx", ".gguf", ".bin", ".data"].iter().any(|end| path.ends_with(end));
        let files = self.package.files.iter().filter(|(path, _)| weights(path));
        let bytes: u64 = files.map(|(_, bytes)| bytes.len() as u64).sum();
        bytes
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
        let backend = backends.for_format(&self.package.format)?;
        let options = LoadOptions { device: self.device, instances: self.instances, precision: Precision::default() };
        let executors = backend.load(&self.package.files, &options)?;
        let text = TextEncoder::open(&self.package.files)?;
        let info = ModelInfo { name, version, digest, backend: backend.name() };
        reservation.correct(executors.iter().map(|executor| executor.memory_bytes()).sum());
        let mut options = ModelOptions { held: Some(reservation), ..ModelOptions::default() };
        options.queue_max = self.queue_max.unwrap_or(options.queue_max);
        Ok(Model::start(info, executors, text, options)?)
    }
}
