//! From a version in the registry to files that the policy admitted: judged by the listing, mapped, hashed, judged again
//! over the very bytes that are loaded.

use std::collections::BTreeMap;
use std::time::SystemTime;

use headland_nn_core::ModelFiles;
use headland_package::Hashed;
use headland_registry::store::Store;
use headland_trust::contents::Listing;
use headland_trust::policy::{Artifact, Judgement};
use headland_trust::{Policy, Verified};

use crate::LifecycleError;
use crate::models::catalog::Stored;
use crate::models::generation;

/// What the policy says of `stored` by its listing alone. Reads none of its files.
///
/// # Errors
/// [`LifecycleError::Denied`].
pub fn judge(stored: &Stored, policy: &Policy) -> Result<Judgement, LifecycleError> {
    let listed = stored.files.iter().map(|file| (file.path.clone(), (file.size, file.digest)));
    let listing = Listing(listed.collect());
    Ok(policy.judge_model(&artifact(stored), &listing, &stored.signatures, SystemTime::now())?)
}

/// Maps the files of `stored` and has the policy admit them. What comes back is what was hashed.
///
/// # Errors
/// [`LifecycleError::Denied`]; [`LifecycleError::Store`] naming a file that is not what it was stored as.
pub fn open(store: &Store, stored: &Stored, policy: &Policy) -> Result<Verified<ModelFiles>, LifecycleError> {
    // Before gigabytes are hashed for nothing.
    judge(stored, policy)?;
    let verified =
        policy.verify_model(&artifact(stored), map(store, stored)?, &stored.signatures, SystemTime::now())?;
    for warning in &verified.evidence().warnings {
        tracing::warn!(model = %stored.name, version = %stored.version, "admitted although {warning}");
    }
    Ok(verified.map(|files| labelled(stored, files)))
}

/// Memory that `stored` takes for keys and values from when it is loaded, if it is a language model: as its package tells before
/// that, to those who have to find a place for it. What is read here never runs.
///
/// # Errors
/// [`LifecycleError::Broken`], when nothing can be made of its files.
pub fn cache_bytes(store: &Store, stored: &Stored) -> Result<u64, LifecycleError> {
    let files = labelled(stored, map(store, stored)?);
    generation::cache_bytes(files).map_err(|error| LifecycleError::Broken(error.to_string()))
}

fn map(store: &Store, stored: &Stored) -> Result<BTreeMap<String, Hashed>, LifecycleError> {
    let mut files = BTreeMap::new();
    for file in &stored.files {
        let missing = || LifecycleError::Broken(format!("{}: the registry has lost {}", file.path, file.digest));
        let blob = store.blob(&stored.repository, file.digest)?.ok_or_else(missing)?;
        files.insert(file.path.clone(), blob.map_hashed()?);
    }
    Ok(files)
}

fn labelled(stored: &Stored, files: BTreeMap<String, Hashed>) -> ModelFiles {
    let bytes = |(path, file): (String, Hashed)| (path, file.bytes().clone());
    ModelFiles::new(format!("{}:{}", stored.name, stored.version), files.into_iter().map(bytes))
}

fn artifact(stored: &Stored) -> Artifact {
    Artifact::model(&stored.name, &stored.version)
}
