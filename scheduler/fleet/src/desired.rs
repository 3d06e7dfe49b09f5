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
    /// The store that it was written to; see [`crate::Era`].
    pub era: u64,
    /// The term of the leader that wrote it.
    pub epoch: u64,
    /// Grows with every change of it.
    pub generation: u64,
    /// The models it holds, by name and version.
    pub models: Vec<DesiredModel>,
    /// The apps it serves, by name.
    pub apps: Vec<DesiredApp>,
    /// What other names of versions stand for there: of the models it holds, and of those that a rollout under way has come to it
    /// with. It goes before what [`Routes::aliases`] say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<ModelName, BTreeMap<String, ModelVersion>>,
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
    /// The device it is to be loaded on, as the PoP calls it; what its package says, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
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
    /// Whether it is a control plane, and its certificate says so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub control: bool,
}

/// Routes are stored in so many parts for each region: a part stays small, and a model that moves has one of them written
/// anew.
pub const ROUTE_PARTS: u8 = 16;

/// Where the requests of a region go for models that are not held where they arrive: for one in [`ROUTE_PARTS`] of the models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Routes {
    /// Whose requests.
    pub region: RegionName,
    /// Which models: those whose [`Routes::part_of`] this is.
    pub part: u8,
    /// The store that it was written to; see [`crate::Era`].
    pub era: u64,
    /// The term of the leader that wrote it.
    pub epoch: u64,
    /// Grows with every change of it.
    pub generation: u64,
    /// By name and version.
    pub models: Vec<RoutedModel>,
    /// What other names of those models' versions stand for, unless a PoP's [`Desired`] says otherwise for it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<ModelName, BTreeMap<String, ModelVersion>>,
}

impl Document for Routes {
    const WHAT: &'static str = "routes";
}

impl Routes {
    /// The part that a model's routes are in.
    pub fn part_of(name: &ModelName) -> u8 {
        Sha256Digest::of(name.as_str().as_bytes()).as_bytes()[0] % ROUTE_PARTS
    }
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
