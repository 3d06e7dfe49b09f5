//! From a model's files to a session on the device that was asked for.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;

use headland_nn_core::{Backend, Device, Executor, LoadOptions, ModelFiles, NnError, Precision};
use ort::ep;
use ort::session::Session;
use ort::session::builder::{AutoDevicePolicy, GraphOptimizationLevel, SessionBuilder};

use crate::executor::{LoadedGraph, OnnxExecutor};
use crate::external::External;
use crate::runtime::Runtime;
use crate::session::SharedSession;
use crate::{LibrarySearch, OpenError, axes, encoder, layout, sample, signature, weights};

/// The graph file where nothing else names one.
const DEFAULT_GRAPH: &str = "model.onnx";

/// Where ONNX Runtime looks for weights that it was not handed, such as those that only a branch of the graph names: its
/// default is the working directory, where nothing was verified. Below a device there is nothing and never will be.
const NO_FOLDER: &str = "/dev/null/nothing-but-the-model";

/// How sessions are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnnxOptions {
    /// Threads that share one operator's work on the processor, the caller's own included. `None` leaves it to the
    /// number of executors: together they take as many as the process may use.
    pub intra_threads: Option<NonZeroUsize>,
}

/// What a session is made for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To run for as long as the model is loaded: what takes time while loading and saves time while running is done.
    Serve,
    /// The same for inputs of ever new shapes. ONNX Runtime lays out a run's memory for each shape it sees and keeps that,
    /// which saves nothing where a shape hardly comes again: batches of texts were measured up to a third slower.
    ServeAnyShape,
    /// To run once.
    RunOnce,
}

/// Why there is no session.
pub(crate) enum SessionError {
    /// Because of the device or the library.
    Nn(NnError),
    /// Because of the graph.
    Graph(String),
}

impl SessionError {
    /// The error where the graph was that of the file `described`.
    pub fn of_model(self, described: &str) -> NnError {
        match self {
            SessionError::Nn(error) => error,
            SessionError::Graph(cause) => NnError::bad_model(format!("{described}: {cause}")),
        }
    }
}

/// Loads ONNX graphs, and text encoders whose graph it writes itself. Cheap to clone; all clones share one library and
/// environment.
#[derive(Clone)]
pub struct OnnxBackend {
    runtime: Runtime,
    options: OnnxOptions,
}

impl OnnxBackend {
    /// Finds and opens the ONNX Runtime library, with default options.
    ///
    /// A process has one ONNX Runtime: once a library is open, later calls return it whatever they search for.
    ///
    /// # Errors
    /// When the library is nowhere, is not usable, or is too old; the message says how to get one.
    pub fn open(search: &LibrarySearch) -> Result<Self, OpenError> {
        Ok(OnnxBackend { runtime: Runtime::open(search)?, options: OnnxOptions::default() })
    }

    /// The same backend, making sessions with `options`.
    pub fn with_options(self, options: OnnxOptions) -> Self {
        OnnxBackend { options, ..self }
    }

    /// The library in use: its path, or its bare name where the system's loader found it.
    pub fn library(&self) -> &Path {
        &self.runtime.path
    }

    pub(crate) fn options(&self) -> OnnxOptions {
        self.options
    }

    /// Threads that the process may run at once.
    pub(crate) fn cores(&self) -> usize {
        available_parallelism().map_or(1, NonZeroUsize::get)
    }

    /// A session for the graph `model`.
    pub(crate) fn session(
        &self,
        device: Device,
        threads: usize,
        purpose: Purpose,
        model: &[u8],
        external: &External<'_>,
    ) -> Result<SharedSession, SessionError> {
        let mut builder = self.builder(device, threads, purpose).map_err(SessionError::Nn)?;
        let bad = |error: ort::Error| SessionError::Graph(error.message().to_owned());
        let tensors = external.add_to(&mut builder, device == Device::Cpu).map_err(bad)?;
        let session = builder.commit_from_memory(model).map_err(bad)?;
        SharedSession::new(session, (tensors, external.bytes())).map_err(bad)
    }

    fn builder(&self, device: Device, threads: usize, purpose: Purpose) -> Result<SessionBuilder, NnError> {
        let builder = Session::builder(&self.runtime.environment)
            .map_err(NnError::runtime)
            .and_then(|builder| configure(builder, threads, purpose).map_err(NnError::runtime))?;
        match device {
            Device::Cpu => Ok(builder),
            Device::Cuda(ordinal) => self.on_cuda(builder, ordinal),
        }
    }

    /// Adds the CUDA execution provider, whose absence is an error.
    ///
    /// `session.disable_cpu_ep_fallback` stays off: ONNX Runtime itself puts what computes shapes (`Shape` and what takes its
    /// result) on the processor, because the results are needed there, and with that setting it refuses every graph that has
    /// such nodes, which is most. Operators that CUDA lacks run on the processor too, which the log says at debug level.
    fn on_cuda(&self, builder: SessionBuilder, ordinal: u32) -> Result<SessionBuilder, NnError> {
        let unavailable = |cause: &str| {
            NnError::DeviceUnavailable(
                format!(
                    "cuda:{ordinal} was asked for, but ONNX Runtime from {} cannot run on it: {cause}; use the library of \
                     the `onnxruntime-gpu` package with its CUDA and cuDNN libraries, or load the model on `cpu`",
                    self.runtime.path.display(),
                )
                .into(),
            )
        };
        let id = i32::try_from(ordinal).map_err(|_| unavailable("there is no such device number"))?;
        builder
            .with_execution_providers([ep::CUDA::default().with_device_id(id).build().error_on_failure()])
            .map_err(|error| unavailable(error.message()))
    }
}

/// The settings every session shares. Idle threads do not spin: on busy cores spinning halves the speed of everything.
/// No device but the one that was asked for is chosen behind our back, and no file is opened but those handed over.
fn configure(builder: SessionBuilder, threads: usize, purpose: Purpose) -> ort::Result<SessionBuilder> {
    let (level, prepacking) = match purpose {
        Purpose::Serve | Purpose::ServeAnyShape => (GraphOptimizationLevel::Level3, true),
        Purpose::RunOnce => (GraphOptimizationLevel::Level1, false),
    };
    Ok(builder
        .with_optimization_level(level)?
        .with_prepacking(prepacking)?
        .with_memory_pattern(purpose == Purpose::Serve)?
        .with_intra_threads(threads)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        .with_auto_device(AutoDevicePolicy::PreferCPU)?
        .with_config_entry("session.model_external_initializers_file_folder_path", NO_FOLDER)?)
}

impl Backend for OnnxBackend {
    fn name(&self) -> &'static str {
        "onnx"
    }

    fn load(&self, model: &ModelFiles, options: &LoadOptions) -> Result<Vec<Box<dyn Executor>>, NnError> {
        if model.graph().is_none() && graph_file(model).is_err() && encoder::is_encoder(model) {
            return encoder::load(self, model, options);
        }
        let path = graph_file(model)?;
        let described = model.describe(path);
        let bad = |cause: &str| NnError::bad_model(format!("{described}: {cause}"));
        if options.precision == Precision::Int8 {
            return Err(bad(
                "`precision = \"int8\"` is for text encoders in safetensors format; a graph has the numbers it was exported \
                 with, so load it in full precision, or quantize it before it is packaged",
            ));
        }
        let graph = model.require(path)?;
        let external = weights::external(model, path)?;
        let beside = External::Files(external.iter().map(|file| (&*file.location, &file.bytes)).collect());
        let make = |threads| {
            self.session(options.device, threads, Purpose::Serve, graph, &beside)
                .map_err(|error| error.of_model(&described))
        };
        let chosen = layout::choose(self, options, make, sample::run_zeros)?;
        let signature = signature::of_session(chosen.session.session()).map_err(|cause| bad(&cause))?;
        let memory_bytes = graph.len() as u64 + external.iter().map(|file| file.used_bytes).sum::<u64>();
        let graph = Arc::new(LoadedGraph {
            output_names: signature.outputs.iter().map(|output| output.name.as_str().into()).collect(),
            batching: axes::of_signature(&signature),
            signature,
            device: options.device,
            description: chosen.description,
        });
        let executor = |instance: usize| -> Box<dyn Executor> {
            let bytes = if instance == 0 { memory_bytes } else { 0 };
            Box::new(OnnxExecutor::new(chosen.session.clone(), graph.clone(), bytes))
        };
        Ok((0..chosen.instances).map(executor).collect())
    }
}

/// The graph that was named, else `model.onnx`, else the only `*.onnx` file outside of folders.
fn graph_file(model: &ModelFiles) -> Result<&str, NnError> {
    if let Some(named) = model.graph() {
        return model.require(named).map(|_| named);
    }
    if model.get(DEFAULT_GRAPH).is_some() {
        return Ok(DEFAULT_GRAPH);
    }
    let is_graph = |path: &str| path.ends_with(".onnx") && !path.contains('/');
    let graphs: Vec<&str> = model.iter().map(|(path, _)| path).filter(|path| is_graph(path)).collect();
    let label = model.label();
    match graphs[..] {
        [only] => Ok(only),
        [] => Err(NnError::bad_model(format!("{label}: there is no {DEFAULT_GRAPH} and no other *.onnx file"))),
        _ => Err(NnError::bad_model(format!("{label}: several graphs ({}); say which one to load", graphs.join(", ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_graph_is_the_named_one_then_model_onnx_then_the_only_one() {
        let found = |files: &[&str], named: Option<&str>| {
            let model = ModelFiles::new("m", files.iter().map(|file| (file.to_string(), Default::default())));
            let model = if let Some(name) = named { model.with_graph(name) } else { model };
            graph_file(&model).map(str::to_owned)
        };
        assert_eq!(found(&["a.onnx", "model.onnx"], Some("a.onnx")).unwrap(), "a.onnx");
        assert_eq!(found(&["a.onnx", "model.onnx"], None).unwrap(), "model.onnx");
        assert_eq!(found(&["a.onnx", "README.md", "old/b.onnx"], None).unwrap(), "a.onnx");
        let message = |files: &[&str], named| found(files, named).unwrap_err().to_string();
        assert!(
            message(&["a.onnx", "b.onnx"], None).ends_with("m: several graphs (a.onnx, b.onnx); say which one to load")
        );
        assert!(message(&["README.md"], None).ends_with("m: there is no model.onnx and no other *.onnx file"));
        assert!(message(&["a.onnx"], Some("b.onnx")).ends_with("m/b.onnx: there is no such file"));
    }
}
