//! The registry's gatekeeper: what is pushed is judged by the policy before anyone can see it.
//!
//! A signature may be pushed before what it signs, and a manifest is judged before its blobs are there: so a push that would
//! be refused costs the pusher a few kilobytes. What is let in here is not yet trusted; it is verified again when it is
//! loaded.

use std::time::SystemTime;

use bytes::Bytes;
use headland_package::oci::{self, PackedFile, RepositoryKind};
use headland_package::{AppName, ModelName, ModelVersion, Sha256Digest};
use headland_registry::oci::{Content, Gatekeeper, ManifestPut, Refusal};
use headland_registry::store::{Reference, Repository, Store};
use headland_trust::Policy;
use headland_trust::policy::Artifact;

use crate::models::catalog::{self, Stored};
use crate::models::{ModelControl, judge};
use crate::{AppControl, LifecycleError, PolicyWatch};

/// Judges by the policy in force.
pub struct PolicyGate {
    store: Store,
    policy: PolicyWatch,
    models: ModelControl,
    apps: AppControl,
}

impl PolicyGate {
    /// A gate in front of `store`.
    pub fn new(store: Store, policy: PolicyWatch, models: ModelControl, apps: AppControl) -> Self {
        PolicyGate { store, policy, models, apps }
    }

    fn judge_model(&self, name: &ModelName, put: &ManifestPut<'_>, files: &[PackedFile]) -> Result<(), Refusal> {
        let Some(version) = version_of(put.reference) else { return Ok(()) };
        let mut files = files.to_vec();
        files.retain(|file| file.path != headland_package::folder::SIGNATURE);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let signatures = catalog::referred_signatures(&self.store, put.repository, put.digest).map_err(failed)?;
        let (repository, manifest) = (put.repository.clone(), put.digest);
        let stored = Stored { name: name.clone(), version, repository, manifest, files, signatures };
        self.refuse_replay(&stored)?;
        // Common clients sign what they have pushed: without a signature yet, it is stored, and judged when it is loaded.
        let policy = self.policy.borrow().clone();
        match (policy, stored.signatures.is_empty()) {
            (Some(policy), false) => judge(&stored, &policy).map(drop).map_err(denied),
            _ => Ok(()),
        }
    }

    /// The files of a version under another version's number are an old model in new clothes; a second name is an alias.
    fn refuse_replay(&self, stored: &Stored) -> Result<(), Refusal> {
        let digest = stored.digest();
        let versions = catalog::versions(&self.store, &stored.name).map_err(failed)?;
        for (version, manifest) in &versions.manifests {
            if *version == stored.version || *manifest == stored.manifest {
                continue;
            }
            let Ok(other) = catalog::stored(&self.store, &stored.name, version, *manifest) else { continue };
            if other.digest() == digest {
                let (name, new) = (&stored.name, &stored.version);
                let message = format!(
                    "the files are those of `{name}:{version}`, pushed again as version `{new}`; to give that version \
                     another name, use `headland model alias {name}:{version} {new}`"
                );
                return Err(Refusal::Conflict { message });
            }
        }
        Ok(())
    }

    /// A signature is let in only if it counts for what it signs, once that is there.
    fn judge_signature(
        &self,
        kind: &RepositoryKind,
        put: &ManifestPut<'_>,
        bundle: &Bytes,
        subject: Sha256Digest,
        signed: &Bytes,
    ) -> Result<(), Refusal> {
        let policy = self.policy.borrow().clone();
        let Some(policy) = policy else { return Ok(()) };
        match kind {
            RepositoryKind::Model(name) => {
                for (version, manifest) in catalog::versions(&self.store, name).map_err(failed)?.manifests {
                    if manifest == subject {
                        let stored = catalog::stored(&self.store, name, &version, subject).map_err(denied)?;
                        let stored = Stored { signatures: vec![bundle.clone()], ..stored };
                        judge(&stored, &policy).map(drop).map_err(denied)?;
                    }
                }
            }
            RepositoryKind::App(name) => {
                let tags = self.store.tags(put.repository, None, headland_registry::store::TAGS_MAX).map_err(failed)?;
                for tag in tags.unwrap_or_default() {
                    let Ok(version) = tag.as_str().parse::<ModelVersion>() else { continue };
                    if self.store.tag(put.repository, &tag).map_err(failed)? == Some(subject) {
                        judge_app(&policy, name, &version, signed, &[bundle])?;
                    }
                }
            }
            RepositoryKind::Other => {}
        }
        Ok(())
    }
}

fn judge_app(
    policy: &Policy,
    name: &AppName,
    version: &ModelVersion,
    manifest: &Bytes,
    signatures: &[impl AsRef<[u8]>],
) -> Result<(), Refusal> {
    let artifact = Artifact::app(name, version);
    let verified = policy.verify_app(&artifact, manifest, signatures, SystemTime::now());
    verified.map(drop).map_err(|error| Refusal::Denied { message: error.to_string() })
}

impl Gatekeeper for PolicyGate {
    fn judge(&self, put: &ManifestPut<'_>) -> Result<(), Refusal> {
        let kind = oci::repository_kind(put.repository.as_str());
        match (&kind, &put.content) {
            (RepositoryKind::Model(name), Content::Model { files }) => self.judge_model(name, put, files),
            (RepositoryKind::App(name), Content::App(_)) => {
                let Some(version) = version_of(put.reference) else { return Ok(()) };
                let signatures =
                    catalog::referred_signatures(&self.store, put.repository, put.digest).map_err(failed)?;
                let policy = self.policy.borrow().clone();
                match (policy, signatures.is_empty()) {
                    (Some(policy), false) => judge_app(&policy, name, &version, put.bytes, &signatures),
                    _ => Ok(()),
                }
            }
            (kind, Content::Signature { bundle, subject, signed: Some(signed) }) => {
                self.judge_signature(kind, put, bundle, subject.digest, signed)
            }
            (RepositoryKind::Model(_), Content::App(_)) | (RepositoryKind::App(_), Content::Model { .. }) => {
                let message = format!(
                    "`{}` is no place for this: models are pushed to models/NAME:VERSION, apps to apps/NAME:VERSION",
                    put.repository
                );
                Err(Refusal::Denied { message })
            }
            _ => Ok(()),
        }
    }

    fn judge_delete(&self, repository: &Repository, reference: &Reference) -> Result<(), Refusal> {
        let digest = match reference {
            Reference::Digest(digest) => Some(*digest),
            Reference::Tag(tag) => self.store.tag(repository, tag).map_err(failed)?,
        };
        let Some(digest) = digest else { return Ok(()) };
        let (in_use, advice) = match oci::repository_kind(repository.as_str()) {
            RepositoryKind::Model(name) => {
                (self.models.is_loaded(&name, digest), "unload it first, or use `headland model rm --force`")
            }
            RepositoryKind::App(name) => {
                (self.apps.is_deployed(&name, digest), "remove the app, or deploy another version")
            }
            RepositoryKind::Other => (false, ""),
        };
        match in_use {
            true => Err(Refusal::Conflict { message: format!("{repository} {reference} is in use; {advice}") }),
            false => Ok(()),
        }
    }
}

fn version_of(reference: &Reference) -> Option<ModelVersion> {
    match reference {
        Reference::Tag(tag) => tag.as_str().parse().ok(),
        Reference::Digest(_) => None,
    }
}

fn denied(error: LifecycleError) -> Refusal {
    match error {
        LifecycleError::Store(source) => failed(source),
        error => Refusal::Denied { message: error.to_string() },
    }
}

fn failed(source: impl std::error::Error + Send + Sync + 'static) -> Refusal {
    Refusal::Failed { source: Box::new(source) }
}
