//! A model's `model.safetensors`, read for a BERT of one layer.
//!
//! An input that begins with `{` is the file's header, put in front of as many zeros as it calls for; every other input is
//! the whole file.

#![no_main]

use bytes::Bytes;
use headland_fuzz::encoder;
use headland_nn_core::ModelFiles;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let weights = if input.first() == Some(&b'{') { encoder::weights(input) } else { Bytes::copy_from_slice(input) };
    let files = [("config.json", Bytes::from(encoder::CONFIG)), ("model.safetensors", weights)];
    let model = ModelFiles::new("model", files.map(|(path, bytes)| (path.to_owned(), bytes)));
    if let Err(error) = encoder::load_and_run(&model) {
        _ = error.to_string();
    }
});
