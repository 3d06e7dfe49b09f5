//! An ONNX graph, searched for the files that its weights lie in.

#![no_main]

use bytes::Bytes;
use headland_nn_core::ModelFiles;
use libfuzzer_sys::fuzz_target;

// The parser is private to its crate, and what is public there needs ONNX Runtime's library.
#[path = "../../nn-backends/onnx/src/weights.rs"]
mod weights;

/// Names a fuzzer comes upon: of the test graphs, and one that is the folder itself.
const FILES: [&str; 3] = ["onnx/external.bin", "onnx/w", "onnx"];

fuzz_target!(|input: &[u8]| {
    let weights = FILES.map(|path| (path.to_owned(), Bytes::from_static(b"weights")));
    let graph = ("onnx/model.onnx".to_owned(), Bytes::copy_from_slice(input));
    let model = ModelFiles::new("model", weights.into_iter().chain([graph]));
    if let Ok(files) = weights::external(&model, "onnx/model.onnx") {
        for file in files {
            assert!(!file.location.starts_with('/') && !file.location.split('/').any(|part| part == ".."));
            assert!(file.used_bytes <= file.bytes.len() as u64);
        }
    }
});
