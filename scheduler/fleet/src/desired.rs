//! What the leader wants: of each PoP, what it holds ([`Desired`]); for each region, where its requests go ([`Routes`]).
//!
//! Both carry the leader's epoch, which grows with every election, and a generation, which grows with every change: who has
//! seen a higher one refuses a lower one, so that a leader that lost its lease and does not know it changes nothing.

use std::collections::BTreeMap;

use headland_package::{AppName, ModelName, ModelVersion, PopId, RegionName, Sha256Digest};
use serde::{Deserialize, Serialize};

use crate::{Document, ModelKey};

/// What a PoP is to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// Who.
    pub pop: PopId,
    /// The term of the leader that wrote it.
    pub epoch: u64,
    /// Grows with every change of it.
    pub generation: u64,
    /// The models it holds, by name and version.
    pub models: Vec<DesiredModel>,
    /// The apps it serves, by name.
    pub apps: Vec<DesiredApp>,
}

impl Document for Desired {
    const WHAT: &'static str = "desired state";
}

/// A model that a PoP is to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredModel {
    /// Which.
    #[serde(flatten)]
    pub key: ModelKey,
    /// Digest of its manifest.
    pub manifest: Sha256Digest,
    /// How it is to be held.
    pub keep: Keep,
    /// Who has its files, the nearest first.
    pub sources: Vec<Source>,
}

/// How a model is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// In memory, ready to answer.
    Loaded,
    /// On disk, loaded by the first request.
    Stored,
}

/// An app that a PoP is to serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredApp {
    /// Which.
    pub name: AppName,
    /// Its version.
    pub version: ModelVersion,
    /// Digest of its manifest.
    pub manifest: Sha256Digest,
    /// Who has its files, the nearest first.
    pub sources: Vec<Source>,
}

/// A member of the fleet that has files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Source {
    /// Its name: what its certificate must say.
    pub pop: PopId,
    /// Where its peer plane listens, `HOST:PORT`.
    pub address: String,
}

/// Where the requests of a region go for models that are not held where they arrive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Routes {
    /// Whose requests.
    pub region: RegionName,
    /// The term of the leader that wrote it.
    pub epoch: u64,
    /// Grows with every change of it.
    pub generation: u64,
    /// By name and version.
    pub models: Vec<RoutedModel>,
    /// What other names of versions stand for.
    pub aliases: BTreeMap<ModelName, BTreeMap<String, ModelVersion>>,
}

impl Document for Routes {
    const WHAT: &'static str = "routes";
}

/// Where the requests for a model go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoutedModel {
    /// Which.
    #[serde(flatten)]
    pub key: ModelKey,
    /// Digest of its package.
    pub digest: Sha256Digest,
    /// Who may be asked, the best first.
    pub candidates: Vec<Candidate>,
}

/// A PoP that may be asked for a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Which, and where.
    #[serde(flatten)]
    pub source: Source,
    /// The part of the region's requests that is planned for it, from 0 to 1; 0 for one that only stands by.
    pub share: f64,
}
