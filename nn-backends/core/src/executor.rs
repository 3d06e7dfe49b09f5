//! The two traits a backend implements: [`Backend`] turns files into an executor, [`Executor`] runs batches.

use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::{Batching, Device, ModelFiles, NnError, Signature, Tensor};

/// A tensor with the name its graph knows it by.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Input or output name.
    pub name: Arc<str>,
    /// The tensor.
    pub tensor: Tensor,
}

impl NamedTensor {
    /// Pairs the two.
    pub fn new(name: impl Into<Arc<str>>, tensor: Tensor) -> Self {
        NamedTensor { name: name.into(), tensor }
    }
}

/// Which outputs a caller wants. What nobody wants is not computed where that saves work, and never copied.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum OutputSelection {
    /// Every output, in the signature's order.
    #[default]
    All,
    /// These positions of `Signature::outputs`, in this order, each valid.
    Only(Vec<usize>),
}

impl OutputSelection {
    /// Whether the output at `index` is wanted.
    pub fn wants(&self, index: usize) -> bool {
        match self {
            OutputSelection::All => true,
            OutputSelection::Only(wanted) => wanted.contains(&index),
        }
    }

    /// The wanted positions among `count` outputs, in the order they are to be returned.
    pub fn indices(&self, count: usize) -> Vec<usize> {
        match self {
            OutputSelection::All => (0..count).collect(),
            OutputSelection::Only(wanted) => wanted.clone(),
        }
    }
}

/// In what numbers a model computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub enum Precision {
    /// In those its weights are stored in, or better.
    #[default]
    Full,
    /// With weights of 8 bits where the backend has kernels for them. Less exact; the package asks for it.
    Int8,
}

/// How a model is to be loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Where it runs.
    pub device: Device,
    /// Executors that run side by side; as many as serve this machine best when absent.
    pub instances: Option<NonZeroUsize>,
    /// In what numbers it computes.
    pub precision: Precision,
}

impl LoadOptions {
    /// One executor on `device`.
    pub fn one_on(device: Device) -> Self {
        LoadOptions { device, instances: Some(NonZeroUsize::MIN), ..LoadOptions::default() }
    }
}

/// Loads models of the formats it knows.
pub trait Backend: Send + Sync {
    /// A short name for logs and metrics: `candle`, `onnx`.
    fn name(&self) -> &'static str;

    /// Loads the model: at least one executor, all sharing the weights where that can be. Slow (milliseconds to minutes)
    /// and blocking.
    ///
    /// # Errors
    /// [`NnError::BadModel`] naming file and cause, [`NnError::DeviceUnavailable`] when the device is not there: a
    /// backend never runs on another device than it was asked to, nor in other numbers.
    fn load(&self, model: &ModelFiles, options: &LoadOptions) -> Result<Vec<Box<dyn Executor>>, NnError>;
}

/// A loaded model, called by one thread at a time.
pub trait Executor: Send {
    /// What the graph takes and gives.
    fn signature(&self) -> &Signature;

    /// Where it runs.
    fn device(&self) -> Device;

    /// Device memory it takes while idle, in bytes, as well as the backend can tell. What several executors share, one of
    /// them counts.
    fn memory_bytes(&self) -> u64;

    /// Whether requests may share a run, as the backend knows of itself. What the model's package says goes before it.
    fn batching(&self) -> Batching;

    /// How it runs the model, where that was a choice, for people: `2 sessions of 1 thread`.
    fn describe(&self) -> Option<String> {
        None
    }

    /// Runs one batch. The inputs have passed [`Signature::check_inputs`]; results come in the order of `wanted`.
    ///
    /// # Errors
    /// [`NnError::InvalidInput`] or [`NnError::TooLarge`] for values only the model can judge (a token id out of the
    /// vocabulary), [`NnError::Runtime`] otherwise. The executor stays usable.
    fn run(&mut self, inputs: &[NamedTensor], wanted: &OutputSelection) -> Result<Vec<NamedTensor>, NnError>;
}
