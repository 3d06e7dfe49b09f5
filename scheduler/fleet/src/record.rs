//! What an operator has said, as the control store keeps it: models, aliases, apps, and what a PoP is to do.

use std::collections::BTreeMap;
use std::fmt;

use headland_package::{Accelerator, AppName, ModelName, ModelVersion, PopId, RegionName, Sha256Digest};
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
    /// Where it may be.
    pub needs: Needs,
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
