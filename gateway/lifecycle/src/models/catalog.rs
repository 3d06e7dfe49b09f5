//! What models the registry has: versions and aliases by name, and the files and signatures of each.

use std::collections::BTreeMap;

use bytes::Bytes;
use headland_batcher::{Aliases, STABLE};
use headland_package::oci::{self, ARTIFACT_TYPE_SIGNATURE, Manifest, PackedFile, RepositoryKind};
use headland_package::{ModelName, ModelSelector, ModelVersion, Sha256Digest, folder};
use headland_registry::store::{Reference, Repository, Store, StoreError, Tag};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::LifecycleError;

/// The most repositories that are looked at for models.
const REPOSITORIES_MAX: usize = headland_registry::store::REPOSITORIES_MAX;
/// The most tags of one model that are looked at.
const TAGS_MAX: usize = headland_registry::store::TAGS_MAX;
/// The largest config blob that is read for a version.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// The versions of one model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// The manifest of each version.
    pub manifests: BTreeMap<ModelVersion, Sha256Digest>,
    /// Other tags, and the versions they stand for.
    pub aliases: Aliases,
}

impl Versions {
    /// The version that `selector` means: the one it names, the alias `stable` or else the highest. `None` when there is
    /// none, or it is a digest, which only the files tell.
    pub fn select(&self, selector: &ModelSelector) -> Option<ModelVersion> {
        let named = |version: &ModelVersion| match self.manifests.contains_key(version) {
            true => Some(version.clone()),
            false => self.aliases.get(version.as_str()).cloned(),
        };
        match selector {
            ModelSelector::Version(version) => named(version),
            ModelSelector::Latest => {
                let highest = || self.manifests.last_key_value().map(|(version, _)| version.clone());
                self.aliases.get(STABLE).cloned().or_else(highest)
            }
            ModelSelector::Digest(_) => None,
        }
    }
}

/// A version of a model as the registry has it: what it consists of, not yet opened and not yet trusted.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its name.
    pub name: ModelName,
    /// Its version.
    pub version: ModelVersion,
    /// Where it is kept.
    pub repository: Repository,
    /// Its manifest.
    pub manifest: Sha256Digest,
    /// Its files, in path order, without a signature that lies among them.
    pub files: Vec<PackedFile>,
    /// Everything that may be its signature.
    pub signatures: Vec<Bytes>,
}

impl Stored {
    /// The package's digest, as [`headland_package::ModelPackage::digest`] computes it from the files.
    pub fn digest(&self) -> Sha256Digest {
        let mut digests = Sha256::new();
        for file in &self.files {
            digests.update(file.digest.as_bytes());
        }
        Sha256Digest::from_raw(digests.finalize().into())
    }
}

/// The repository that holds the versions of `name`, if there can be one.
pub fn repository(name: &ModelName) -> Option<Repository> {
    oci::model_repository(name).ok()?.parse().ok()
}

/// Every model in the registry.
///
/// # Errors
/// The store cannot be read.
pub fn names(store: &Store) -> Result<Vec<ModelName>, StoreError> {
    let repositories = store.repositories(None, REPOSITORIES_MAX)?;
    let model = |repository: &Repository| match oci::repository_kind(repository.as_str()) {
        RepositoryKind::Model(name) => Some(name),
        RepositoryKind::App(_) | RepositoryKind::Other => None,
    };
    Ok(repositories.iter().filter_map(model).collect())
}

/// The versions and aliases of `name`; none when the registry does not have it.
///
/// # Errors
/// The store cannot be read.
pub fn versions(store: &Store, name: &ModelName) -> Result<Versions, StoreError> {
    let mut found = Versions::default();
    let Some(repository) = repository(name) else { return Ok(found) };
    let mut aliases = Vec::new();
    for tag in store.tags(&repository, None, TAGS_MAX)?.unwrap_or_default() {
        let Ok(named) = tag.as_str().parse::<ModelVersion>() else { continue };
        let Some(digest) = store.tag(&repository, &tag)? else { continue };
        // What is damaged is named when it is loaded; here it must not hide the others.
        let manifest = store.manifest(&repository, &Reference::Digest(digest)).unwrap_or_default();
        let stated =
            manifest.and_then(|manifest| stated_version(store, &repository, &manifest.bytes).unwrap_or_default());
        match stated {
            Some(stated) if stated != named => aliases.push((named, stated, digest)),
            _ => drop(found.manifests.insert(named, digest)),
        }
    }
    for (alias, version, digest) in aliases {
        // A tag whose manifest calls itself something that is not there is a version like any other.
        match found.manifests.get(&version) == Some(&digest) {
            true => found.aliases.insert(alias.as_str().to_owned(), version).map(drop),
            false => found.manifests.insert(alias, digest).map(drop),
        };
    }
    Ok(found)
}

/// The version that a model's config says it is, if it has such a config.
fn stated_version(store: &Store, repository: &Repository, manifest: &[u8]) -> Result<Option<ModelVersion>, StoreError> {
    #[derive(Deserialize)]
    struct Config {
        descriptor: About,
    }
    #[derive(Deserialize)]
    struct About {
        version: ModelVersion,
    }
    let Ok(manifest) = Manifest::parse(manifest) else { return Ok(None) };
    if manifest.config.size > CONFIG_BYTES_MAX {
        return Ok(None);
    }
    let Some(config) = store.blob(repository, manifest.config.digest)? else { return Ok(None) };
    let config = serde_json::from_slice::<Config>(&config.map_verified()?);
    Ok(config.ok().map(|config| config.descriptor.version))
}

/// What the registry has as `version` of `name`, and of which `manifest` is the manifest.
///
/// # Errors
/// The store cannot be read, or the manifest is none of a model.
pub fn stored(
    store: &Store,
    name: &ModelName,
    version: &ModelVersion,
    manifest: Sha256Digest,
) -> Result<Stored, LifecycleError> {
    let gone = || LifecycleError::NotFound(format!("model `{name}:{version}` is not in the registry"));
    let broken = |problem: String| LifecycleError::Broken(format!("model `{name}:{version}`: {problem}"));
    let repository = repository(name).ok_or_else(gone)?;
    let bytes = store.manifest(&repository, &Reference::Digest(manifest))?.ok_or_else(gone)?.bytes;
    let parsed = Manifest::parse(&bytes).map_err(|error| broken(error.to_string()))?;
    let mut files = oci::model_files(&parsed).map_err(|error| broken(error.to_string()))?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut signatures = referred_signatures(store, &repository, manifest)?;
    if let Some(index) = files.iter().position(|file| file.path == folder::SIGNATURE) {
        signatures.extend(signature_blob(store, &repository, files.remove(index).digest)?);
    }
    Ok(Stored { name: name.clone(), version: version.clone(), repository, manifest, files, signatures })
}

/// The bundles that refer to `subject` as its signatures.
///
/// # Errors
/// The store cannot be read.
pub fn referred_signatures(
    store: &Store,
    repository: &Repository,
    subject: Sha256Digest,
) -> Result<Vec<Bytes>, StoreError> {
    let mut signatures = Vec::new();
    for info in store.referrers(repository, subject, Some(ARTIFACT_TYPE_SIGNATURE))? {
        let Some(manifest) = store.manifest(repository, &Reference::Digest(info.digest))? else { continue };
        let Ok(manifest) = Manifest::parse(&manifest.bytes) else { continue };
        let Ok((bundle, _)) = oci::signature_layer(&manifest) else { continue };
        signatures.extend(signature_blob(store, repository, bundle.digest)?);
    }
    Ok(signatures)
}

fn signature_blob(store: &Store, repository: &Repository, digest: Sha256Digest) -> Result<Option<Bytes>, StoreError> {
    match store.blob(repository, digest)? {
        Some(blob) if blob.size() <= oci::SIGNATURE_BYTES_MAX => blob.map_verified().map(Some),
        _ => Ok(None),
    }
}

/// The tag that a version or alias has in the registry.
pub fn tag(version: &ModelVersion) -> Option<Tag> {
    version.as_str().parse().ok()
}
