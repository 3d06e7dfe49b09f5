//! Verifying a signed model: as a load out of the store does, every byte mapped, hashed and held against the signature,
//! and as `headland model verify` does, on a folder.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result};
use headland_package::{Hashed, ModelName, ModelVersion, Sha256Digest};
use headland_registry::store::{Repository, Store, StoreOptions};
use headland_trust::{Artifact, Policy};

use super::MILLISECONDS;
use super::scratch::{Scratch, hash, settle, since, timed};
use super::upload::store_file;
use crate::Setup;
use headland_report::Section;

const FILES: [&str; 2] = ["config.json", "model.onnx"];
const STORE: &str = "verified-store";

/// A model in a store, and what judges it.
struct Stored {
    store: Store,
    repository: Repository,
    files: Vec<(String, Sha256Digest)>,
    signature: Vec<u8>,
    policy: Policy,
    artifact: Artifact,
}

pub fn measure(setup: &Setup, scratch: &Scratch) -> Result<Section> {
    let stored = Stored::make(scratch)?;
    let mut section =
        Section::new(&format!("verifying a model of {}, from the page cache", scratch.size), MILLISECONDS);
    for _ in 0..setup.rounds {
        hash(&scratch.weights())?.iter().for_each(|(name, took)| section.add(name, *took));
        settle(&scratch.path(STORE))?;
        section.add("as a load does: map, hash, judge", stored.verify()?);
        settle(&scratch.model())?;
        let mut verify = Command::new(&setup.binary);
        verify.args(["model", "verify"]).arg(scratch.model()).arg("--key").arg(scratch.path("key.pub"));
        section.add("headland model verify", timed(&mut verify)?);
    }
    drop(stored);
    scratch.remove(STORE)?;
    Ok(section)
}

impl Stored {
    fn make(scratch: &Scratch) -> Result<Self> {
        let store = Store::open(&scratch.path(STORE), StoreOptions::default())?;
        let repository: Repository = "models/bench".parse()?;
        let mut files = Vec::new();
        for path in FILES {
            let full = scratch.model().join(path);
            let digest = Sha256Digest::of_file(&full)?;
            store_file(&store, &repository, &full, digest)?;
            files.push((path.to_owned(), digest));
        }
        let artifact = Artifact::model(&"bench".parse::<ModelName>()?, &"1".parse::<ModelVersion>()?);
        let (signature, policy) = (fs::read(scratch.signature())?, Policy::read(&scratch.path("policy.toml"))?);
        Ok(Stored { store, repository, files, signature, policy, artifact })
    }

    /// What `headland up` does before it builds a model.
    fn verify(&self) -> Result<f64> {
        let started = Instant::now();
        let mut files: BTreeMap<String, Hashed> = BTreeMap::new();
        for (path, digest) in &self.files {
            let blob = self.store.blob(&self.repository, *digest)?.context("the blob that was just stored")?;
            files.insert(path.clone(), blob.map_hashed()?);
        }
        let verified = self.policy.verify_model(&self.artifact, files, &[&self.signature], SystemTime::now())?;
        let took = since(started);
        drop(verified);
        Ok(took)
    }
}
