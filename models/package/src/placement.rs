//! What `headland.model.toml` says of where in a fleet the model may be: `[placement]`.

use serde::{Deserialize, Serialize};

use crate::{ByteSize, RegionName};

/// The most replicas a model may ask for.
pub const REPLICAS_MAX: u32 = 10_000;
/// The highest priority; the default is 1.
const PRIORITY_MAX: u32 = 1_000;

/// `[placement]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlacementManifest {
    /// Whether it needs a GPU.
    pub accelerator: Accelerator,
    /// The fewest PoPs that keep it loaded; with 0 it is loaded when it is asked for.
    pub min_replicas: u32,
    /// The most PoPs that hold it.
    pub max_replicas: Option<u32>,
    /// Replicas are spread over at least so many failure domains, where there are so many replicas.
    pub min_domains: u32,
    /// The only regions it may be in; all of them when empty.
    pub regions: Vec<RegionName>,
    /// Device memory it takes, where that is known better than from the size of its files.
    pub memory: Option<ByteSize>,
    /// What a request for it is worth beside one for another model, where not everything can be placed.
    pub priority: u32,
}

impl Default for PlacementManifest {
    fn default() -> Self {
        PlacementManifest {
            accelerator: Accelerator::default(),
            min_replicas: 1,
            max_replicas: None,
            min_domains: 1,
            regions: Vec::new(),
            memory: None,
            priority: 1,
        }
    }
}

/// Whether a model needs a GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// It runs on GPUs alone.
    Required,
    /// It runs on a GPU where one has room, else on a processor.
    Preferred,
    /// It runs on processors.
    #[default]
    None,
}

impl PlacementManifest {
    /// Refuses numbers that cannot be.
    pub(crate) fn check(&self) -> Result<(), String> {
        let max = self.max_replicas.unwrap_or(REPLICAS_MAX);
        if !(1..=REPLICAS_MAX).contains(&max) || self.min_replicas > max {
            return Err(format!(
                "[placement] `max_replicas` is between 1 and {REPLICAS_MAX}, and `min_replicas` no more than it"
            ));
        }
        if self.min_domains == 0 || self.min_domains > self.min_replicas.max(1) {
            return Err("[placement] `min_domains` is between 1 and `min_replicas`".to_owned());
        }
        if self.priority == 0 || self.priority > PRIORITY_MAX {
            return Err(format!("[placement] `priority` is between 1 and {PRIORITY_MAX}"));
        }
        Ok(())
    }
}
