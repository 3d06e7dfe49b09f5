//! Runs the committed digits model: its logits are those of Python's onnxruntime, its samples are read right.

use std::collections::BTreeMap;
use std::fs;

use crate::common::{TOLERANCE, backend, root, run};
use headland_nn_core::{Backend, Device, Executor, LoadOptions, NamedTensor, Tensor};
use headland_package::folder;
use serde::Deserialize;
use serde::de::DeserializeOwned;

#[derive(Deserialize)]
struct Golden {
    digit: usize,
    image: Vec<Vec<f32>>,
    logits: Vec<f32>,
}

#[derive(Deserialize)]
struct Sample {
    digit: usize,
    image: Vec<Vec<f32>>,
}

fn read<T: DeserializeOwned>(file: &str) -> T {
    serde_json::from_str(&fs::read_to_string(root().join("models/digits").join(file)).unwrap()).unwrap()
}

/// The model, or `None` on a machine without ONNX Runtime.
fn model() -> Option<Box<dyn Executor>> {
    let model = folder::open(&root().join("models/digits")).unwrap();
    backend()?.load(&model, &LoadOptions::one_on(Device::Cpu)).unwrap().into_iter().next()
}

fn images<'a>(images: impl Iterator<Item = &'a Vec<Vec<f32>>>) -> NamedTensor {
    let values: Vec<f32> = images.flatten().flatten().copied().collect();
    NamedTensor::new("image", Tensor::from_vec([values.len() / 64, 8, 8], values).unwrap())
}

fn digit(logits: &[f32]) -> usize {
    logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0
}

#[test]
fn logits_are_those_of_python_onnxruntime_alone_and_in_a_batch() {
    let Some(mut model) = model() else { return };
    assert_eq!(model.signature().to_string(), "image FP32[batch,8,8] -> logits FP32[batch,10]");
    let goldens: Vec<Golden> = read("goldens.json");
    let batch = run(&mut *model, &[images(goldens.iter().map(|golden| &golden.image))]).unwrap();
    let batch = batch[0].tensor.to_slice::<f32>().unwrap();
    for (golden, in_batch) in goldens.iter().zip(batch.chunks(10)) {
        let alone = run(&mut *model, &[images([&golden.image].into_iter())]).unwrap();
        for logits in [in_batch, &alone[0].tensor.to_slice::<f32>().unwrap()] {
            assert_eq!(digit(logits), golden.digit);
            let far = logits.iter().zip(&golden.logits).find(|(a, b)| f64::from((*a - *b).abs()) > TOLERANCE);
            assert!(far.is_none(), "digit {}: {far:?}", golden.digit);
        }
    }
}

#[test]
fn every_sample_picture_is_read_right() {
    let Some(mut model) = model() else { return };
    let samples: BTreeMap<String, Sample> = read("samples/expected.json");
    let outputs = run(&mut *model, &[images(samples.values().map(|sample| &sample.image))]).unwrap();
    let logits = outputs[0].tensor.to_slice::<f32>().unwrap();
    for ((name, sample), logits) in samples.iter().zip(logits.chunks(10)) {
        assert_eq!(digit(logits), sample.digit, "{name}");
    }
}
