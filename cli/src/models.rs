//! From a model's folder to a model in the table: look, digest, load, start its threads.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use headland_batcher::{Model, ModelInfo, ModelOptions, ModelTable};
use headland_candle::CandleBackend;
use headland_nn_core::{Backend, Device, Executor, NnError};
use headland_onnx::{LibrarySearch, OnnxBackend};
use headland_package::{Format, ModelName, ModelPackage};
use headland_text::TextEncoder;

use crate::config::ModelConfig;

/// The backends, each opened when a model first needs it.
pub struct Backends {
    onnx_library: LibrarySearch,
    onnx: Option<OnnxBackend>,
    candle: CandleBackend,
}

impl Backends {
    /// Backends that look for their libraries in `data_dir` too.
    pub fn new(data_dir: &Path) -> Self {
        Backends { onnx_library: LibrarySearch::of_process(Some(data_dir)), onnx: None, candle: CandleBackend::new() }
    }

    /// The backend for `format`.
    fn for_format(&mut self, format: &Format) -> Result<&dyn Backend, NnError> {
        match format {
            Format::HuggingFaceEncoder => Ok(&self.candle),
            Format::Onnx(_) => {
                if self.onnx.is_none() {
                    self.onnx = Some(OnnxBackend::open(&self.onnx_library)?);
                }
                let onnx = self.onnx.as_ref().ok_or_else(|| NnError::runtime("the ONNX backend did not open"))?;
                Ok(onnx)
            }
        }
    }
}

/// Loads the model and puts it into the table. Blocks for as long as loading takes.
pub fn load(config: &ModelConfig, backends: &mut Backends, table: &ModelTable) -> Result<Arc<Model>> {
    let started = Instant::now();
    let package = ModelPackage::open(&config.path)?;
    let name = name_of(config, &package)?;
    let loading = || format!("model `{name}` in {}", config.path.display());
    let device = match (&config.device, &package.device) {
        (Some(device), _) => *device,
        (None, Some(device)) => device.parse().with_context(loading)?,
        (None, None) => Device::Cpu,
    };
    let digest = package.digest();
    let instances = config.instances.unwrap_or(package.instances);
    let backend = backends.for_format(&package.format).with_context(loading)?;
    let executors: Vec<Box<dyn Executor>> =
        (0..instances).map(|_| backend.load(&package.files, device)).collect::<Result<_, _>>().with_context(loading)?;
    let text = TextEncoder::open(&package.files).with_context(loading)?;
    let info = ModelInfo {
        name: name.clone(),
        version: config.version.clone().or_else(|| package.version.clone()).unwrap_or_default(),
        digest,
        backend: backend.name(),
    };
    let mut options = ModelOptions::default();
    if let Some(queue_max) = config.queue {
        options.queue_max = queue_max;
    }
    let model = Arc::new(Model::start(info, executors, text, options).with_context(loading)?);
    tracing::info!(
        model = %name,
        version = %model.info().version,
        backend = model.info().backend,
        device = %model.device(),
        memory_bytes = model.memory_bytes(),
        took_ms = started.elapsed().as_millis(),
        "model loaded"
    );
    if let Some(replaced) = table.insert(model.clone()) {
        anyhow::bail!(
            "two models are `{}:{}`; give one of them another name or version",
            name,
            replaced.info().version
        );
    }
    Ok(model)
}

/// The configured name, the package's own, or the folder's.
fn name_of(config: &ModelConfig, package: &ModelPackage) -> Result<ModelName> {
    if let Some(name) = config.name.as_ref().or(package.name.as_ref()) {
        return Ok(name.clone());
    }
    let folder = config.path.canonicalize().unwrap_or_else(|_| config.path.clone());
    let folder = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    folder.parse().with_context(|| {
        format!("the folder {} gives no usable name; load it as --model NAME=DIR", config.path.display())
    })
}
