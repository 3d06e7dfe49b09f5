//! What the tests share: the fetched model, tensors, and comparing.

use std::path::{Path, PathBuf};

use headland_candle::CandleBackend;
use headland_nn_core::{
    Backend, Device, Executor, LoadOptions, NamedTensor, NnError, OutputSelection, Precision, Tensor,
};
use headland_package::folder;

pub fn load(dir: &Path) -> Result<Box<dyn Executor>, NnError> {
    load_in(dir, Precision::Full)
}

pub fn load_in(dir: &Path, precision: Precision) -> Result<Box<dyn Executor>, NnError> {
    let options = LoadOptions { precision, ..LoadOptions::one_on(Device::Cpu) };
    let executors = CandleBackend::new().load(&folder::open(dir).unwrap(), &options)?;
    Ok(executors.into_iter().next().unwrap())
}

/// The folder of all-MiniLM-L6-v2, or `None` (and a printed reason) on a machine that has not fetched it.
pub fn minilm_dir() -> Option<PathBuf> {
    let cache = std::env::var_os("HEADLAND_CACHE").map_or_else(|| PathBuf::from("../../.cache"), PathBuf::from);
    let dir = cache.join("models/all-minilm-l6-v2");
    if dir.join("model.safetensors").exists() {
        return Some(dir);
    }
    assert!(std::env::var_os("REQUIRE_MODELS").is_none(), "REQUIRE_MODELS is set and {} is not there", dir.display());
    eprintln!("skipped: {} is not there; scripts/fetch.sh brings it", dir.display());
    None
}

pub fn input(name: &str, shape: [usize; 2], values: &[i64]) -> NamedTensor {
    NamedTensor::new(name, Tensor::from_vec(shape, values.to_vec()).unwrap())
}

/// Runs `inputs` after the signature's check, as the model table does.
pub fn run(
    executor: &mut dyn Executor,
    inputs: &[NamedTensor],
    wanted: &OutputSelection,
) -> Result<Vec<NamedTensor>, NnError> {
    executor.signature().check_inputs(inputs)?;
    executor.run(inputs, wanted)
}

/// The rows of the last axis of an FP32 output.
pub fn rows(output: &NamedTensor) -> Vec<Vec<f32>> {
    let values = output.tensor.to_slice::<f32>().unwrap();
    values.chunks(*output.tensor.shape().last().unwrap()).map(<[f32]>::to_vec).collect()
}

/// The sentence embeddings for `inputs`.
pub fn sentences(executor: &mut dyn Executor, inputs: &[NamedTensor]) -> Vec<Vec<f32>> {
    rows(&run(executor, inputs, &OutputSelection::Only(vec![0])).unwrap()[0])
}

/// The largest absolute difference of two equally long rows.
pub fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
