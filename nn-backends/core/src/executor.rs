//! The two traits a backend implements: [`Backend`] turns files into an executor, [`Executor`] runs batches.

use std::sync::Arc;

use crate::{Device, ModelFiles, NnError, Signature, Tensor};

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

/// Loads models of the formats it knows.
pub trait Backend: Send + Sync {
    /// A short name for logs and metrics: `candle`, `onnx`.
    fn name(&self) -> &'static str;

    /// Loads the model onto `device`. Slow (milliseconds to minutes) and blocking.
    ///
    /// # Errors
    /// [`NnError::BadModel`] naming file and cause, [`NnError::DeviceUnavailable`] when the device is not there: a
    /// backend never runs on another device than it was asked to.
    fn load(&self, model: &ModelFiles, device: Device) -> Result<Box<dyn Executor>, NnError>;
}

/// A loaded model, owned and called by one thread.
pub trait Executor: Send {
    /// What the graph takes and gives.
    fn signature(&self) -> &Signature;

    /// Where it runs.
    fn device(&self) -> Device;

    /// Device memory it takes while idle, in bytes, as well as the backend can tell.
    fn memory_bytes(&self) -> u64;

    /// Runs one batch. The inputs have passed [`Signature::check_inputs`]; results come in the order of `wanted`.
    ///
    /// # Errors
    /// [`NnError::InvalidInput`] or [`NnError::TooLarge`] for values only the model can judge (a token id out of the
    /// vocabulary), [`NnError::Runtime`] otherwise. The executor stays usable.
    fn run(&mut self, inputs: &[NamedTensor], wanted: &OutputSelection) -> Result<Vec<NamedTensor>, NnError>;
}
