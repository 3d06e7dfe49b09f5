//! What keeps a tokenizer file from harming the process: the tokenizer library believes what such files say of themselves.

use std::panic::{AssertUnwindSafe, catch_unwind};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

/// Calls the library, and makes an error of its panic: it indexes as a file's tables tell it to.
///
/// # Errors
/// The call's own, or that it panicked.
pub fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    // Nothing half done is seen afterwards: the call's result is lost, and a loaded tokenizer never changes.
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err("its tables contradict each other, and the tokenizer library gave up on them".into()))
        .map_err(|error| error.to_string())
}

/// Refuses what the library would take memory for unseen: it makes room for a SentencePiece character map as large as the
/// map says it is, up to 8 GiB for one of four bytes, and memory that is not there ends the process.
///
/// # Errors
/// What is wrong with it.
pub fn check(tokenizer_json: &[u8]) -> Result<(), String> {
    #[derive(Deserialize)]
    struct File {
        normalizer: Option<Value>,
    }
    let file: File = serde_json::from_slice(tokenizer_json).map_err(|error| error.to_string())?;
    file.normalizer.as_ref().map_or(Ok(()), check_normalizer)
}

fn check_normalizer(value: &Value) -> Result<(), String> {
    match value {
        Value::Object(fields) => fields.iter().try_for_each(|(key, value)| match value {
            Value::String(map) if key == "precompiled_charsmap" => check_charsmap(map),
            value => check_normalizer(value),
        }),
        Value::Array(items) => items.iter().try_for_each(check_normalizer),
        _ => Ok(()),
    }
}

/// A character map is the size of its first table in bytes, that table, and texts.
fn check_charsmap(map: &str) -> Result<(), String> {
    let bytes = STANDARD.decode(map).map_err(|error| format!("`precompiled_charsmap` is not base64: {error}"))?;
    match bytes.split_first_chunk() {
        Some((size, rest)) if u32::from_le_bytes(*size) as usize <= rest.len() => Ok(()),
        Some((size, rest)) => Err(format!(
            "`precompiled_charsmap` says that its table has {} bytes, and {} follow",
            u32::from_le_bytes(*size),
            rest.len()
        )),
        None => Err("`precompiled_charsmap` is shorter than the size it begins with".to_owned()),
    }
}
