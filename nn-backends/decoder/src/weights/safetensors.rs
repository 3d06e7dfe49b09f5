//! Tensors in one or several safetensors files.

use std::collections::{BTreeMap, BTreeSet};

use ::safetensors::{Dtype, SafeTensors};
use headland_gguf::Tensor;
use headland_kernels::Storage;
use headland_nn_core::{ModelFiles, NnError};
use serde::Deserialize;

const FILE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The tensor whose name tells the prefix of all layers: `model.`, or a longer one where the model is part of another.
const LANDMARK: &str = "embed_tokens.weight";

/// All tensors of a folder, in their places.
pub(super) struct Safetensors {
    tensors: BTreeMap<String, Tensor>,
    prefix: String,
}

impl Safetensors {
    pub fn open(model: &ModelFiles) -> Result<Self, NnError> {
        let mut tensors = BTreeMap::new();
        for file in files(model)? {
            read(model, &file, &mut tensors)?;
        }
        let prefix = tensors.keys().find_map(|name| name.strip_suffix(LANDMARK));
        let prefix = prefix.map(str::to_owned).ok_or_else(|| {
            NnError::bad_model(format!("{}: there is no tensor `{LANDMARK}`, whatever its prefix", model.label()))
        })?;
        Ok(Safetensors { tensors, prefix })
    }

    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    pub fn tensor(&self, name: &str) -> Option<Tensor> {
        self.tensors.get(name).cloned()
    }
}

/// The files that have the tensors.
fn files(model: &ModelFiles) -> Result<BTreeSet<String>, NnError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let Some(index) = model.get(INDEX) else {
        return Ok([FILE.to_owned()].into());
    };
    let index: Index = serde_json::from_slice(index)
        .map_err(|error| NnError::bad_model(format!("{}: {error}", model.describe(INDEX))))?;
    Ok(index.weight_map.into_values().collect())
}

fn read(model: &ModelFiles, file: &str, tensors: &mut BTreeMap<String, Tensor>) -> Result<(), NnError> {
    let bytes = model.require(file)?;
    let bad = |problem: String| NnError::bad_model(format!("{}: {problem}", model.describe(file)));
    let parsed = SafeTensors::deserialize(bytes).map_err(|error| bad(error.to_string()))?;
    for (name, view) in parsed.tensors() {
        let storage = match view.dtype() {
            Dtype::F32 => Storage::F32,
            Dtype::F16 => Storage::F16,
            Dtype::BF16 => Storage::BF16,
            // What no decoder reads may be of any type: position buffers of old files are.
            _ => continue,
        };
        let tensor = Tensor { storage, shape: view.shape().to_vec(), bytes: bytes.slice_ref(view.data()) };
        if tensors.insert(name.clone(), tensor).is_some() {
            return Err(bad(format!("tensor `{name}` is in another file as well")));
        }
    }
    Ok(())
}
