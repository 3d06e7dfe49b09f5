//! What a PoP says of a model it has, so that the model can be described elsewhere.

use std::borrow::Cow;

use headland_batcher::{Described, ModelInfo};
use headland_nn_core::{Dim, MAX_RANK, Signature, TensorSpec};
use headland_package::{ModelName, ModelVersion, Sha256Digest};
use serde::{Deserialize, Serialize};

use super::{HEAD_BYTES_MAX, TENSORS_MAX, WireError};

/// Longest name of a backend.
const BACKEND_CHARS_MAX: usize = 64;

#[derive(Debug, Serialize, Deserialize)]
struct Head<'a> {
    name: ModelName,
    version: ModelVersion,
    digest: Sha256Digest,
    backend: Cow<'a, str>,
    device: String,
    inputs: Vec<SpecHead<'a>>,
    outputs: Vec<SpecHead<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tokens_max: Option<usize>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SpecHead<'a> {
    name: Cow<'a, str>,
    dtype: Cow<'a, str>,
    dims: Vec<DimHead>,
    #[serde(default)]
    optional: bool,
}

/// An extent, a name, or nothing known.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum DimHead {
    Fixed(usize),
    Named(String),
    Any(()),
}

/// Describes a model, as JSON.
pub fn encode_description(described: &Described) -> Vec<u8> {
    let Described { info, signature, device, tokens_max } = described;
    let head = Head {
        name: info.name.clone(),
        version: info.version.clone(),
        digest: info.digest,
        backend: (&*info.backend).into(),
        device: device.to_string(),
        inputs: signature.inputs.iter().map(SpecHead::of).collect(),
        outputs: signature.outputs.iter().map(SpecHead::of).collect(),
        tokens_max: *tokens_max,
    };
    serde_json::to_vec(&head).unwrap_or_default()
}

/// Reads a description.
///
/// # Errors
/// [`WireError`], with what is wrong.
pub fn decode_description(body: &[u8]) -> Result<Described, WireError> {
    if body.len() > HEAD_BYTES_MAX {
        return Err(WireError::HeadTooLong(body.len()));
    }
    let head: Head<'_> = serde_json::from_slice(body).map_err(|error| WireError::Head(error.to_string()))?;
    let backend: String = head.backend.chars().take(BACKEND_CHARS_MAX).collect();
    Ok(Described {
        info: ModelInfo { name: head.name, version: head.version, digest: head.digest, backend: backend.into() },
        signature: Signature { inputs: specs(head.inputs)?, outputs: specs(head.outputs)? },
        device: head.device.parse().map_err(|error| WireError::Head(format!("{error}")))?,
        tokens_max: head.tokens_max,
    })
}

impl<'a> SpecHead<'a> {
    fn of(spec: &'a TensorSpec) -> Self {
        let dim = |dim: &Dim| match dim {
            Dim::Fixed(extent) => DimHead::Fixed(*extent),
            Dim::Dynamic(Some(name)) => DimHead::Named(name.clone()),
            Dim::Dynamic(None) => DimHead::Any(()),
        };
        SpecHead {
            name: spec.name.as_str().into(),
            dtype: spec.dtype.name().into(),
            dims: spec.dims.iter().map(dim).collect(),
            optional: spec.optional,
        }
    }
}

fn specs(heads: Vec<SpecHead<'_>>) -> Result<Vec<TensorSpec>, WireError> {
    if heads.len() > TENSORS_MAX {
        return Err(WireError::TooManyTensors(heads.len()));
    }
    heads.into_iter().map(spec).collect()
}

fn spec(head: SpecHead<'_>) -> Result<TensorSpec, WireError> {
    let bad = |problem: String| WireError::Tensor { name: head.name.clone().into_owned(), problem };
    if head.dims.len() > MAX_RANK {
        return Err(bad(format!("it has {} dimensions; at most {MAX_RANK} are supported", head.dims.len())));
    }
    let dtype = head.dtype.parse().map_err(|error| bad(format!("{error}")))?;
    let dim = |dim: DimHead| match dim {
        DimHead::Fixed(extent) => Dim::Fixed(extent),
        DimHead::Named(name) => Dim::Dynamic(Some(name)),
        DimHead::Any(()) => Dim::Dynamic(None),
    };
    let dims = head.dims.into_iter().map(dim).collect();
    Ok(TensorSpec { name: head.name.into_owned(), dtype, dims, optional: head.optional })
}
