//! Text encoders as bare weights: small random models of every family, against what transformers computes of them.

use std::path::{Path, PathBuf};

use crate::common::{backend, root};
use headland_nn_core::{
    Backend, Batching, Executor, LoadOptions, ModelFiles, NamedTensor, NnError, OutputSelection, Padding, Precision,
    Tensor,
};
use headland_package::folder;
use serde::Deserialize;

pub const HIDDEN: usize = 16;

#[derive(Deserialize)]
pub struct Golden {
    pub input_ids: [[i64; 6]; 4],
    pub attention_mask: [[i64; 6]; 4],
    pub token_type_ids: [[i64; 6]; 4],
    pub token_embeddings: Vec<f32>,
    pub cls: Vec<f32>,
    pub max: Vec<f32>,
    pub mean: Vec<f32>,
}

pub fn tiny(name: &str) -> (PathBuf, Golden) {
    let dir = root().join("test-data/embeddings/tiny").join(name);
    let golden = serde_json::from_slice(&std::fs::read(dir.join("golden.json")).unwrap()).unwrap();
    (dir, golden)
}

pub fn input(name: &str, shape: [usize; 2], values: &[i64]) -> NamedTensor {
    NamedTensor::new(name, Tensor::from_vec(shape, values.to_vec()).unwrap())
}

pub fn inputs(golden: &Golden) -> [NamedTensor; 3] {
    [
        input("input_ids", [4, 6], golden.input_ids.as_flattened()),
        input("attention_mask", [4, 6], golden.attention_mask.as_flattened()),
        input("token_type_ids", [4, 6], golden.token_type_ids.as_flattened()),
    ]
}

pub fn one(precision: Precision) -> LoadOptions {
    LoadOptions { precision, instances: std::num::NonZeroUsize::new(1), ..LoadOptions::default() }
}

/// Loads the folder as one executor, or `None` on a machine without ONNX Runtime.
pub fn load(dir: &Path, precision: Precision) -> Option<Box<dyn Executor>> {
    let executors = backend()?.load(&folder::open(dir).unwrap(), &one(precision)).unwrap();
    executors.into_iter().next()
}

pub fn run(
    executor: &mut dyn Executor,
    inputs: &[NamedTensor],
    wanted: OutputSelection,
) -> Result<Vec<Vec<Vec<f32>>>, NnError> {
    executor.signature().check_inputs(inputs)?;
    let rows = |output: &NamedTensor| {
        let values = output.tensor.to_slice::<f32>().unwrap();
        values.chunks(*output.tensor.shape().last().unwrap()).map(<[f32]>::to_vec).collect()
    };
    Ok(executor.run(inputs, &wanted)?.iter().map(rows).collect())
}

pub fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[track_caller]
fn assert_golden(executor: &mut dyn Executor, golden: &Golden, tolerance: f32, name: &str) {
    let outputs = run(executor, &inputs(golden), OutputSelection::All).unwrap();
    let mask = golden.attention_mask.as_flattened();
    for ((expected, got), mask) in golden.token_embeddings.chunks(HIDDEN).zip(&outputs[1]).zip(mask) {
        if *mask == 1 {
            assert!(difference(expected, got) < tolerance, "{name}: {expected:?} {got:?}");
        } else {
            assert_eq!(*got, [0.0; HIDDEN], "{name}");
        }
    }
    // Without modules.json the mean is taken, not normalised.
    assert!(difference(&golden.mean, &outputs[0].concat()) < tolerance, "{name}");
}

#[test]
fn every_family_computes_what_transformers_does() {
    for name in ["bert", "bert-with-head", "roberta", "distilbert"] {
        let (dir, golden) = tiny(name);
        let Some(mut executor) = load(&dir, Precision::Full) else { return };
        assert_golden(&mut *executor, &golden, 1e-5, name);
        let Batching::Axes(axes) = executor.batching() else { panic!("{name}") };
        assert_eq!(axes.padding, Padding::Skipped);
    }
}

#[test]
fn eight_bits_stay_close_in_every_family() {
    for name in ["bert", "bert-with-head", "roberta", "distilbert"] {
        let (dir, golden) = tiny(name);
        let Some(mut executor) = load(&dir, Precision::Int8) else { return };
        let outputs = run(&mut *executor, &inputs(&golden), OutputSelection::Only(vec![0])).unwrap();
        for (expected, got) in golden.mean.chunks(HIDDEN).zip(&outputs[0]) {
            assert!(cosine(expected, got) > 0.999, "{name}: {}", cosine(expected, got));
            assert_ne!(expected, got, "{name} computed in full precision");
        }
    }
}

#[test]
fn a_text_gets_the_same_alone_and_among_others_of_all_lengths() {
    let (dir, _) = tiny("bert");
    for precision in [Precision::Full, Precision::Int8] {
        let Some(mut executor) = load(&dir, precision) else { return };
        // 700 texts of 1 to 8 tokens: several runs.
        let (rows, columns) = (700, 8);
        let length = |row: usize| 1 + row * 5 % columns;
        let ids: Vec<i64> = (0..rows * columns).map(|place| (place * 7 % 40) as i64).collect();
        let mask: Vec<i64> =
            (0..rows * columns).map(|place| (place % columns < length(place / columns)).into()).collect();
        let batch = [input("input_ids", [rows, columns], &ids), input("attention_mask", [rows, columns], &mask)];
        let together = run(&mut *executor, &batch, OutputSelection::All).unwrap();
        for row in (0..rows).step_by(37) {
            let own = &ids[row * columns..][..length(row)];
            let alone = run(&mut *executor, &[input("input_ids", [1, own.len()], own)], OutputSelection::All).unwrap();
            assert!(difference(&alone[0][0], &together[0][row]) < 1e-5, "{precision:?} {row}");
            for (alone, together) in alone[1].iter().zip(&together[1][row * columns..]) {
                assert!(difference(alone, together) < 1e-5, "{precision:?} {row}");
            }
        }
    }
}

#[test]
fn halves_are_converted_and_pooled_as_the_folder_says() {
    let Some(backend) = backend() else { return };
    let (dir, golden) = tiny("bert");
    let modules = r#"[{"type": "a.Transformer", "path": ""}, {"type": "a.Pooling", "path": "pool"}]"#;
    for (dtype, tolerance) in [(safetensors::Dtype::F16, 2e-3), (safetensors::Dtype::BF16, 2e-2)] {
        let weights = halved(&std::fs::read(dir.join("model.safetensors")).unwrap(), dtype);
        let files = [
            ("config.json", std::fs::read(dir.join("config.json")).unwrap()),
            ("model.safetensors", weights),
            ("modules.json", modules.into()),
            ("pool/config.json", br#"{"pooling_mode": ["max", "cls"]}"#.into()),
        ];
        let model = ModelFiles::new("m", files.map(|(path, bytes)| (path.to_owned(), bytes.into())));
        for precision in [Precision::Full, Precision::Int8] {
            let mut executors = backend.load(&model, &one(precision)).unwrap();
            let outputs = run(&mut *executors[0], &inputs(&golden), OutputSelection::Only(vec![0])).unwrap();
            for (row, got) in outputs[0].iter().enumerate() {
                let own = |mode: &[f32]| mode[row * HIDDEN..][..HIDDEN].to_vec();
                let expected = [own(&golden.max), own(&golden.cls)].concat();
                match precision {
                    Precision::Full => assert!(difference(&expected, got) < tolerance, "{expected:?} {got:?}"),
                    Precision::Int8 => assert!(cosine(&expected, got) > 0.998, "{expected:?} {got:?}"),
                }
            }
        }
    }
}

/// The file with all tensors as 16-bit floats.
fn halved(bytes: &[u8], dtype: safetensors::Dtype) -> Vec<u8> {
    let file = safetensors::SafeTensors::deserialize(bytes).unwrap();
    let half = |bytes: &[u8]| {
        let value = f32::from_le_bytes(bytes.try_into().unwrap());
        match dtype {
            safetensors::Dtype::F16 => half::f16::from_f32(value).to_le_bytes(),
            _ => half::bf16::from_f32(value).to_le_bytes(),
        }
    };
    let owned: Vec<(String, Vec<usize>, Vec<u8>)> = file
        .iter()
        .filter(|(_, view)| view.dtype() == safetensors::Dtype::F32)
        .map(|(name, view)| (name.to_owned(), view.shape().to_vec(), view.data().chunks(4).flat_map(half).collect()))
        .collect();
    let views = owned.iter().map(|(name, shape, data)| {
        (name.as_str(), safetensors::tensor::TensorView::new(dtype, shape.clone(), data).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn executors_share_one_session_and_run_at_once() {
    let Some(backend) = backend() else { return };
    let (dir, golden) = tiny("bert");
    let options = LoadOptions { instances: std::num::NonZeroUsize::new(3), ..LoadOptions::default() };
    let executors = backend.load(&folder::open(&dir).unwrap(), &options).unwrap();
    assert_eq!(executors.len(), 3);
    assert!(executors[0].memory_bytes() > 0);
    assert!(executors[1..].iter().all(|executor| executor.memory_bytes() == 0), "what is shared is counted once");
    std::thread::scope(|scope| {
        for mut executor in executors {
            let golden = &golden;
            scope.spawn(move || (0..50).for_each(|_| assert_golden(&mut *executor, golden, 1e-5, "shared")));
        }
    });
}

#[test]
fn the_layout_is_measured_where_nobody_says() {
    let Some(backend) = backend() else { return };
    let (dir, golden) = tiny("bert");
    let mut executors = backend.load(&folder::open(&dir).unwrap(), &LoadOptions::default()).unwrap();
    let description = executors[0].describe().unwrap();
    eprintln!("{description}");
    assert!(description.starts_with("products of 32 bits; ") && description.contains("at once on a session of"));
    assert_golden(&mut *executors[0], &golden, 1e-5, "measured");
}

#[test]
fn what_only_the_model_can_judge_is_refused_and_the_next_batch_runs() {
    let (dir, golden) = tiny("bert");
    let Some(mut executor) = load(&dir, Precision::Full) else { return };
    let refused = [
        ([1, 2], vec![5, 40], "token id 40 at [0,1] is out of range; the model has 0 to 39"),
        ([1, 9], vec![5; 9], "a sequence of 9 tokens; the model takes at most 8, so truncate it"),
        ([0, 4], vec![], "input `input_ids` is of shape [0,4]; it holds no token"),
    ];
    for (shape, ids, expected) in refused {
        let error = run(&mut *executor, &[input("input_ids", shape, &ids)], OutputSelection::All).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_golden(&mut *executor, &golden, 1e-5, expected);
    }
    let nothing = [input("input_ids", [2, 2], &[5; 4]), input("attention_mask", [2, 2], &[0; 4])];
    assert_eq!(run(&mut *executor, &nothing, OutputSelection::All).unwrap()[0], [[0.0; HIDDEN]; 2]);
}
