//! A request for an inference.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use headland_batcher::{Caller, Inputs};
use headland_nn_core::{NamedTensor, Tensor};
use headland_package::{ModelName, ModelVersion, Sha256Digest};
use serde::{Deserialize, Serialize};

use super::head::{Decoder, TensorHead, encode};
use super::{Frames, WireError};

/// The name under which token ids travel.
const TOKENS: &str = "tokens";

/// A request as one PoP sends it to another.
#[derive(Clone, Debug)]
pub struct InferRequest {
    /// The model.
    pub model: ModelName,
    /// Its version.
    pub version: ModelVersion,
    /// Its bytes: a version that was replaced meanwhile is another model.
    pub digest: Sha256Digest,
    /// What it is to work on.
    pub inputs: Inputs,
    /// The wanted outputs by name; what the model gives when it is not told, if there are none.
    pub outputs: Vec<String>,
    /// For whom: apps share a model fairly wherever it runs.
    pub caller: Caller,
    /// Lower runs first among the requests of one caller.
    pub priority: u8,
    /// What is left of its time when it is sent.
    pub deadline: Option<Duration>,
    /// How often it was sent before, to others.
    pub attempt: u32,
    /// Whether its answer is to come in pieces.
    pub stream: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Head<'a> {
    model: ModelName,
    version: ModelVersion,
    digest: Sha256Digest,
    inputs: Vec<TensorHead<'a>>,
    /// The lengths of token lists, where the one input is their ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tokens: Option<Vec<usize>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    outputs: Vec<Cow<'a, str>>,
    caller: Cow<'a, str>,
    weight: u32,
    #[serde(default)]
    priority: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deadline_us: Option<u64>,
    #[serde(default)]
    attempt: u32,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
}

impl InferRequest {
    /// The body that says it.
    ///
    /// # Errors
    /// When token lists are longer than any tensor.
    pub fn encode(&self) -> Result<Frames, WireError> {
        let (tensors, tokens) = match &self.inputs {
            Inputs::Tensors(tensors) => (Cow::Borrowed(tensors), None),
            Inputs::Tokens(lists) => (Cow::Owned(vec![flat(lists)?]), Some(lists.iter().map(Vec::len).collect())),
        };
        let head = Head {
            model: self.model.clone(),
            version: self.version.clone(),
            digest: self.digest,
            inputs: tensors.iter().map(|input| TensorHead::of(&input.name, &input.tensor)).collect(),
            tokens,
            outputs: self.outputs.iter().map(|name| name.as_str().into()).collect(),
            caller: (&*self.caller.name).into(),
            weight: self.caller.weight,
            priority: self.priority,
            deadline_us: self.deadline.map(|left| u64::try_from(left.as_micros()).unwrap_or(u64::MAX)),
            attempt: self.attempt,
            stream: self.stream,
        };
        Ok(encode(&head, tensors.iter().map(|input| &input.tensor)))
    }

    /// Reads a body. Its tensors are views of it.
    ///
    /// # Errors
    /// [`WireError`], with what is wrong.
    pub fn decode(body: Bytes) -> Result<Self, WireError> {
        let (head, decoder) = Decoder::head::<Head<'static>>(body)?;
        let tensors = decoder.tensors(head.inputs)?;
        let inputs = match head.tokens {
            None => Inputs::Tensors(tensors),
            Some(lengths) => Inputs::Tokens(lists(&tensors, &lengths)?),
        };
        Ok(InferRequest {
            model: head.model,
            version: head.version,
            digest: head.digest,
            inputs,
            outputs: head.outputs.into_iter().map(Cow::into_owned).collect(),
            caller: Caller { name: head.caller.into(), weight: head.weight },
            priority: head.priority,
            deadline: head.deadline_us.map(Duration::from_micros),
            attempt: head.attempt,
            stream: head.stream,
        })
    }
}

/// Token lists one after the other.
fn flat(lists: &[Vec<u32>]) -> Result<NamedTensor, WireError> {
    let ids: Vec<u32> = lists.concat();
    let tensor = Tensor::from_vec([ids.len()], ids).map_err(|_| WireError::Tokens)?;
    Ok(NamedTensor::new(TOKENS, tensor))
}

/// Token lists out of one.
fn lists(tensors: &[NamedTensor], lengths: &[usize]) -> Result<Vec<Vec<u32>>, WireError> {
    let [ids] = tensors else { return Err(WireError::Tokens) };
    let ids = ids.tensor.to_slice::<u32>().map_err(|_| WireError::Tokens)?;
    let mut rest = &*ids;
    let mut lists = Vec::with_capacity(lengths.len());
    for &length in lengths {
        let (list, behind) = rest.split_at_checked(length).ok_or(WireError::Tokens)?;
        lists.push(list.to_vec());
        rest = behind;
    }
    if rest.is_empty() { Ok(lists) } else { Err(WireError::Tokens) }
}
