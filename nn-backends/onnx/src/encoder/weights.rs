//! A model's tensors, found in its `model.safetensors` by name and checked against the expected shape. The bytes stay
//! where they are.

use std::borrow::Cow;

use bytes::Bytes;
use half::{bf16, f16};
use headland_nn_core::{ModelFiles, NnError};
use safetensors::{Dtype, SafeTensors};

use crate::graph::{Edge, Elem, Graph};

/// The file.
pub(crate) const FILE: &str = "model.safetensors";

/// The tensor that every family has and whose name tells the prefix of all others: folders saved from a bare model have
/// none, those saved from a model with a head have `bert.`, `roberta.` and the like.
const LANDMARK: &str = "embeddings.word_embeddings.weight";

/// The file's header.
pub(crate) struct Weights<'a> {
    file: SafeTensors<'a>,
    bytes: &'a Bytes,
    described: String,
    prefix: String,
}

/// One tensor.
pub(crate) struct Stored<'a> {
    name: String,
    elem: Elem,
    shape: Vec<usize>,
    data: &'a [u8],
    offset: usize,
}

impl<'a> Weights<'a> {
    /// Reads the file's header.
    ///
    /// # Errors
    /// [`NnError::BadModel`] when there is no such file, or its header is not one: tensors that overlap, leave gaps or lie
    /// outside the file are refused here.
    pub fn open(model: &'a ModelFiles) -> Result<Self, NnError> {
        let described = model.describe(FILE);
        let bad = |cause: &str| NnError::bad_model(format!("{described}: {cause}"));
        let bytes =
            model.get(FILE).ok_or_else(|| bad("there is no such file; only weights in safetensors format are read"))?;
        let file = SafeTensors::deserialize(bytes).map_err(|error| bad(&error.to_string()))?;
        let prefix = file.iter().find_map(|(name, _)| name.strip_suffix(LANDMARK).map(str::to_owned));
        let prefix =
            prefix.ok_or_else(|| bad(&format!("there is no tensor `{LANDMARK}`, with or without a prefix")))?;
        Ok(Weights { file, bytes, described, prefix })
    }

    /// The file itself.
    pub fn bytes(&self) -> &'a Bytes {
        self.bytes
    }

    /// The tensor `name`, which must be of this `shape` and hold floats of 16 or 32 bits.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Stored<'a>, NnError> {
        let name = format!("{}{name}", self.prefix);
        let bad = |cause: String| NnError::bad_model(format!("{}: tensor `{name}` {cause}", self.described));
        let view = self.file.tensor(&name).map_err(|_| bad("is missing".to_owned()))?;
        if view.shape() != shape {
            return Err(bad(format!("has shape {:?}, and config.json calls for {shape:?}", view.shape())));
        }
        let elem = match view.dtype() {
            Dtype::F32 => Elem::F32,
            Dtype::F16 => Elem::F16,
            Dtype::BF16 => Elem::Bf16,
            other => return Err(bad(format!("holds {other:?}; F32, F16 and BF16 are supported"))),
        };
        let data = view.data();
        let offset = data.as_ptr().addr() - self.bytes.as_ptr().addr();
        Ok(Stored { name, elem, shape: shape.to_vec(), data, offset })
    }

    /// Whether there is a tensor `name`.
    pub fn has(&self, name: &str) -> bool {
        self.file.tensor(&format!("{}{name}", self.prefix)).is_ok()
    }
}

impl Stored<'_> {
    /// What it takes in the file.
    pub fn len_bytes(&self) -> u64 {
        self.data.len() as u64
    }

    /// As a constant of `graph`, in the type it is stored in: a pointer into the file where it is aligned there.
    pub fn constant(&self, graph: &mut Graph) -> Edge {
        let size = if self.elem == Elem::F32 { 4 } else { 2 };
        if !self.data.as_ptr().addr().is_multiple_of(size) {
            return graph.constant(&self.name, self.elem, &self.shape, self.data);
        }
        graph.external(&self.name, self.elem, &self.shape, self.offset, self.data.len())
    }

    /// As a constant of `graph` in FP32. What is stored in another type is converted while the graph loads.
    pub fn constant_f32(&self, graph: &mut Graph) -> Edge {
        let stored = self.constant(graph);
        self.cast(graph, stored)
    }

    /// `edge`, which is of the type this is stored in, as FP32.
    pub fn cast(&self, graph: &mut Graph, edge: Edge) -> Edge {
        match self.elem {
            Elem::F32 => edge,
            _ => graph.cast(&edge, Elem::F32),
        }
    }

    /// Its values.
    pub fn values(&self) -> Cow<'_, [f32]> {
        let halves = || self.data.chunks_exact(2).map(|bytes| [bytes[0], bytes[1]]);
        match self.elem {
            Elem::F16 => halves().map(|bytes| f16::from_le_bytes(bytes).to_f32()).collect(),
            Elem::Bf16 => halves().map(|bytes| bf16::from_le_bytes(bytes).to_f32()).collect(),
            _ => match bytemuck::try_cast_slice(self.data) {
                Ok(values) => Cow::Borrowed(values),
                Err(_) => self.data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            },
        }
    }
}
