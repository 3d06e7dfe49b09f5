//! A model's tensors, read out of its `model.safetensors` by name and checked against the expected shape.

use bytes::Bytes;
use candle_core::safetensors::{Load, SliceSafetensors};
use candle_core::{DType, Device};
use headland_nn_core::{ModelFiles, NnError};

const FILE: &str = "model.safetensors";

/// The tensor that every family has and whose name tells the prefix of all others: folders saved from a bare model have
/// none, those saved from a model with a head have `bert.`, `roberta.` and the like.
const LANDMARK: &str = "embeddings.word_embeddings.weight";

/// The file's header. The file itself stays in memory only as far as [`Floats`] lie in it.
pub(crate) struct Weights<'a> {
    bytes: &'a Bytes,
    file: SliceSafetensors<'a>,
    described: String,
    prefix: String,
}

/// A tensor's elements as FP32.
pub(crate) enum Floats {
    /// As they lie in the file, little-endian and aligned or not.
    InFile(Bytes),
    /// Converted from another type.
    InMemory(Vec<f32>),
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
        Ok(Weights { bytes, file, described, prefix })
    }

    /// The tensor `name` of this `shape`, left where it is if it can be.
    pub fn floats(&self, name: &str, shape: &[usize]) -> Result<Floats, NnError> {
        let name = format!("{}{name}", self.prefix);
        let bad = |cause: String| NnError::bad_model(format!("{}: tensor `{name}` {cause}", self.described));
        let view = self.file.get(&name).map_err(|_| bad("is missing".to_owned()))?;
        if view.shape() != shape {
            return Err(bad(format!("has shape {:?}, and config.json calls for {shape:?}", view.shape())));
        }
        if DType::try_from(view.dtype()).is_ok_and(|dtype| dtype == DType::F32) {
            return Ok(Floats::InFile(self.bytes.slice_ref(view.data())));
        }
        let tensor = view.load(&Device::Cpu).and_then(|tensor| tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1());
        tensor.map(Floats::InMemory).map_err(|error| bad(format!("cannot be read: {}", cause(&error))))
    }

    /// The tensor `name` of this `shape`, copied.
    pub fn copied(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, NnError> {
        Ok(match self.floats(name, shape)? {
            Floats::InFile(bytes) => little_endian(&bytes).collect(),
            Floats::InMemory(floats) => floats,
        })
    }

    /// Whether there is a tensor `name`.
    pub fn has(&self, name: &str) -> bool {
        self.file.get(&format!("{}{name}", self.prefix)).is_ok()
    }
}

impl Floats {
    /// Adds row `index`, as wide as `out`, to `out`. Panics when there is none.
    pub fn add_row(&self, index: usize, out: &mut [f32]) {
        let row = index * out.len()..(index + 1) * out.len();
        match self {
            Floats::InFile(bytes) => {
                let row = &bytes[row.start * size_of::<f32>()..row.end * size_of::<f32>()];
                out.iter_mut().zip(little_endian(row)).for_each(|(out, value)| *out += value);
            }
            Floats::InMemory(floats) => out.iter_mut().zip(&floats[row]).for_each(|(out, value)| *out += value),
        }
    }

    /// Bytes of all elements.
    pub fn bytes(&self) -> usize {
        match self {
            Floats::InFile(bytes) => bytes.len(),
            Floats::InMemory(floats) => size_of_val(&**floats),
        }
    }
}

fn little_endian(bytes: &[u8]) -> impl Iterator<Item = f32> {
    let (elements, _) = bytes.as_chunks();
    elements.iter().map(|&element| f32::from_le_bytes(element))
}

/// The cause alone: candle wraps it in the path, which the caller names, and, when backtraces are on, in one of those.
fn cause(error: &candle_core::Error) -> String {
    match error {
        candle_core::Error::WithPath { inner, .. } | candle_core::Error::WithBacktrace { inner, .. } => cause(inner),
        error => error.to_string(),
    }
}
