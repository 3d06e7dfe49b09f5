//! A GGUF file, for its head and the tokenizer that stands in it.

#![no_main]

use bytes::Bytes;
use headland_chat::Tokens;
use headland_nn_core::ModelFiles;
use libfuzzer_sys::fuzz_target;

const TEXT: &str = "The answer, in 2024:  naïve 机器 \u{1f600}\n<s>";

fuzz_target!(|input: &[u8]| {
    let files = [("model.gguf".to_owned(), Bytes::copy_from_slice(input))];
    match Tokens::open(&ModelFiles::new("model", files)) {
        Ok(tokens) => {
            let encoded = tokens.encode(TEXT, true).unwrap_or_default();
            encoded.into_iter().chain([u32::MAX]).for_each(|token| _ = tokens.token(token));
        }
        Err(error) => _ = error.to_string(),
    }
});
