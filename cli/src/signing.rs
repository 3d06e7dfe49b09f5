//! Signing models and apps, and verifying models: commands over files, without a gateway.
//!
//! `headland-trust` does the work; here are the files it is done on, and words for people.

mod app;
mod authority;
mod model;
mod paths;
mod progress;
mod verify;

use std::path::Path;

use anyhow::{Context, Result, bail};
use headland_trust::SigningKey;

pub use app::sign_app;
pub use model::sign_model;
pub use paths::model_signature;
pub use verify::verify_model;

/// The largest key or certificate file, in bytes.
const MATERIAL_BYTES_MAX: u64 = 1 << 20;

/// Reads a key, certificate or signature: a small file.
pub fn read_small(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let size = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if size > bytes_max {
        bail!("{} has {size} bytes, and at most {bytes_max} are read; is it the right file?", path.display());
    }
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Reads a private key, and says so if others can read it too.
fn signing_key(path: &Path) -> Result<SigningKey> {
    let pem = read_small(path, MATERIAL_BYTES_MAX)?;
    let key = SigningKey::from_pem(&pem).map_err(|error| anyhow::anyhow!("{} {error}", path.display()))?;
    warn_if_exposed(path);
    Ok(key)
}

/// Who can read a private key can sign with it.
fn warn_if_exposed(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode() & 0o777);
    if mode & 0o077 != 0 {
        let path = path.display();
        eprintln!("headland: warning: {path} may be read by others (mode {mode:o}); run `chmod 600 {path}`");
    }
}

/// The start of a long digest, enough to tell one from another.
fn short(hex: &str) -> &str {
    hex.get(..12).unwrap_or(hex)
}
