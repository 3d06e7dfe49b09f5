//! The small files of a model: its own manifest, configuration, modules and tokenizer.
//!
//! An input is a list of files: path, NUL, content, NUL, and so on. Weights that fit the smallest model are there already.
//!
//! The tokenizer library panics over files that contradict themselves, and `TextEncoder` makes errors of that. A panic
//! therefore only counts when it leaves the target.

#![no_main]

use std::panic::{PanicHookInfo, catch_unwind, set_hook};
use std::sync::{LazyLock, Mutex};

use bytes::Bytes;
use headland_fuzz::encoder;
use headland_nn_core::ModelFiles;
use headland_package::ModelPackage;
use headland_text::TextEncoder;
use libfuzzer_sys::fuzz_target;

static WEIGHTS: LazyLock<Bytes> = LazyLock::new(|| encoder::weights(encoder::header().as_bytes()));

/// The latest panic, to be shown if it counts.
static PANIC: Mutex<String> = Mutex::new(String::new());

fn remember(panic: &PanicHookInfo) {
    *PANIC.lock().expect("nobody panics here") = panic.to_string();
}

fuzz_target!(init: set_hook(Box::new(remember)), |input: &[u8]| {
    if catch_unwind(|| open(input)).is_err() {
        eprintln!("{}", PANIC.lock().expect("nobody panics here"));
        std::process::abort();
    }
});

fn open(input: &[u8]) {
    let fields: Vec<&[u8]> = input.split(|&byte| byte == 0).collect();
    let given = fields
        .chunks_exact(2)
        .map(|file| (String::from_utf8_lossy(file[0]).into_owned(), Bytes::copy_from_slice(file[1])));
    let always =
        [("config.json".to_owned(), Bytes::from(encoder::CONFIG)), ("model.safetensors".to_owned(), WEIGHTS.clone())];
    let model = ModelFiles::new("model", always.into_iter().chain(given));
    if let Err(error) = ModelPackage::of(model.clone()) {
        _ = error.to_string();
    }
    if let Err(error) = encoder::load_and_run(&model) {
        _ = error.to_string();
    }
    match TextEncoder::open(&model) {
        Err(error) => _ = error.to_string(),
        Ok(None) => {}
        Ok(Some(encoder)) => _ = encoder.encode(&["two words", "Größe 北京 🙂\u{301}"]),
    }
}
