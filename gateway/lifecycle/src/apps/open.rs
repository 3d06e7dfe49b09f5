//! From a version in the registry to an app that the policy admitted: the signature covers the manifest, the manifest names
//! every file by digest, and each file is hashed as it is mapped.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use bytes::Bytes;
use headland_guest_host::{AppSource, COMPONENT_BYTES_MAX};
use headland_package::oci::PackedFile;
use headland_package::{AppManifest, strict_toml};
use headland_registry::store::Store;
use headland_trust::policy::Artifact;
use headland_trust::{Evidence, Policy, Verified};

use super::catalog::Stored;
use crate::LifecycleError;
use headland_trust::chain;

/// Has the policy admit the manifest of `stored`, and looks whether the app may run in this region.
///
/// # Errors
/// [`LifecycleError::Denied`], [`LifecycleError::NotHere`].
pub(super) fn judge(stored: &Stored, policy: &Policy, region: Option<&str>) -> Result<Verified<Bytes>, LifecycleError> {
    let artifact = Artifact::app(&stored.name, &stored.version);
    let manifest = policy.verify_app(&artifact, stored.bytes.clone(), &stored.signatures, SystemTime::now())?;
    check_region(manifest.evidence(), region)?;
    Ok(manifest)
}

/// Guests run on the processor, so that a rule's accelerators, which are about models, do not concern them.
fn check_region(evidence: &Evidence, region: Option<&str>) -> Result<(), LifecycleError> {
    if evidence.allows_region(region.unwrap_or_default()) {
        return Ok(());
    }
    let here = region.map_or("this gateway, which has no region".to_owned(), |region| format!("region `{region}`"));
    Err(LifecycleError::NotHere(format!("the policy does not let it run in {here}; {evidence}")))
}

/// Has the policy admit `stored`, and reads the files of it that its `headland.app.toml` names.
///
/// # Errors
/// As [`judge`]; [`LifecycleError::Store`] naming a file that is not what it was stored as; [`LifecycleError::Broken`] when
/// the files make no app.
pub(super) fn open(
    store: &Store,
    stored: &Stored,
    policy: &Policy,
    region: Option<&str>,
) -> Result<Verified<AppSource>, LifecycleError> {
    let admitted = judge(stored, policy, region)?;
    for warning in &admitted.evidence().warnings {
        tracing::warn!(app = %stored.name, version = %stored.version, "admitted although {warning}");
    }
    let files = stored.files()?;
    let text = read(store, stored, &admitted, &files.manifest, strict_toml::FILE_BYTES_MAX)?;
    let manifest = manifest(stored, text.get())?;
    let mut components = BTreeMap::new();
    for route in &manifest.routes {
        // Whatever else the artifact holds is not for us.
        let Some(file) = files.components.iter().find(|file| file.path == route.component) else {
            let problem =
                format!("its headland.app.toml names component `{}`, which was not pushed with it", route.component);
            return Err(stored.broken(problem));
        };
        if !components.contains_key(&file.path) {
            let component = read(store, stored, &admitted, file, COMPONENT_BYTES_MAX)?;
            components.insert(file.path.clone(), component.into_inner());
        }
    }
    let version = Some(stored.version.clone());
    Ok(admitted.map(|_| AppSource { manifest, components, version }))
}

/// A file of the app, if it is what the admitted manifest lists.
fn read(
    store: &Store,
    stored: &Stored,
    admitted: &Verified<Bytes>,
    file: &PackedFile,
    bytes_max: u64,
) -> Result<Verified<Bytes>, LifecycleError> {
    if file.size > bytes_max {
        return Err(stored.broken(format_args!("{} has {} bytes; {bytes_max} are the most", file.path, file.size)));
    }
    let Some(blob) = store.blob(&stored.repository, file.digest)? else {
        return Err(stored.broken(format_args!("{}: the registry has lost {}", file.path, file.digest)));
    };
    admitted.admit_blob(file.digest, blob.map_verified()?).map_err(|error| stored.broken(chain(&error)))
}

fn manifest(stored: &Stored, text: &[u8]) -> Result<AppManifest, LifecycleError> {
    let path = PathBuf::from(format!("{}:{}/headland.app.toml", stored.repository, stored.version));
    let text = std::str::from_utf8(text).map_err(|_| stored.broken("its headland.app.toml is not UTF-8 text"))?;
    let manifest = AppManifest::parse(text, &path).map_err(|error| LifecycleError::Broken(chain(&error)))?;
    match manifest.name == stored.name {
        true => Ok(manifest),
        false => Err(stored.broken(format_args!("its headland.app.toml says it is app `{}`", manifest.name))),
    }
}
