//! The apps an operator names: from a folder to a source the policy admitted. Those that were pushed come by the registry.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use headland_guest_host::AppSource;
use headland_package::{AppManifest, ModelVersion, Sha256Digest};
use headland_trust::{Artifact, Policy, Verified};

use crate::app_package::AppPackage;

/// The app of this `headland.app.toml`. Without a policy, whoever named it answers for it; with one, it needs the signature
/// that `headland app sign` puts beside it, as version 1.
pub fn admit(path: &Path, policy: Option<&Policy>, region: &str) -> Result<Verified<AppSource>> {
    let Some(policy) = policy else {
        let source = AppSource::open(path)?;
        return Ok(Verified::named_by_operator(source, format!("--app {}", path.display())));
    };
    let package = AppPackage::read(path, &ModelVersion::default())?;
    let signature = AppPackage::signature_path(path);
    let signatures = match std::fs::read(&signature) {
        Ok(bundle) => vec![bundle],
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).with_context(|| format!("reading {}", signature.display())),
    };
    let artifact = Artifact::app(&package.name, &package.version);
    let verified = policy.verify_app(&artifact, package.packed.manifest, &signatures, SystemTime::now())?;
    for warning in &verified.evidence().warnings {
        tracing::warn!(app = %package.name, "admitted although {warning}");
    }
    if !verified.evidence().allows_region(region) {
        bail!("{}: the policy does not let it run here; {}", path.display(), verified.evidence());
    }
    // What is deployed is what was admitted by its digest, not what the files say when they are read again.
    let text = verified.admit_blob(Sha256Digest::of(&package.manifest), package.manifest)?.into_inner();
    let manifest = AppManifest::parse(&String::from_utf8_lossy(&text), path)?;
    let mut components = BTreeMap::new();
    for (file, place) in package.components {
        let bytes = std::fs::read(&place).with_context(|| format!("reading component {}", place.display()))?;
        components.insert(file.path, Bytes::from(verified.admit_blob(file.digest, bytes)?.into_inner()));
    }
    if let Some(route) = manifest.routes.iter().find(|route| !components.contains_key(&route.component)) {
        bail!("{}: component `{}` is not among what was signed", path.display(), route.component);
    }
    Ok(verified.map(|_| AppSource { manifest, components, version: Some(package.version) }))
}
