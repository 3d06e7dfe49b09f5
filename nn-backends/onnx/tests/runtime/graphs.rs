//! Runs the graphs of `test-data/onnx` on the real ONNX Runtime.

use crate::common::{Golden, backend, load, root, run};
use bytes::Bytes;
use headland_nn_core::{Backend, DType, Device, LoadOptions, NamedTensor, NnError, OutputSelection, Tensor};
use headland_onnx::{LibrarySearch, OnnxBackend};
use headland_package::folder;
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    graph: String,
    inputs: Vec<Golden>,
    outputs: Vec<Golden>,
}

fn vector(name: &str, values: &[f32]) -> NamedTensor {
    NamedTensor::new(name, Tensor::from_vec([values.len()], values.to_vec()).unwrap())
}

fn integers(name: &str, values: &[i64]) -> NamedTensor {
    NamedTensor::new(name, Tensor::from_vec([values.len()], values.to_vec()).unwrap())
}

#[test]
fn every_graph_answers_as_python_onnxruntime_does() {
    let Some(backend) = backend() else { return };
    let goldens = std::fs::read_to_string(root().join("test-data/onnx/goldens.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_str(&goldens).unwrap();
    assert!(cases.len() >= 10);
    for case in cases {
        let mut executor = load(&backend, &case.graph).unwrap();
        let inputs: Vec<_> = case.inputs.iter().map(Golden::tensor).collect();
        let outputs = run(&mut *executor, &inputs).unwrap_or_else(|error| panic!("{}: {error}", case.graph));
        assert_eq!(outputs.len(), case.outputs.len(), "{}", case.graph);
        case.outputs.iter().zip(&outputs).for_each(|(golden, output)| golden.assert_is(output));
    }
}

#[test]
fn every_type_comes_back_as_it_went_in() {
    let Some(backend) = backend() else { return };
    for dtype in DType::ALL {
        let mut executor = load(&backend, &format!("identity_{dtype}")).unwrap();
        let signature = executor.signature().to_string();
        assert_eq!(signature, format!("x {dtype}[n] -> y {dtype}[n]"));
        for elements in [3, 0] {
            let tensor = match dtype.size() {
                // Ones and zeros are valid in every type.
                Some(size) => Tensor::new(dtype, [elements], vec![1u8; elements * size].into()).unwrap(),
                None => Tensor::from_strings(
                    [elements],
                    &["", "é", "long enough to leave the small-string form"][..elements],
                )
                .unwrap(),
            };
            let outputs = run(&mut *executor, &[NamedTensor::new("x", tensor.clone())]).unwrap();
            assert_eq!(outputs, [NamedTensor::new("y", tensor)], "{dtype}");
        }
    }
}

#[test]
fn misaligned_bytes_are_read_right() {
    let Some(backend) = backend() else { return };
    let mut executor = load(&backend, "identity_FP64").unwrap();
    let mut raw = vec![0u8];
    [1.5f64, -2.0].iter().for_each(|value| raw.extend_from_slice(&value.to_le_bytes()));
    let tensor = Tensor::new(DType::F64, [2], Bytes::from(raw).slice(1..)).unwrap();
    let outputs = run(&mut *executor, &[NamedTensor::new("x", tensor)]).unwrap();
    assert_eq!(&*outputs[0].tensor.to_slice::<f64>().unwrap(), &[1.5, -2.0]);
}

#[test]
fn symbolic_axes_keep_their_names_and_must_agree() {
    let Some(backend) = backend() else { return };
    let mut executor = load(&backend, "add").unwrap();
    assert_eq!(executor.signature().to_string(), "a FP32[batch,3], b FP32[batch,3] -> sum FP32[batch,3]");
    let input = |name, rows: usize| NamedTensor::new(name, Tensor::from_vec([rows, 3], vec![1f32; rows * 3]).unwrap());
    for rows in [1, 5, 2] {
        let outputs = run(&mut *executor, &[input("a", rows), input("b", rows)]).unwrap();
        assert_eq!(outputs[0].tensor.shape()[..], [rows, 3]);
    }
    assert!(matches!(run(&mut *executor, &[input("a", 1), input("b", 2)]), Err(NnError::InvalidInput(_))));
}

#[test]
fn only_wanted_outputs_are_returned_in_the_order_asked_for() {
    let Some(backend) = backend() else { return };
    let mut executor = load(&backend, "several").unwrap();
    // Inputs in another order than the graph's: names decide.
    let inputs = [integers("count", &[4]), vector("right", &[2.0]), vector("left", &[3.0])];
    let mut only = |indices: &[usize]| {
        let outputs = executor.run(&inputs, &OutputSelection::Only(indices.to_vec())).unwrap();
        outputs.iter().map(|output| output.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(only(&[1]), ["product"]);
    assert_eq!(only(&[2, 0]), ["doubled", "sum"]);
    assert_eq!(only(&[0, 0]), ["sum", "sum"]);
    assert!(only(&[]).is_empty());
    let unknown = executor.run(&inputs, &OutputSelection::Only(vec![3])).unwrap_err();
    assert!(matches!(unknown, NnError::InvalidInput(_)), "{unknown}");
}

#[test]
fn outputs_outlive_their_executor_and_inputs() {
    let Some(backend) = backend() else { return };
    let mut executor = load(&backend, "passthrough").unwrap();
    let values: Vec<f32> = (0..1000).map(|value| value as f32).collect();
    let input = vector("x", &values);
    let outputs = run(&mut *executor, std::slice::from_ref(&input)).unwrap();
    let own = input.tensor.data().as_ptr_range();
    assert!(outputs.iter().all(|output| !own.contains(&output.tensor.data().as_ptr())));
    drop((executor, input));
    assert_eq!(&*outputs[0].tensor.to_slice::<f32>().unwrap(), &values);
    assert!(outputs[1].tensor.to_slice::<f32>().unwrap().iter().zip(&values).all(|(y, x)| *y == -x));
}

#[test]
fn a_failed_run_leaves_the_executor_usable() {
    let Some(backend) = backend() else { return };
    let mut executor = load(&backend, "reshape").unwrap();
    let x = vector("x", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let error = run(&mut *executor, &[x.clone(), integers("shape", &[4, 2])]).unwrap_err();
    assert!(matches!(&error, NnError::Runtime(message) if message.contains("Reshape")), "{error}");
    let outputs = run(&mut *executor, &[x, integers("shape", &[3, 2])]).unwrap();
    assert_eq!(outputs[0].tensor.shape()[..], [3, 2]);
}

#[test]
fn an_index_out_of_the_table_is_the_callers_error() {
    let Some(backend) = backend() else { return };
    let mut executor = load(&backend, "gather").unwrap();
    let error = run(&mut *executor, &[integers("ids", &[4])]).unwrap_err();
    assert!(matches!(&error, NnError::InvalidInput(message) if message.contains("idx=4")), "{error}");
    assert!(run(&mut *executor, &[integers("ids", &[3])]).is_ok());
}

#[test]
fn memory_counts_external_weights() {
    let Some(backend) = backend() else { return };
    let graph = std::fs::metadata(root().join("test-data/onnx/external.onnx")).unwrap().len();
    assert_eq!(load(&backend, "external").unwrap().memory_bytes(), graph + 3 * 2 * 4);
}

#[test]
fn a_bad_graph_is_refused_by_file_and_cause() {
    let Some(backend) = backend() else { return };
    for (graph, cause) in [
        ("corrupt", "protobuf parsing failed"),
        ("external_missing", "its weights file `nowhere.bin` is missing"),
        ("external_outside", "its weights file `../../LICENSE` lies outside the model's folder"),
        // ONNX Runtime alone would read it from the working directory, where these tests have such a file.
        ("external_in_branch", "nothing-but-the-model/Cargo.toml"),
        ("sequence", "output `parts` is a Sequence"),
        ("float8", "input `x` holds"),
        ("absent", "there is no such file"),
    ] {
        let error = load(&backend, graph).map(|_| ()).unwrap_err();
        let named = matches!(&error, NnError::BadModel(message) if message.contains(&format!("{graph}.onnx: ")));
        assert!(named && error.to_string().contains(cause), "{error}");
    }
}

#[test]
fn a_device_that_is_not_there_is_an_error_and_never_the_processor() {
    let Some(backend) = backend() else { return };
    let model = folder::open(&root().join("test-data/onnx")).unwrap().with_graph("add.onnx");
    // No machine has this many.
    let error = backend.load(&model, &LoadOptions::one_on(Device::Cuda(4000))).map(|_| ()).unwrap_err();
    assert!(matches!(&error, NnError::DeviceUnavailable(message) if message.contains("cuda:4000")), "{error}");
}

#[test]
fn a_process_has_one_library() {
    let Some(first) = backend() else { return };
    let elsewhere = LibrarySearch { dylib_path: Some("/nowhere/libonnxruntime.so".into()), ..LibrarySearch::default() };
    assert_eq!(OnnxBackend::open(&elsewhere).unwrap().library(), first.library());
}
