//! Folders and devices that cannot be used: each refusal names file and cause.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::load;
use headland_candle::CandleBackend;
use headland_nn_core::{Backend, Device, LoadOptions, NnError};
use headland_package::folder;

fn tiny() -> PathBuf {
    PathBuf::from("../../test-data/embeddings/tiny/bert")
}

/// What loading says of the tiny BERT after `spoil` had its way with a copy.
fn refusal(spoil: impl FnOnce(&Path)) -> String {
    let dir = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(tiny().join(name), dir.path().join(name)).unwrap();
    }
    spoil(dir.path());
    match load(dir.path()) {
        Err(NnError::BadModel(message)) => message.to_string(),
        other => panic!("{:?}", other.err()),
    }
}

fn edit_config(dir: &Path, from: &str, to: &str) {
    let path = dir.join("config.json");
    let config = fs::read_to_string(&path).unwrap();
    assert!(config.contains(from));
    fs::write(path, config.replace(from, to)).unwrap();
}

#[test]
fn missing_files_are_named() {
    let message = refusal(|dir| fs::remove_file(dir.join("config.json")).unwrap());
    assert!(message.ends_with("config.json: there is no such file"), "{message}");
    let message = refusal(|dir| fs::remove_file(dir.join("model.safetensors")).unwrap());
    assert!(message.contains("model.safetensors: there is no such file"), "{message}");
    let missing_pooling = r#"[{"type": "a.Transformer", "path": ""}, {"type": "a.Pooling", "path": "1_Pooling"}]"#;
    let message = refusal(|dir| fs::write(dir.join("modules.json"), missing_pooling).unwrap());
    assert!(message.ends_with("1_Pooling/config.json: there is no such file"), "{message}");
}

#[test]
fn weights_that_are_cut_short_or_nonsense_are_named() {
    let with_bytes = |change: fn(Vec<u8>) -> Vec<u8>| {
        refusal(move |dir| {
            let path = dir.join("model.safetensors");
            fs::write(&path, change(fs::read(&path).unwrap())).unwrap();
        })
    };
    let changes: [fn(Vec<u8>) -> Vec<u8>; 5] = [
        |mut bytes| {
            bytes.truncate(bytes.len() - 100);
            bytes
        },
        |mut bytes| {
            bytes.truncate(20);
            bytes
        },
        |_| Vec::new(),
        |_| b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 90868376\n".to_vec(),
        |mut bytes| {
            bytes[8] = b'x';
            bytes
        },
    ];
    for change in changes {
        let message = with_bytes(change);
        eprintln!("{message}");
        assert!(message.contains("model.safetensors: ") && !message.contains('\n'), "{message}");
    }
}

#[test]
fn a_config_that_does_not_fit_the_weights_names_the_tensor() {
    let message = refusal(|dir| edit_config(dir, r#""num_hidden_layers": 2"#, r#""num_hidden_layers": 3"#));
    assert!(message.ends_with("tensor `encoder.layer.2.attention.self.query.weight` is missing"), "{message}");
    let message = refusal(|dir| edit_config(dir, r#""vocab_size": 40"#, r#""vocab_size": 41"#));
    assert!(
        message.ends_with(
            "tensor `embeddings.word_embeddings.weight` has shape [40, 16], and config.json calls for [41, 16]"
        ),
        "{message}"
    );
    let message = refusal(|dir| edit_config(dir, r#""model_type": "bert""#, r#""model_type": "llama""#));
    assert!(message.contains("`model_type` `llama`") && message.contains("distilbert"), "{message}");
    let message = refusal(|dir| edit_config(dir, r#""hidden_act": "gelu""#, r#""hidden_act": "mish""#));
    assert!(message.contains("config.json: unknown variant `mish`"), "{message}");
}

#[test]
fn a_gpu_is_never_replaced_by_the_cpu() {
    let error = CandleBackend::new()
        .load(&folder::open(&tiny()).unwrap(), &LoadOptions::one_on(Device::Cuda(0)))
        .err()
        .unwrap();
    assert!(matches!(error, NnError::DeviceUnavailable(_)), "{error:?}");
    assert!(error.to_string().starts_with("device `cuda:0` was asked for"), "{error}");
}
