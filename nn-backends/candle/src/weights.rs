//! A model's tensors, read out of its `model.safetensors` by name and checked against the expected shape.

use candle_core::safetensors::{Load, SliceSafetensors};
use candle_core::{DType, Device, Tensor};
use headland_nn_core::{ModelFiles, NnError};

const FILE: &str = "model.safetensors";

/// The tensor that every family has and whose name tells the prefix of all others: folders saved from a bare model have
/// none, those saved from a model with a head have `bert.`, `roberta.` and the like.
const LANDMARK: &str = "embeddings.word_embeddings.weight";

/// The file's header, and how far the tensors were read. The file is needed only while a model loads: candle's tensors
/// own their memory.
pub(crate) struct Weights<'a> {
    file: SliceSafetensors<'a>,
    described: String,
    prefix: String,
    loaded_bytes: u64,
}

impl<'a> Weights<'a> {
    /// Reads the file's header.
    pub fn open(model: &'a ModelFiles) -> Result<Self, NnError> {
        let described = model.describe(FILE);
        let bad = |cause: &str| NnError::bad_model(format!("{described}: {cause}"));
        let bytes =
            model.get(FILE).ok_or_else(|| bad("there is no such file; only weights in safetensors format are read"))?;
        let file = SliceSafetensors::new(bytes).map_err(|error| bad(&cause(&error)))?;
        let prefix = file.tensors().iter().find_map(|(name, _)| name.strip_suffix(LANDMARK).map(str::to_owned));
        let prefix =
            prefix.ok_or_else(|| bad(&format!("there is no tensor `{LANDMARK}`, with or without a prefix")))?;
        Ok(Weights { file, described, prefix, loaded_bytes: 0 })
    }

    /// The tensor `name` as FP32 of this `shape`.
    pub fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, NnError> {
        let name = format!("{}{name}", self.prefix);
        let bad = |cause: String| NnError::bad_model(format!("{}: tensor `{name}` {cause}", self.described));
        let view = self.file.get(&name).map_err(|_| bad("is missing".to_owned()))?;
        if view.shape() != shape {
            return Err(bad(format!("has shape {:?}, and config.json calls for {shape:?}", view.shape())));
        }
        let tensor = view.load(&Device::Cpu).and_then(|tensor| tensor.to_dtype(DType::F32));
        let tensor = tensor.map_err(|error| bad(format!("cannot be read: {}", cause(&error))))?;
        self.loaded_bytes += (tensor.elem_count() * size_of::<f32>()) as u64;
        Ok(tensor)
    }

    /// Whether there is a tensor `name`.
    pub fn has(&self, name: &str) -> bool {
        self.file.get(&format!("{}{name}", self.prefix)).is_ok()
    }

    /// Bytes of all tensors given out so far, in memory.
    pub fn loaded_bytes(&self) -> u64 {
        self.loaded_bytes
    }
}

/// The cause alone: candle wraps it in the path, which the caller names, and, when backtraces are on, in one of those.
fn cause(error: &candle_core::Error) -> String {
    match error {
        candle_core::Error::WithPath { inner, .. } | candle_core::Error::WithBacktrace { inner, .. } => cause(inner),
        error => error.to_string(),
    }
}
