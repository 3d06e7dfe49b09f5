//! What an operator has said, as the control store keeps it: models, aliases, apps, the trust policy, and what a
//! PoP is to do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use headland_package::{
    Accelerator, AppName, ModelName, ModelVersion, PlacementManifest, PopId, RegionName, Sha256Digest,
};
use serde::{Deserialize, Serialize};

use crate::Document;

/// A version of a model.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ModelKey {
    /// The model.
    pub name: ModelName,
    /// The version.
    pub version: ModelVersion,
}

/// As people write it: `name:version`.
impl fmt::Display for ModelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.version)
    }
}

/// A version of a model that the fleet has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRecord {
    /// Which.
    #[serde(flatten)]
    pub key: ModelKey,
    /// Digest of its manifest in the registry.
    pub manifest: Sha256Digest,
    /// Digest of its package, as its signature has it.
    pub digest: Sha256Digest,
    /// Its files together, in bytes.
    pub bytes: u64,
    /// Memory that it takes for more than its files from when it is loaded: a language model's for keys and values, in bytes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_bytes: u64,
    /// Where it may be.
    pub needs: Needs,
}

fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}

impl Document for ModelRecord {
    const WHAT: &'static str = "model record";
}

/// Where a model may be, as its package says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Whether it needs a GPU.
    pub accelerator: Accelerator,
    /// The fewest PoPs that keep it loaded.
    pub min_replicas: u32,
    /// The most PoPs that hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_replicas: Option<u32>,
    /// The fewest failure domains, where there are as many replicas.
    pub min_domains: u32,
    /// The only regions it may be in; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<RegionName>,
    /// Device memory it takes, in bytes, where its package says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// What a request for it is worth beside those for others.
    pub priority: u32,
}

impl From<PlacementManifest> for Needs {
    fn from(placement: PlacementManifest) -> Self {
        Needs {
            accelerator: placement.accelerator,
            min_replicas: placement.min_replicas,
            max_replicas: placement.max_replicas,
            min_domains: placement.min_domains,
            regions: placement.regions,
            memory_bytes: placement.memory.map(|memory| memory.0),
            priority: placement.priority,
        }
    }
}

/// What other names of a model's versions stand for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aliases {
    /// The model.
    pub name: ModelName,
    /// The version of each alias.
    pub aliases: BTreeMap<String, ModelVersion>,
}

impl Document for Aliases {
    const WHAT: &'static str = "alias record";
}

/// An app that is deployed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppRecord {
    /// Which.
    pub name: AppName,
    /// The version that is to serve.
    pub version: ModelVersion,
    /// Digest of its manifest in the registry.
    pub manifest: Sha256Digest,
}

impl Document for AppRecord {
    const WHAT: &'static str = "app record";
}

/// What the fleet's trust policy says, for the plan and for people: not the keys. Every member judges by its own policy file; this
/// says what those are, so that nothing is planned for where it would be refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRecord {
    /// Its rules, in the order they are held against an artifact: the first that fits decides, and what none fits is refused.
    pub rules: Vec<PolicyRule>,
}

impl PolicyRecord {
    /// What the one record of its kind is called.
    pub const NAME: &str = "trust";
}

impl Document for PolicyRecord {
    const WHAT: &'static str = "policy record";
}

/// A rule of the trust policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRule {
    /// What it is called.
    pub name: String,
    /// The glob over `models/NAME` and `apps/NAME` that says what it decides about.
    pub artifact: String,
    /// Whether it admits anything at all.
    pub admits: bool,
    /// Where what it admits may run; anywhere when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regions: Option<BTreeSet<String>>,
    /// The classes of devices it may run on, `cpu` and `cuda`; any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accelerators: Option<BTreeSet<String>>,
}

/// How old the store is, in milliseconds since 1970: one that was lost and made anew has a later era, and counts its epochs from
/// the beginning. What was written in an earlier era never counts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Era {
    /// When it began.
    pub began_unix_ms: u64,
}

impl Document for Era {
    const WHAT: &'static str = "store's era";
}

/// What an operator wants of a PoP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Intent {
    /// To hold and serve models.
    #[default]
    Active,
    /// To keep what it holds, and get nothing new.
    Cordoned,
    /// To hand over what it holds, and then hold nothing.
    Draining,
}

impl fmt::Display for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Intent::Active => "active",
            Intent::Cordoned => "cordoned",
            Intent::Draining => "draining",
        })
    }
}

/// What is wanted of a PoP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PopRecord {
    /// Which.
    pub pop: PopId,
    /// What.
    pub intent: Intent,
}

impl Document for PopRecord {
    const WHAT: &'static str = "PoP record";
}
