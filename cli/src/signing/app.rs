//! `headland app sign`.

use anyhow::{Context, Result};
use headland_trust::component;
use serde_json::json;

use super::{short, signing_key};
use crate::app_package::AppPackage;
use crate::args::SignApp;
use crate::client::print;

/// Signs the manifest that `headland app push` makes of this app, and writes the signature.
pub fn sign_app(options: &SignApp) -> Result<()> {
    let key = signing_key(&options.key)?;
    let app = AppPackage::read(&options.manifest, &options.version)?;
    let path = options.signature.clone().unwrap_or_else(|| AppPackage::signature_path(&options.manifest));
    let bundle = component::sign_with_key(&app.digest(), &key).context("the private key cannot be used")?;
    std::fs::write(&path, bundle).with_context(|| format!("cannot write {}", path.display()))?;
    let hint = key.public().hint();
    let digest = app.digest().to_string();
    let said = json!({ "app": app.name, "version": app.version, "digest": digest, "signature": path, "key": hint });
    print(options.json, &said, |_| {
        let (name, version, key) = (&app.name, &app.version, short(hint));
        format!("signed app {name} version {version}, {digest}, by key {key}\nwrote {}\n", path.display())
    })
}
