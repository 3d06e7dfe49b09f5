//! What a registry has, beside what the fleet's records say, and telling the one to the other.
//!
//! Stands under `keep.rs`, where several registries and the records are brought into agreement, and `alone.rs`, where one
//! registry is all there is.

use std::collections::BTreeMap;
use std::sync::Arc;

use headland_control_store::{ControlStore, Key, KeyError, Prefix, StoreError};
use headland_fleet::{Aliases, AppRecord, Document, ModelKey, ModelRecord, kind};
use headland_lifecycle::models::{self, catalog};
use headland_lifecycle::{AppControl, LifecycleError};
use headland_package::{AppName, MANIFEST, ModelName, ModelVersion, PlacementManifest, Sha256Digest, placement_of};
use headland_registry::store::Store;

/// The largest manifest of a package that is read, in bytes.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;

/// The versions that a model's other names stand for.
pub(crate) type AliasesOf = BTreeMap<String, ModelVersion>;

/// One side of things: what there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Side {
    pub models: BTreeMap<ModelKey, Sha256Digest>,
    pub aliases: BTreeMap<ModelName, AliasesOf>,
    pub apps: BTreeMap<AppName, (ModelVersion, Sha256Digest)>,
}

/// Why something was not told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TellError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    #[error("the work was interrupted")]
    Interrupted,
}

/// Reads both sides, and writes records.
#[derive(Clone)]
pub(crate) struct Teller {
    /// The records.
    pub control: Arc<dyn ControlStore>,
    /// The registry here.
    pub store: Store,
    /// Its apps.
    pub apps: AppControl,
}

impl Teller {
    /// What the registry here has, and what is deployed.
    pub async fn here(&self) -> Result<Side, TellError> {
        let (store, apps) = (self.store.clone(), self.apps.deployed());
        let read = move || -> Result<Side, LifecycleError> {
            let mut side = Side { apps, ..Side::default() };
            for name in catalog::names(&store)? {
                let versions = catalog::versions(&store, &name)?;
                for (version, manifest) in versions.manifests {
                    side.models.insert(ModelKey { name: name.clone(), version }, manifest);
                }
                if !versions.aliases.is_empty() {
                    side.aliases.insert(name, versions.aliases);
                }
            }
            Ok(side)
        };
        Ok(tokio::task::spawn_blocking(read).await.map_err(|_| TellError::Interrupted)??)
    }

    /// What the records say. What cannot be read is left as it is.
    pub async fn fleet(&self) -> Result<Side, TellError> {
        let mut side = Side::default();
        for entry in self.control.list(&Prefix::kind(kind::MODEL)?).await? {
            if let Ok(record) = ModelRecord::decode(&entry.value) {
                side.models.insert(record.key, record.manifest);
            }
        }
        for entry in self.control.list(&Prefix::kind(kind::ALIASES)?).await? {
            if let Ok(record) = Aliases::decode(&entry.value) {
                side.aliases.insert(record.name, record.aliases);
            }
        }
        for entry in self.control.list(&Prefix::kind(kind::APP)?).await? {
            if let Ok(record) = AppRecord::decode(&entry.value) {
                side.apps.insert(record.name, (record.version, record.manifest));
            }
        }
        Ok(side)
    }

    /// Tells of a version that the registry has.
    pub async fn tell_model(&self, key: &ModelKey, manifest: Sha256Digest) -> Result<(), TellError> {
        let record = self.record(key.clone(), manifest).await?;
        self.put(&model_key(key)?, record.encode()).await
    }

    /// Tells what a model's other names stand for.
    pub async fn tell_aliases(&self, name: &ModelName, aliases: &AliasesOf) -> Result<(), TellError> {
        let record = Aliases { name: name.clone(), aliases: aliases.clone() };
        self.put(&aliases_key(name)?, record.encode()).await
    }

    /// Tells of an app that is deployed.
    pub async fn tell_app(
        &self,
        name: &AppName,
        (version, manifest): &(ModelVersion, Sha256Digest),
    ) -> Result<(), TellError> {
        let record = AppRecord { name: name.clone(), version: version.clone(), manifest: *manifest };
        self.put(&app_key(name)?, record.encode()).await
    }

    /// Takes a record back.
    pub async fn retract(&self, key: &Key) -> Result<(), TellError> {
        Ok(self.control.delete(key, None).await?)
    }

    /// Writes a record, unless it says so already.
    pub async fn put(&self, key: &Key, value: Vec<u8>) -> Result<(), TellError> {
        let value = bytes::Bytes::from(value);
        match self.control.get(key).await? {
            Some(entry) if entry.value == value => {}
            Some(entry) => drop(self.control.update(key, value, entry.revision).await?),
            None => drop(self.control.create(key, value).await?),
        }
        Ok(())
    }

    /// What is told of a version: where it may be stands in its package.
    async fn record(&self, key: ModelKey, manifest: Sha256Digest) -> Result<ModelRecord, TellError> {
        let store = self.store.clone();
        let read = move || -> Result<ModelRecord, LifecycleError> {
            let stored = catalog::stored(&store, &key.name, &key.version, manifest)?;
            let file = stored.files.iter().find(|file| file.path == MANIFEST && file.size <= MANIFEST_BYTES_MAX);
            let blob = file.map(|file| store.blob(&stored.repository, file.digest)).transpose()?.flatten();
            let placement = match blob {
                Some(blob) => placement_of(MANIFEST, &blob.map_verified()?)
                    .map_err(|error| LifecycleError::Broken(error.to_string()))?,
                None => PlacementManifest::default(),
            };
            let bytes = stored.files.iter().map(|file| file.size).sum();
            // One that cannot be loaded takes nothing; who tries says why.
            let cache_bytes = models::cache_bytes(&store, &stored).unwrap_or_else(|error| {
                tracing::warn!(model = %key, %error, "what it takes beside its files is not known");
                0
            });
            Ok(ModelRecord { manifest, digest: stored.digest(), bytes, cache_bytes, needs: placement.into(), key })
        };
        Ok(tokio::task::spawn_blocking(read).await.map_err(|_| TellError::Interrupted)??)
    }
}

/// Where a version's record is.
pub(crate) fn model_key(key: &ModelKey) -> Result<Key, KeyError> {
    Key::new(kind::MODEL, [key.name.as_str(), key.version.as_str()])
}

/// Where the record of a model's aliases is.
pub(crate) fn aliases_key(name: &ModelName) -> Result<Key, KeyError> {
    Key::new(kind::ALIASES, [name.as_str()])
}

/// Where an app's record is.
pub(crate) fn app_key(name: &AppName) -> Result<Key, KeyError> {
    Key::new(kind::APP, [name.as_str()])
}
