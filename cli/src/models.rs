//! The models an operator names: from a folder to a model in the table. Those that were pushed come by the registry.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result};
use bytes::Bytes;
use headland_batcher::{Model, ModelTable};
use headland_candle::CandleBackend;
use headland_fleet::{ModelKey, ModelRecord};
use headland_lifecycle::models::budget::Budget;
use headland_lifecycle::models::build::{Backends, Plan, ServeOptions};
use headland_lifecycle::models::contest::Results;
use headland_nn_core::{Backend, ModelFiles, NnError};
use headland_onnx::{LibrarySearch, OnnxBackend};
use headland_package::serving::BackendChoice;
use headland_package::{Format, ModelName, ModelPackage, ModelVersion, folder};
use headland_trust::{Artifact, Policy, Verified};

use crate::config::ModelConfig;

/// Where it is kept which backend was quicker for a model, in the data directory.
const RESULTS: &str = "backends.json";

/// The backends of this binary, each opened when a model first needs it.
pub struct BuiltIn {
    onnx_library: LibrarySearch,
    onnx: Mutex<Option<OnnxBackend>>,
    results: Results,
}

impl BuiltIn {
    /// Backends that look for their libraries in `data_dir` too.
    pub fn new(data_dir: &Path) -> Self {
        BuiltIn {
            onnx_library: LibrarySearch::of_process(Some(data_dir)),
            onnx: Mutex::default(),
            results: Results::open(Some(data_dir.join(RESULTS))),
        }
    }

    fn onnx(&self) -> Result<Arc<dyn Backend>, NnError> {
        let mut opened = self.onnx.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(onnx) = &*opened {
            return Ok(Arc::new(onnx.clone()));
        }
        let onnx = OnnxBackend::open(&self.onnx_library)?;
        *opened = Some(onnx.clone());
        Ok(Arc::new(onnx))
    }
}

impl Backends for BuiltIn {
    fn candidates(&self, format: &Format, choice: BackendChoice) -> Result<Vec<Arc<dyn Backend>>, NnError> {
        let candle = || -> Arc<dyn Backend> { Arc::new(CandleBackend::new()) };
        match (format, choice) {
            (Format::HuggingFaceEncoder, BackendChoice::Candle) => Ok(vec![candle()]),
            (Format::HuggingFaceEncoder, BackendChoice::Auto) => {
                // Where ONNX Runtime is not installed there is no choice to make.
                let onnx = self.onnx().inspect_err(|error| tracing::debug!(%error, "candle runs alone"));
                Ok(std::iter::once(candle()).chain(onnx.ok()).collect())
            }
            (Format::HuggingFaceEncoder | Format::Onnx(_), BackendChoice::Onnx)
            | (Format::Onnx(_), BackendChoice::Auto) => Ok(vec![self.onnx()?]),
            // Lifecycle has the one thing that runs them.
            (Format::HuggingFaceDecoder | Format::Gguf(_), _) => {
                Err(NnError::bad_model("a language model has no executors"))
            }
            (Format::Onnx(graph), BackendChoice::Candle) => Err(NnError::bad_model(format!(
                "{graph}: candle runs no ONNX graphs; leave out `backend = \"candle\"`"
            ))),
        }
    }

    fn candidate(&self, format: &Format, choice: BackendChoice, name: &str) -> Option<Arc<dyn Backend>> {
        match (format, choice, name) {
            // ONNX Runtime takes 20 MB from when it is opened, and is of no use to who runs on candle.
            (Format::HuggingFaceEncoder, BackendChoice::Auto, CandleBackend::NAME) => {
                Some(Arc::new(CandleBackend::new()))
            }
            _ => self.candidates(format, choice).ok()?.into_iter().find(|backend| backend.name() == name),
        }
    }

    fn results(&self) -> &Results {
        &self.results
    }
}

/// What loading a folder takes.
pub struct FolderLoader<'a> {
    /// What runs models.
    pub backends: &'a BuiltIn,
    /// Whose signatures count; without one, whoever named the folder answers for it.
    pub policy: Option<&'a Policy>,
    /// Where this gateway stands; empty where the operator does not say.
    pub region: &'a str,
    /// The memory models share.
    pub budget: &'a Arc<Budget>,
    /// Where loaded models go.
    pub table: &'a ModelTable,
}

impl FolderLoader<'_> {
    /// Loads the model and puts it into the table; what a fleet is told of it comes with it. Blocks for as long as loading takes.
    pub fn load(&self, config: &ModelConfig) -> Result<(Arc<Model>, ModelRecord)> {
        let started = Instant::now();
        let package = ModelPackage::open(&config.path)?;
        let name = name_of(config, &package)?;
        let version = config.version.clone().or_else(|| package.version.clone()).unwrap_or_default();
        let loading = || format!("model `{name}` in {}", config.path.display());
        let files = admit(config, &name, &version, package.files, self.policy).with_context(loading)?;
        let options = ServeOptions {
            device: config.device,
            instances: config.instances.and_then(NonZeroUsize::new),
            queue_max: config.queue,
        };
        let plan = files.try_map(|files| Plan::of(files, &options)).with_context(loading)?;
        let (evidence, device) = (plan.evidence(), plan.get().device);
        if !evidence.allows_device(&device.to_string()) || !evidence.allows_region(self.region) {
            anyhow::bail!("{}: the policy does not let it run here on {device}; {evidence}", loading());
        }
        let package = &plan.get().package;
        let digest = package.digest();
        let bytes = package.files.iter().map(|(_, file)| file.len() as u64).sum();
        let needs = package.placement.clone().into();
        let key = ModelKey { name: name.clone(), version: version.clone() };
        // It has no manifest of a registry; what it is, its digest says.
        let cache_bytes = plan.get().cache_bytes();
        let record = ModelRecord { key, manifest: digest, digest, bytes, cache_bytes, needs };
        let reservation =
            Arc::new(self.budget.reserve(plan.get().device, plan.get().memory_bytes()).with_context(loading)?);
        let model = plan
            .try_map(|plan| plan.build(name.clone(), version, digest, self.backends, reservation).map(Arc::new))
            .with_context(loading)?;
        let loaded = model.get().clone();
        tracing::info!(
            model = %name,
            version = %loaded.info().version,
            backend = &*loaded.info().backend,
            device = %loaded.device(),
            memory_bytes = loaded.memory_bytes(),
            took_ms = started.elapsed().as_millis(),
            "model loaded; {}",
            model.evidence()
        );
        if let Some(replaced) = self.table.insert(model) {
            anyhow::bail!("two models are `{}`; give one of them another name or version", replaced.info());
        }
        Ok((loaded, record))
    }
}

/// The files, as the policy admits them.
pub fn admit(
    config: &ModelConfig,
    name: &ModelName,
    version: &ModelVersion,
    files: ModelFiles,
    policy: Option<&Policy>,
) -> Result<Verified<ModelFiles>> {
    let label = files.label().to_owned();
    let Some(policy) = policy else {
        return Ok(Verified::named_by_operator(files, format!("--model {}", config.path.display())));
    };
    let signature = match std::fs::read(config.path.join(folder::SIGNATURE)) {
        Ok(signature) => vec![signature],
        // A model that is one file has no place for a signature.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Vec::new(),
        Err(error) => return Err(error).with_context(|| format!("reading its {}", folder::SIGNATURE)),
    };
    let files: BTreeMap<String, Bytes> = files.iter().map(|(path, bytes)| (path.to_owned(), bytes.clone())).collect();
    let verified = policy.verify_model(&Artifact::model(name, version), files, &signature, SystemTime::now())?;
    for warning in &verified.evidence().warnings {
        tracing::warn!(model = %name, "admitted although {warning}");
    }
    Ok(verified.map(|files| ModelFiles::new(label, files)))
}

/// The configured name, the package's own, or the folder's.
fn name_of(config: &ModelConfig, package: &ModelPackage) -> Result<ModelName> {
    if let Some(name) = config.name.as_ref().or(package.name.as_ref()) {
        return Ok(name.clone());
    }
    name_of_path(&config.path)
}

/// The name of a model's folder, or of its one file.
pub fn name_of_path(path: &Path) -> Result<ModelName> {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = name.strip_suffix(folder::GGUF).unwrap_or(&name);
    name.parse().with_context(|| format!("{} gives no usable name; load it as --model NAME=DIR", path.display()))
}
