//! The part that requests and answers have in common: a head before, tensors behind.

use std::borrow::Cow;

use bytes::Bytes;
use headland_nn_core::{DType, NamedTensor, Tensor};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{ALIGNMENT, Frames, HEAD_BYTES_MAX, TENSORS_MAX, WireError};

/// A tensor as a head announces it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TensorHead<'a> {
    name: Cow<'a, str>,
    dtype: Cow<'a, str>,
    shape: Vec<usize>,
    bytes: usize,
}

impl<'a> TensorHead<'a> {
    pub fn of(name: &'a str, tensor: &Tensor) -> Self {
        TensorHead {
            name: name.into(),
            dtype: tensor.dtype().name().into(),
            shape: tensor.shape().to_vec(),
            bytes: tensor.data().len(),
        }
    }
}

/// Puts a head and the bytes of what it announces together.
pub(super) fn encode<'t>(head: &impl Serialize, tensors: impl IntoIterator<Item = &'t Tensor>) -> Frames {
    let mut first = vec![0; 4];
    // Numbers, text and lists of them: nothing that JSON could refuse.
    if let Err(error) = serde_json::to_writer(&mut first, head) {
        tracing::error!(%error, "a head could not be written");
    }
    let length = u32::try_from(first.len() - 4).unwrap_or(u32::MAX);
    first[..4].copy_from_slice(&length.to_le_bytes());
    first.resize(first.len().next_multiple_of(ALIGNMENT), 0);
    let mut frames = Frames::default();
    let mut at = first.len();
    frames.push(first.into());
    for tensor in tensors {
        let gap = padding(at);
        frames.push(Bytes::from_static(&[0; ALIGNMENT]).slice(..gap));
        frames.push(tensor.data().clone());
        at = at.saturating_add(gap).saturating_add(tensor.data().len());
    }
    frames
}

/// Zeros from `at` to the next tensor.
fn padding(at: usize) -> usize {
    (ALIGNMENT - at % ALIGNMENT) % ALIGNMENT
}

/// Takes a body apart.
pub(super) struct Decoder {
    body: Bytes,
    at: usize,
}

impl Decoder {
    /// Reads the head.
    pub fn head<H: DeserializeOwned>(body: Bytes) -> Result<(H, Self), WireError> {
        let mut decoder = Decoder { body, at: 0 };
        let length = decoder.take(4)?;
        let length = length.first_chunk::<4>().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > HEAD_BYTES_MAX {
            return Err(WireError::HeadTooLong(length));
        }
        let head = decoder.take(length)?;
        let head = serde_json::from_slice(&head).map_err(|error| WireError::Head(error.to_string()))?;
        Ok((head, decoder))
    }

    /// Reads the tensors that the head announced: views of the body, to its last byte.
    pub fn tensors(mut self, heads: Vec<TensorHead<'_>>) -> Result<Vec<NamedTensor>, WireError> {
        if heads.len() > TENSORS_MAX {
            return Err(WireError::TooManyTensors(heads.len()));
        }
        let tensors = heads.into_iter().map(|head| self.tensor(head)).collect::<Result<Vec<_>, _>>()?;
        if tensors.is_empty() {
            // The zeros behind the head.
            self.take(padding(self.at).min(self.left()))?;
        }
        match self.left() {
            0 => Ok(tensors),
            left => Err(WireError::Trailing(left)),
        }
    }

    fn tensor(&mut self, head: TensorHead<'_>) -> Result<NamedTensor, WireError> {
        let bad = |name: &str, problem: String| WireError::Tensor { name: name.to_owned(), problem };
        let dtype: DType = head.dtype.parse().map_err(|error| bad(&head.name, format!("{error}")))?;
        self.take(padding(self.at))?;
        let data = self.take(head.bytes)?;
        let tensor = Tensor::new(dtype, head.shape, data).map_err(|error| bad(&head.name, error.to_string()))?;
        Ok(NamedTensor::new(&*head.name, tensor))
    }

    fn left(&self) -> usize {
        self.body.len() - self.at
    }

    fn take(&mut self, bytes: usize) -> Result<Bytes, WireError> {
        let missing = bytes.saturating_sub(self.left());
        if missing > 0 {
            return Err(WireError::Cut { missing });
        }
        let taken = self.body.slice(self.at..self.at + bytes);
        self.at += bytes;
        Ok(taken)
    }
}
