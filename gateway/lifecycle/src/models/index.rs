//! What there is: every version in the registry and every loaded model, each with its state and the reason for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use headland_batcher::Model;
use headland_package::oci::PackedFile;
use headland_package::{ModelName, ModelRef, ModelSelector, ModelVersion};
use headland_trust::Verified;
use serde::Serialize;

use super::{Key, ModelControl, blocking, catalog, lock};
use crate::LifecycleError;
use headland_trust::chain;

/// One version of a model.
#[derive(Clone, Debug, Serialize)]
pub struct IndexEntry {
    /// Its name.
    pub name: ModelName,
    /// Its version.
    pub version: ModelVersion,
    /// Whether it answers.
    pub state: ModelState,
    /// Why it is in that state, where there is something to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why it is let in, if it is loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admitted: Option<String>,
    /// Aliases that stand for it.
    pub aliases: Vec<String>,
    /// Whether the registry has it; a model loaded from a folder need not be there.
    pub in_registry: bool,
    /// Digest of its manifest in the registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// Its files' sizes together, in bytes, where the registry has them.
    pub bytes: u64,
}

/// Whether a model answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ModelState {
    /// It is loaded.
    Ready,
    /// It is being loaded.
    Loading,
    /// It is not loaded; it may be when it is asked for.
    Unavailable,
}

/// What the registry has of a version.
#[derive(Clone, Debug, Serialize)]
pub struct StoredDetails {
    /// Its files, in path order.
    pub files: Vec<StoredFile>,
    /// How many signatures it has.
    pub signatures: usize,
}

/// A file of a model in the registry.
#[derive(Clone, Debug, Serialize)]
pub struct StoredFile {
    /// Its path inside the model.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its digest.
    pub digest: String,
}

/// How a version stands that is not loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It waits for whoever asks for it.
    Waits,
    /// It is being loaded.
    Loading,
    /// The last load of it failed, for this reason.
    Failed(String),
}

impl ModelControl {
    /// How a version stands that is not in the table.
    pub fn progress(&self, name: &ModelName, version: &ModelVersion) -> Progress {
        let key = (name.clone(), version.clone());
        if lock(&self.0.loads).contains_key(&key) {
            return Progress::Loading;
        }
        let reason = lock(&self.0.failures).get(&key).map(|failure| chain(&*failure.error));
        reason.map_or(Progress::Waits, Progress::Failed)
    }

    /// What the registry has of this version.
    ///
    /// # Errors
    /// [`LifecycleError::NotFound`], or the store cannot be read.
    pub async fn stored(&self, name: &ModelName, version: &ModelVersion) -> Result<StoredDetails, LifecycleError> {
        let asked = ModelRef { name: name.clone(), selector: ModelSelector::Version(version.clone()) };
        let missing = || LifecycleError::NotFound(format!("model `{asked}` is not in the registry"));
        let stored = self.find(&asked).await?.ok_or_else(missing)?;
        let file = |file: PackedFile| StoredFile { path: file.path, bytes: file.size, digest: file.digest.to_string() };
        Ok(StoredDetails { signatures: stored.signatures.len(), files: stored.files.into_iter().map(file).collect() })
    }

    /// Every version, by name and then version.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn index(&self) -> Result<Vec<IndexEntry>, LifecycleError> {
        let control = self.clone();
        blocking(move || control.index_blocking()).await
    }

    fn index_blocking(&self) -> Result<Vec<IndexEntry>, LifecycleError> {
        let store = &self.0.parts.store;
        let mut ready: BTreeMap<Key, Verified<Arc<Model>>> = BTreeMap::new();
        for model in self.0.parts.table.admitted() {
            let info = model.get().info();
            ready.insert((info.name.clone(), info.version.clone()), model);
        }
        let mut entries = Vec::new();
        for name in catalog::names(store)? {
            let versions = catalog::versions(store, &name)?;
            for (version, manifest) in &versions.manifests {
                let aliases = versions.aliases.iter().filter(|(_, target)| *target == version);
                let aliases = aliases.map(|(alias, _)| alias.clone()).collect();
                let stored = catalog::stored(store, &name, version, *manifest);
                let bytes = stored.as_ref().map_or(0, |stored| stored.files.iter().map(|file| file.size).sum());
                let key = (name.clone(), version.clone());
                let mut entry = self.entry(&key, ready.remove(&key).as_ref());
                if let (Err(error), None) = (&stored, &entry.reason) {
                    entry.reason = Some(chain(error));
                }
                entries.push(IndexEntry {
                    aliases,
                    in_registry: true,
                    manifest: Some(manifest.to_string()),
                    bytes,
                    ..entry
                });
            }
        }
        entries.extend(ready.iter().map(|(key, model)| self.entry(key, Some(model))));
        entries.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        Ok(entries)
    }

    /// What is known of a version without the registry.
    fn entry(&self, key: &Key, model: Option<&Verified<Arc<Model>>>) -> IndexEntry {
        let (state, reason) = match (model, self.progress(&key.0, &key.1)) {
            (Some(_), _) => (ModelState::Ready, None),
            (None, Progress::Loading) => (ModelState::Loading, None),
            (None, Progress::Waits) => (ModelState::Unavailable, None),
            (None, Progress::Failed(reason)) => (ModelState::Unavailable, Some(reason)),
        };
        IndexEntry {
            name: key.0.clone(),
            version: key.1.clone(),
            state,
            reason,
            admitted: model.map(|model| model.evidence().to_string()),
            aliases: Vec::new(),
            in_registry: false,
            manifest: None,
            bytes: 0,
        }
    }
}
