//! What the server and its models are.

use headland_batcher::Model;
use headland_nn_core::{DType, TensorSpec};
use headland_package::{ModelName, ModelVersion};
use headland_text::TEXT_INPUT;
use serde::Serialize;

use crate::gateway::Gateway;

#[derive(Serialize)]
pub(crate) struct ServerMetadata {
    name: &'static str,
    version: &'static str,
    extensions: &'static [&'static str],
}

pub(crate) fn server() -> ServerMetadata {
    ServerMetadata {
        name: "headland",
        version: env!("CARGO_PKG_VERSION"),
        // Only what is true: clients switch features on by this list.
        extensions: &["binary_tensor_data"],
    }
}

#[derive(Serialize)]
pub(crate) struct ModelMetadata {
    name: ModelName,
    versions: Vec<ModelVersion>,
    platform: String,
    inputs: Vec<TensorMetadata>,
    outputs: Vec<TensorMetadata>,
}

#[derive(Serialize)]
pub(crate) struct TensorMetadata {
    name: String,
    datatype: &'static str,
    shape: Vec<i64>,
}

impl From<&TensorSpec> for TensorMetadata {
    fn from(spec: &TensorSpec) -> Self {
        TensorMetadata {
            name: spec.name.clone(),
            datatype: spec.dtype.name(),
            shape: spec.dims.iter().map(headland_nn_core::Dim::as_i64).collect(),
        }
    }
}

/// A model with a tokenizer lists `text` before the raw inputs it stands for.
pub(crate) fn model(gateway: &Gateway, model: &Model) -> ModelMetadata {
    let ModelTensors { inputs, outputs } = tensors(model);
    let name = model.info().name.clone();
    let versions = gateway
        .models()
        .listed()
        .iter()
        .map(|other| other.info())
        .filter(|info| info.name == name)
        .map(|info| info.version.clone())
        .collect();
    ModelMetadata { name, versions, platform: model.info().backend.to_string(), inputs, outputs }
}

/// The tensors callers may send and get.
#[derive(Serialize)]
pub(crate) struct ModelTensors {
    pub inputs: Vec<TensorMetadata>,
    pub outputs: Vec<TensorMetadata>,
}

pub(crate) fn tensors(model: &Model) -> ModelTensors {
    let text = model.tokens_max().map(|_| TensorMetadata {
        name: TEXT_INPUT.to_owned(),
        datatype: DType::Bytes.name(),
        shape: vec![-1],
    });
    let signature = model.signature();
    ModelTensors {
        inputs: text.into_iter().chain(signature.inputs.iter().map(TensorMetadata::from)).collect(),
        outputs: signature.outputs.iter().map(TensorMetadata::from).collect(),
    }
}
