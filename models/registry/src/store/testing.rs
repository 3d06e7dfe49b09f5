//! A store in a temporary folder, and short ways to fill it.

use std::time::{Duration, SystemTime};

use headland_package::Sha256Digest;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

pub(super) const IMAGE: &str = MANIFEST_TYPES[0];
pub(super) const INDEX: &str = INDEX_TYPES[0];

/// A store and its folder, which goes with it.
pub(super) struct Fixture {
    pub(super) store: Store,
    pub(super) options: StoreOptions,
    pub(super) dir: TempDir,
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self::with(StoreOptions::default())
    }

    pub(super) fn with(options: StoreOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Fixture { store: Store::open(dir.path(), options).unwrap(), options, dir }
    }

    /// Where everything unnamed is garbage at once.
    pub(super) fn without_grace() -> Self {
        Self::with(StoreOptions { grace: Duration::ZERO, upload_expiry: Duration::ZERO, ..StoreOptions::default() })
    }

    /// Closes the store and opens it again.
    pub(super) fn reopened(self) -> Self {
        let Fixture { store, options, dir } = self;
        drop(store);
        Fixture { store: Store::open(dir.path(), options).unwrap(), options, dir }
    }

    pub(super) fn used(&self) -> u64 {
        self.store.usage().unwrap().used_bytes
    }

    pub(super) fn upload(&self, repository: &str, bytes: &[u8]) -> Sha256Digest {
        let mut upload = self.store.begin_upload(&repo(repository)).unwrap();
        upload.write(bytes).unwrap();
        upload.finish(Sha256Digest::of(bytes)).unwrap().digest
    }

    pub(super) fn put(&self, repository: &str, reference: &str, document: &Value) -> Result<ManifestInfo, StoreError> {
        let media_type = if document.get("manifests").is_some() { INDEX } else { IMAGE };
        let bytes = document.to_string().into_bytes();
        self.store.put_manifest(&repo(repository), &reference.parse().unwrap(), media_type, &bytes)
    }

    /// Uploads a config and layers and tags a manifest of them.
    pub(super) fn push(&self, repository: &str, tag: &str, layers: &[&str]) -> ManifestInfo {
        for content in layers.iter().chain(&["config"]) {
            self.upload(repository, content.as_bytes());
        }
        self.put(repository, tag, &image(layers)).unwrap()
    }

    /// Makes a file look as if nobody had touched it for a year.
    pub(super) fn age(&self, path: &std::path::Path) {
        let long_ago = SystemTime::now() - Duration::from_secs(365 * 24 * 3600);
        File::open(path).unwrap().set_modified(long_ago).unwrap();
    }
}

pub(super) fn repo(name: &str) -> Repository {
    name.parse().unwrap()
}

pub(super) fn tag(name: &str) -> Tag {
    name.parse().unwrap()
}

pub(super) fn descriptor(content: &str) -> Value {
    json!({ "mediaType": "x/y", "digest": Sha256Digest::of(content.as_bytes()).to_string(), "size": content.len() })
}

pub(super) fn descriptor_of(info: &ManifestInfo) -> Value {
    json!({ "mediaType": info.media_type, "digest": info.digest.to_string(), "size": info.size })
}

pub(super) fn image(layers: &[&str]) -> Value {
    let layers: Vec<_> = layers.iter().map(|content| descriptor(content)).collect();
    json!({ "schemaVersion": 2, "mediaType": IMAGE, "config": descriptor("config"), "layers": layers })
}

/// A manifest about another one.
pub(super) fn referrer(subject: Value, artifact_type: &str) -> Value {
    let mut document = image(&[]);
    document["subject"] = subject;
    document["artifactType"] = artifact_type.into();
    document
}
