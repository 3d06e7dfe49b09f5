//! What the tests share: the backend where ONNX Runtime is there, tensors from JSON, and comparing them.

use std::env;
use std::path::PathBuf;

use headland_nn_core::{Backend, DType, Device, Executor, LoadOptions, NamedTensor, OutputSelection, Tensor};
use headland_onnx::{LibrarySearch, OnnxBackend};
use headland_package::folder;
use serde::Deserialize;
use serde_json::Value;

/// How far a float may lie from its golden.
pub const TOLERANCE: f64 = 1e-5;

/// The workspace's root.
pub fn root() -> PathBuf {
    PathBuf::from("../..")
}

/// The backend, or `None` on a machine without ONNX Runtime.
///
/// # Panics
/// When `REQUIRE_ONNXRUNTIME` is set and the library is not there.
pub fn backend() -> Option<OnnxBackend> {
    let cache = env::var_os("HEADLAND_CACHE").map_or_else(|| root().join(".cache"), PathBuf::from);
    match OnnxBackend::open(&LibrarySearch::of_process(Some(&cache.join("onnxruntime")))) {
        Ok(backend) => Some(backend),
        Err(error) if env::var_os("REQUIRE_ONNXRUNTIME").is_some() => panic!("{error}"),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}

/// A tensor as the golden files write it.
#[derive(Deserialize)]
pub struct Golden {
    pub name: String,
    pub dtype: String,
    pub shape: Vec<usize>,
    pub data: Vec<Value>,
}

impl Golden {
    /// The tensor that this describes.
    pub fn tensor(&self) -> NamedTensor {
        let floats = || self.data.iter().map(|value| value.as_f64().unwrap());
        let shape = self.shape.clone();
        let tensor = match self.dtype.parse().unwrap() {
            DType::F32 => Tensor::from_vec(shape, floats().map(|value| value as f32).collect()),
            DType::F64 => Tensor::from_vec(shape, floats().collect()),
            DType::F16 => Tensor::from_vec(shape, floats().map(half::f16::from_f64).collect()),
            DType::I64 => Tensor::from_vec(shape, self.data.iter().map(|value| value.as_i64().unwrap()).collect()),
            DType::Bool => {
                let bytes: Vec<u8> = self.data.iter().map(|value| value.as_bool().unwrap().into()).collect();
                Tensor::new(DType::Bool, shape, bytes.into())
            }
            DType::Bytes => {
                let items: Vec<&str> = self.data.iter().map(|value| value.as_str().unwrap()).collect();
                Tensor::from_strings(shape, &items)
            }
            other => panic!("no golden has {other}"),
        };
        NamedTensor::new(self.name.as_str(), tensor.unwrap())
    }

    /// Asserts that `actual` is this, floats within [`TOLERANCE`].
    #[track_caller]
    pub fn assert_is(&self, actual: &NamedTensor) {
        let expected = self.tensor();
        assert_eq!(actual.name, expected.name);
        assert_eq!(actual.tensor.shape(), expected.tensor.shape(), "{}", self.name);
        match floats(&expected.tensor) {
            None => assert_eq!(actual.tensor, expected.tensor, "{}", self.name),
            Some(expected) => {
                let actual = floats(&actual.tensor).expect("floats");
                let far = expected.iter().zip(&actual).find(|(a, b)| (*a - *b).abs() > TOLERANCE);
                assert!(expected.len() == actual.len() && far.is_none(), "{}: {far:?}", self.name);
            }
        }
    }
}

fn floats(tensor: &Tensor) -> Option<Vec<f64>> {
    match tensor.dtype() {
        DType::F32 => Some(tensor.to_slice::<f32>().unwrap().iter().map(|&value| value.into()).collect()),
        DType::F64 => Some(tensor.to_slice::<f64>().unwrap().to_vec()),
        _ => None,
    }
}

/// Loads a graph of `test-data/onnx` onto the processor.
pub fn load(backend: &OnnxBackend, graph: &str) -> Result<Box<dyn Executor>, headland_nn_core::NnError> {
    let model = folder::open(&root().join("test-data/onnx")).unwrap().with_graph(format!("{graph}.onnx"));
    let executors = backend.load(&model, &LoadOptions::one_on(Device::Cpu))?;
    Ok(executors.into_iter().next().unwrap())
}

/// Checks the inputs and runs for every output, as the model table does.
pub fn run(executor: &mut dyn Executor, inputs: &[NamedTensor]) -> Result<Vec<NamedTensor>, headland_nn_core::NnError> {
    executor.signature().check_inputs(inputs)?;
    executor.run(inputs, &OutputSelection::All)
}
