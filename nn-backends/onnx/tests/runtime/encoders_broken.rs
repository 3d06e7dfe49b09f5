//! Folders of text encoders that cannot be used: each refusal names file, tensor and cause.

use crate::common::{backend, root};
use crate::encoders::{one, tiny};
use headland_nn_core::{Backend, Device, LoadOptions, ModelFiles, NnError, Precision};
use headland_package::folder;

/// What loading says of the tiny BERT with these bytes for its files, or `None` on a machine without ONNX Runtime.
fn refusal(config: &str, weights: Vec<u8>) -> Option<String> {
    let files = [("config.json", config.as_bytes().to_vec()), ("model.safetensors", weights)];
    let model = ModelFiles::new("m", files.map(|(path, bytes)| (path.to_owned(), bytes.into())));
    match backend()?.load(&model, &one(Precision::Full)) {
        Err(NnError::BadModel(message)) => Some(message.to_string()),
        other => panic!("{:?}", other.err()),
    }
}

fn sound() -> (String, Vec<u8>) {
    let (dir, _) = tiny("bert");
    let config = std::fs::read_to_string(dir.join("config.json")).unwrap();
    (config, std::fs::read(dir.join("model.safetensors")).unwrap())
}

#[test]
fn a_config_that_does_not_fit_the_weights_names_the_tensor() {
    let (config, weights) = sound();
    for (from, to, expected) in [
        (
            r#""num_hidden_layers": 2"#,
            r#""num_hidden_layers": 3"#,
            "m/model.safetensors: tensor `encoder.layer.2.attention.self.query.weight` is missing",
        ),
        (
            r#""vocab_size": 40"#,
            r#""vocab_size": 41"#,
            "m/model.safetensors: tensor `embeddings.word_embeddings.weight` has shape [40, 16], and config.json calls for \
             [41, 16]",
        ),
        (
            r#""intermediate_size": 24"#,
            r#""intermediate_size": 70000"#,
            "m/config.json: 2 heads, `hidden_size` 16 and `intermediate_size` 70000; at most 1024 heads and widths of 65536 \
             are supported",
        ),
    ] {
        assert!(config.contains(from));
        let Some(message) = refusal(&config.replace(from, to), weights.clone()) else { return };
        assert_eq!(message, expected);
    }
}

#[test]
fn weights_that_are_cut_short_or_nonsense_are_named() {
    let (config, weights) = sound();
    let cases: [Vec<u8>; 4] = [
        weights[..weights.len() - 100].to_vec(),
        weights[..20].to_vec(),
        Vec::new(),
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 90868376\n".to_vec(),
    ];
    for bytes in cases {
        let Some(message) = refusal(&config, bytes) else { return };
        assert!(message.starts_with("m/model.safetensors: ") && message.len() > 30, "{message}");
    }
}

/// The tiny BERT's weights with their header changed.
fn with_header(change: impl Fn(&str) -> String) -> Vec<u8> {
    let (_, weights) = sound();
    let length = u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    let header = change(std::str::from_utf8(&weights[8..8 + length]).unwrap());
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &weights[8 + length..]].concat()
}

#[test]
fn a_header_that_lies_is_refused() {
    let (config, _) = sound();
    let changes: [fn(&str) -> String; 4] = [
        // Two tensors over the same bytes, a tensor beyond the end, an extent that overflows, and another type.
        |header| header.replacen("[0,", "[4,", 1),
        |header| header.replacen("[0,", "[99999999,", 1),
        |header| header.replacen("[40,16]", "[18446744073709551615,16]", 1),
        |header| header.replacen("\"F32\"", "\"F64\"", 1),
    ];
    for change in changes {
        let bytes = with_header(change);
        assert_ne!(bytes, sound().1, "the change did not apply");
        let Some(message) = refusal(&config, bytes) else { return };
        eprintln!("{message}");
        assert!(message.starts_with("m/model.safetensors: "), "{message}");
    }
    let integers = with_header(|header| header.replacen("\"F32\"", "\"I32\"", 1));
    let Some(message) = refusal(&config, integers) else { return };
    assert!(message.contains(": tensor `") && message.contains("holds I32; F32, F16 and BF16"), "{message}");
}

#[test]
fn weights_at_any_address_are_read_right() {
    let Some(backend) = backend() else { return };
    let (config, weights) = sound();
    let mut shifted = vec![0u8];
    shifted.extend_from_slice(&weights);
    let weights = bytes::Bytes::from(shifted).slice(1..);
    let files = [("config.json", config.into()), ("model.safetensors", weights)];
    let model = ModelFiles::new("m", files.map(|(path, bytes)| (path.to_owned(), bytes)));
    let (dir, golden) = tiny("bert");
    let sound = folder::open(&dir).unwrap();
    for precision in [Precision::Full, Precision::Int8] {
        let mut outputs = [&model, &sound].map(|model| {
            let mut executors = backend.load(model, &one(precision)).unwrap();
            crate::encoders::run(&mut *executors[0], &crate::encoders::inputs(&golden), Default::default()).unwrap()
        });
        let [shifted, sound] = &mut outputs;
        assert_eq!(shifted, sound, "{precision:?}");
    }
}

#[test]
fn eight_bits_are_refused_where_they_are_not_there() {
    let Some(backend) = backend() else { return };
    let graph = folder::open(&root().join("test-data/onnx")).unwrap().with_graph("add.onnx");
    let error = backend.load(&graph, &one(Precision::Int8)).err().unwrap();
    let named =
        matches!(&error, NnError::BadModel(message) if message.contains("add.onnx: `precision = \"int8\"` is for"));
    assert!(named && error.to_string().contains("full precision"), "{error}");
    let encoder = folder::open(&tiny("bert").0).unwrap();
    let options = LoadOptions { device: Device::Cuda(0), ..one(Precision::Int8) };
    let error = backend.load(&encoder, &options).err().unwrap();
    assert!(matches!(&error, NnError::DeviceUnavailable(message) if message.contains("`cuda:0`")), "{error}");
}
