//! What the fuzz targets share: somebody who signs whatever the fuzzer thinks of, and a small model to load.

#[cfg(feature = "backends")]
pub mod encoder;
pub mod forger;

/// Checks that an error can be shown: no control character reaches the terminal or the log it is written to.
pub fn show(error: &dyn std::error::Error) {
    let text = error.to_string();
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "an error obeyed by terminals: {text:?}");
}
