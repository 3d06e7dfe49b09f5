//! Small random models of every family, against what transformers and sentence-transformers compute of them.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use crate::common::{difference, input, load, load_in, rows, run, sentences};
use headland_candle::CandleBackend;
use headland_nn_core::{Backend, LoadOptions, NamedTensor, NnError, OutputSelection, Precision};
use headland_package::folder;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    input_ids: [[i64; 6]; 4],
    attention_mask: [[i64; 6]; 4],
    token_type_ids: [[i64; 6]; 4],
    token_embeddings: Vec<f32>,
    cls: Vec<f32>,
    max: Vec<f32>,
    mean: Vec<f32>,
    mean_sqrt_len_tokens: Vec<f32>,
}

const HIDDEN: usize = 16;

fn tiny(name: &str) -> (PathBuf, Golden) {
    let dir = Path::new("../../test-data/embeddings/tiny").join(name);
    let golden = serde_json::from_slice(&std::fs::read(dir.join("golden.json")).unwrap()).unwrap();
    (dir, golden)
}

fn inputs(golden: &Golden) -> [NamedTensor; 3] {
    [
        input("input_ids", [4, 6], golden.input_ids.as_flattened()),
        input("attention_mask", [4, 6], golden.attention_mask.as_flattened()),
        input("token_type_ids", [4, 6], golden.token_type_ids.as_flattened()),
    ]
}

/// A copy of the tiny BERT with these files on top: `(path, content)`.
fn bert_with(files: &[(&str, &str)]) -> (tempfile::TempDir, Golden) {
    let (from, golden) = tiny("bert");
    let dir = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(from.join(name), dir.path().join(name)).unwrap();
    }
    for (path, content) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    (dir, golden)
}

fn modules(kinds: &[&str]) -> String {
    let module = |kind: &&str| {
        let path = if *kind == "Transformer" { "" } else { *kind };
        format!(r#"{{"idx": 0, "name": "x", "path": "{path}", "type": "sentence_transformers.models.{kind}"}}"#)
    };
    format!("[{}]", kinds.iter().map(module).collect::<Vec<_>>().join(", "))
}

#[test]
fn every_family_computes_what_transformers_does() {
    for name in ["bert", "bert-with-head", "roberta", "distilbert"] {
        let (dir, golden) = tiny(name);
        let mut executor = load(&dir).unwrap();
        let outputs = run(&mut *executor, &inputs(&golden), &OutputSelection::All).unwrap();
        let (expected, mask) = (golden.token_embeddings.chunks(HIDDEN), golden.attention_mask.as_flattened());
        for ((expected, got), mask) in expected.zip(rows(&outputs[1])).zip(mask) {
            if *mask == 1 {
                assert!(difference(expected, &got) < 1e-5, "{name}: {expected:?} {got:?}");
            } else {
                assert_eq!(got, [0.0; HIDDEN], "{name}");
            }
        }
        // Without modules.json the mean is taken, not normalised.
        assert!(difference(&golden.mean, &rows(&outputs[0]).concat()) < 1e-5, "{name}");
    }
}

#[test]
fn a_batch_that_runs_in_slices_gives_what_its_texts_give_alone() {
    let (dir, golden) = tiny("bert");
    let mut executor = load(&dir).unwrap();
    let alone = run(&mut *executor, &inputs(&golden), &OutputSelection::All).unwrap();
    let copies = 400;
    let all = |name: &str, values: &[[i64; 6]; 4]| input(name, [4 * copies, 6], &values.as_flattened().repeat(copies));
    let inputs = [
        all("input_ids", &golden.input_ids),
        all("attention_mask", &golden.attention_mask),
        all("token_type_ids", &golden.token_type_ids),
    ];
    let together = run(&mut *executor, &inputs, &OutputSelection::All).unwrap();
    for (alone, together) in alone.iter().zip(&together) {
        let (alone, together) = (rows(alone).concat(), rows(together).concat());
        assert_eq!(together.len(), copies * alone.len());
        for (copy, got) in together.chunks(alone.len()).enumerate() {
            assert_eq!(alone, got, "copy {copy}");
        }
    }
}

#[test]
fn eight_bits_run_every_family_too() {
    for name in ["bert", "bert-with-head", "roberta", "distilbert"] {
        let (dir, golden) = tiny(name);
        let mut executor = load_in(&dir, Precision::Int8).unwrap();
        for (mean, got) in golden.mean.chunks(HIDDEN).zip(sentences(&mut *executor, &inputs(&golden))) {
            assert!(difference(mean, &got) < 0.05, "{name}: {mean:?} {got:?}");
        }
    }
}

#[test]
fn executors_of_one_load_share_their_weights_and_agree() {
    let (dir, golden) = tiny("bert");
    let options = LoadOptions { instances: NonZeroUsize::new(3), ..LoadOptions::default() };
    let mut executors = CandleBackend::new().load(&folder::open(&dir).unwrap(), &options).unwrap();
    let memory: Vec<u64> = executors.iter().map(|executor| executor.memory_bytes()).collect();
    assert!(memory[0] > 0 && memory[1..] == [0, 0], "{memory:?}");
    let embedded: Vec<_> =
        executors.iter_mut().map(|executor| sentences(executor.as_mut(), &inputs(&golden))).collect();
    assert!(embedded.iter().all(|other| *other == embedded[0]));
}

#[test]
fn every_pooling_mode_is_that_of_sentence_transformers() {
    type Expected = fn(&Golden) -> Vec<&[f32]>;
    let cases: [(&str, Expected); 7] = [
        (r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#, |g| vec![&g.cls]),
        (r#"{"pooling_mode_max_tokens": true}"#, |g| vec![&g.max]),
        (r#"{"pooling_mode_mean_tokens": true}"#, |g| vec![&g.mean]),
        (r#"{"pooling_mode_mean_sqrt_len_tokens": true}"#, |g| vec![&g.mean_sqrt_len_tokens]),
        (
            r#"{"pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": true, "pooling_mode_cls_token": true}"#,
            |g| vec![&g.cls, &g.max, &g.mean],
        ),
        (r#"{"embedding_dimension": 16, "pooling_mode": "max", "include_prompt": true}"#, |g| vec![&g.max]),
        (r#"{"pooling_mode": ["mean", "cls"]}"#, |g| vec![&g.mean, &g.cls]),
    ];
    for (config, expected) in cases {
        let modules = modules(&["Transformer", "Pooling"]);
        let (dir, golden) = bert_with(&[("modules.json", &modules), ("Pooling/config.json", config)]);
        let mut executor = load(dir.path()).unwrap();
        let expected = expected(&golden);
        for (row, got) in sentences(&mut *executor, &inputs(&golden)).iter().enumerate() {
            let expected: Vec<f32> =
                expected.iter().flat_map(|mode| &mode[row * HIDDEN..(row + 1) * HIDDEN]).copied().collect();
            assert!(difference(&expected, got) < 1e-5, "{config}: {expected:?} {got:?}");
        }
    }
}

#[test]
fn normalising_gives_unit_length() {
    let modules = modules(&["Transformer", "Pooling", "Normalize"]);
    let config = r#"{"pooling_mode_mean_tokens": true}"#;
    let (dir, golden) = bert_with(&[("modules.json", &modules), ("Pooling/config.json", config)]);
    let mut executor = load(dir.path()).unwrap();
    for (got, mean) in sentences(&mut *executor, &inputs(&golden)).iter().zip(golden.mean.chunks(HIDDEN)) {
        let length = mean.iter().map(|value| value * value).sum::<f32>().sqrt();
        let expected: Vec<f32> = mean.iter().map(|value| value / length).collect();
        assert!(difference(&expected, got) < 1e-6);
    }
}

#[test]
fn a_row_without_tokens_is_zeros_and_leaves_the_others_alone() {
    let modules = modules(&["Transformer", "Pooling", "Normalize"]);
    for config in [r#"{"pooling_mode": "mean"}"#, r#"{"pooling_mode": "max"}"#, r#"{"pooling_mode": "cls"}"#] {
        let (dir, golden) = bert_with(&[("modules.json", &modules), ("Pooling/config.json", config)]);
        let mut executor = load(dir.path()).unwrap();
        let expected = sentences(&mut *executor, &inputs(&golden));
        let mut masked = golden.attention_mask;
        masked[1] = [0; 6];
        let [ids, _, types] = inputs(&golden);
        let got =
            sentences(&mut *executor, &[ids.clone(), input("attention_mask", [4, 6], masked.as_flattened()), types]);
        assert_eq!((&got[0], &got[1], &got[3]), (&expected[0], &vec![0.0; HIDDEN], &expected[3]));
        let nothing = sentences(&mut *executor, &[ids, input("attention_mask", [4, 6], &[0; 24])]);
        assert_eq!(nothing, vec![vec![0.0; HIDDEN]; 4]);
    }
}

#[test]
fn mask_and_segments_may_be_left_out() {
    let (dir, golden) = tiny("bert");
    let mut executor = load(&dir).unwrap();
    let ids = input("input_ids", [4, 6], golden.input_ids.as_flattened());
    let explicit = [ids.clone(), input("attention_mask", [4, 6], &[1; 24]), input("token_type_ids", [4, 6], &[0; 24])];
    assert_eq!(sentences(&mut *executor, &[ids]), sentences(&mut *executor, &explicit));
}

#[test]
fn what_only_the_model_can_judge_is_refused_and_the_next_batch_runs() {
    let (dir, golden) = tiny("bert");
    let mut executor = load(&dir).unwrap();
    let mut refused = |inputs: &[NamedTensor]| {
        let error = run(&mut *executor, inputs, &OutputSelection::All).unwrap_err();
        assert!(!sentences(&mut *executor, &self::inputs(&golden)).is_empty());
        error
    };
    let ids = |id: i64| input("input_ids", [1, 2], &[5, id]);
    for id in [40, -1, i64::MAX, i64::MIN] {
        let expected = format!("token id {id} at [0,1] is out of range; the model has 0 to 39");
        assert_eq!(refused(&[ids(id)]).to_string(), expected);
    }
    let types = refused(&[ids(6), input("token_type_ids", [1, 2], &[0, 2])]);
    assert_eq!(types.to_string(), "token type 2 at [0,1] is out of range; the model has 0 to 1");
    let mask = refused(&[ids(6), input("attention_mask", [1, 2], &[1, 7])]);
    assert_eq!(mask.to_string(), "attention_mask[0,1] is 7; 1 stands for a token and 0 for padding");
    for shape in [[0, 4], [4, 0]] {
        assert!(matches!(refused(&[input("input_ids", shape, &[])]), NnError::InvalidInput(_)));
    }
    let long = refused(&[input("input_ids", [1, 9], &[5; 9])]);
    assert!(matches!(long, NnError::TooLarge(_)), "{long:?}");
    assert_eq!(long.to_string(), "a sequence of 9 tokens; the model takes at most 8, so truncate it");
    let rows = headland_encoder::MAX_BATCH_TOKENS / 8 + 1;
    let wide = refused(&[input("input_ids", [rows, 8], &vec![5; rows * 8])]);
    assert!(matches!(wide, NnError::TooLarge(_)), "{wide:?}");
}

#[test]
fn modules_and_modes_that_are_not_known_are_refused_by_name() {
    let refused = |kinds: &[&str], pooling: &str| {
        let (dir, _) = bert_with(&[("modules.json", &modules(kinds)), ("Pooling/config.json", pooling)]);
        load(dir.path()).err().unwrap().to_string()
    };
    let message = refused(&["Transformer", "Pooling", "Dense"], r#"{"pooling_mode": "mean"}"#);
    assert!(message.contains("modules.json: module `Dense` is not supported"), "{message}");
    let message = refused(&["Pooling", "Transformer"], r#"{"pooling_mode": "mean"}"#);
    assert!(message.contains("the modules are Pooling, Transformer;"), "{message}");
    let message = refused(&["Transformer", "Pooling"], r#"{"pooling_mode_weightedmean_tokens": true}"#);
    assert!(message.contains("Pooling/config.json: pooling mode `weightedmean` is not supported"), "{message}");
    let message = refused(&["Transformer", "Pooling"], r#"{"pooling_mode": "lasttoken"}"#);
    assert!(message.contains("pooling mode `lasttoken`"), "{message}");
    let many = format!(r#"{{"pooling_mode": ["cls"{}]}}"#, r#", "mean""#.repeat(1_000_000));
    let message = refused(&["Transformer", "Pooling"], &many);
    assert!(message.contains("Pooling/config.json: pooling mode `mean` is listed twice"), "{message}");
}
