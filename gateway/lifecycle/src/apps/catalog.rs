//! What apps the registry has: the versions of each, and the files and signatures of one.

use std::collections::BTreeMap;

use bytes::Bytes;
use headland_package::oci::{self, AppFiles, Manifest, RepositoryKind};
use headland_package::{AppName, ModelVersion, Sha256Digest};
use headland_registry::store::{REPOSITORIES_MAX, Reference, Repository, Store, StoreError, TAGS_MAX};

use crate::LifecycleError;
use crate::models::catalog::referred_signatures;

/// A version of an app as the registry has it: not yet opened and not yet trusted.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its name.
    pub name: AppName,
    /// Its version.
    pub version: ModelVersion,
    /// Where it is kept.
    pub repository: Repository,
    /// The digest of its manifest.
    pub manifest: Sha256Digest,
    /// The manifest itself.
    pub bytes: Bytes,
    /// Everything that may be its signature.
    pub signatures: Vec<Bytes>,
}

impl Stored {
    /// The files that the manifest lists.
    ///
    /// # Errors
    /// [`LifecycleError::Broken`] when it is none of an app.
    pub fn files(&self) -> Result<AppFiles, LifecycleError> {
        let parsed = Manifest::parse(&self.bytes).map_err(|error| self.broken(error))?;
        oci::app_files(&parsed).map_err(|error| self.broken(error))
    }

    /// Something about it that makes it unusable.
    pub(super) fn broken(&self, problem: impl std::fmt::Display) -> LifecycleError {
        LifecycleError::Broken(format!("app `{}:{}`: {problem}", self.name, self.version))
    }
}

/// The repository that holds the versions of `name`, if there can be one.
pub fn repository(name: &AppName) -> Option<Repository> {
    oci::app_repository(name).ok()?.parse().ok()
}

/// Every app in the registry.
///
/// # Errors
/// The store cannot be read.
pub fn names(store: &Store) -> Result<Vec<AppName>, StoreError> {
    let repositories = store.repositories(None, REPOSITORIES_MAX)?;
    let app = |repository: &Repository| match oci::repository_kind(repository.as_str()) {
        RepositoryKind::App(name) => Some(name),
        RepositoryKind::Model(_) | RepositoryKind::Other => None,
    };
    Ok(repositories.iter().filter_map(app).collect())
}

/// The manifest of each version of `name`: its tags.
///
/// # Errors
/// The store cannot be read.
pub fn versions(store: &Store, name: &AppName) -> Result<BTreeMap<ModelVersion, Sha256Digest>, StoreError> {
    let mut found = BTreeMap::new();
    let Some(repository) = repository(name) else { return Ok(found) };
    for tag in store.tags(&repository, None, TAGS_MAX)?.unwrap_or_default() {
        if let (Ok(version), Some(manifest)) = (tag.as_str().parse(), store.tag(&repository, &tag)?) {
            found.insert(version, manifest);
        }
    }
    Ok(found)
}

/// What the registry has as `version` of `name`, and of which `manifest` is the manifest.
///
/// # Errors
/// [`LifecycleError::NotFound`], or the store cannot be read.
pub fn stored(
    store: &Store,
    name: &AppName,
    version: &ModelVersion,
    manifest: Sha256Digest,
) -> Result<Stored, LifecycleError> {
    let gone =
        || LifecycleError::NotFound(format!("app `{name}:{version}` ({manifest}) is not in the registry any more"));
    let repository = repository(name).ok_or_else(gone)?;
    let bytes = store.manifest(&repository, &Reference::Digest(manifest))?.ok_or_else(gone)?.bytes;
    let signatures = referred_signatures(store, &repository, manifest)?;
    Ok(Stored { name: name.clone(), version: version.clone(), repository, manifest, bytes, signatures })
}
