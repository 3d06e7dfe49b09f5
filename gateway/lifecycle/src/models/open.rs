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
    let mut files: BTreeMap<String, Hashed> = BTreeMap::new();
    for file in &stored.files {
        let missing = || LifecycleError::Broken(format!("{}: the registry has lost {}", file.path, file.digest));
        let blob = store.blob(&stored.repository, file.digest)?.ok_or_else(missing)?;
        files.insert(file.path.clone(), blob.map_hashed()?);
    }
    let verified = policy.verify_model(&artifact(stored), files, &stored.signatures, SystemTime::now())?;
    for warning in &verified.evidence().warnings {
        tracing::warn!(model = %stored.name, version = %stored.version, "admitted although {warning}");
    }
    let label = format!("{}:{}", stored.name, stored.version);
    let bytes = |(path, file): (String, Hashed)| (path, file.bytes().clone());
    Ok(verified.map(|files| ModelFiles::new(label, files.into_iter().map(bytes))))
}

fn artifact(stored: &Stored) -> Artifact {
    Artifact::model(&stored.name, &stored.version)
}
