//! An app's `headland.app.toml`.

#![no_main]

use std::path::Path;

use headland_package::AppManifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Err(error) = AppManifest::parse(text, Path::new("headland.app.toml")) {
        _ = error.to_string();
    }
});
