//! What could not be placed, in sentences that say what would help.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::bytes;
use crate::ids::{ModelKey, PopId, RegionId};
use crate::input::DeviceKind;

/// Something a model lacks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unplaced {
    /// The model.
    pub model: ModelKey,
    /// Replicas that its minimum asks for and that are missing.
    pub replicas: u32,
    /// Failure domains that are missing.
    pub domains: u32,
    /// Requests that no replica is planned for.
    pub requests_per_s: f64,
    /// What it adds to the objective.
    pub cost: f64,
    /// Why.
    pub why: Missing,
}

/// Why something could not be placed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missing {
    /// Residency and policy together allow no region.
    NoRegionAllowed,
    /// No PoP stands in the regions that are allowed.
    NoPopInRegions {
        /// Those regions.
        regions: Vec<RegionId>,
    },
    /// No PoP that may be used has a device that can run it.
    NoDevice {
        /// The kinds that could.
        kinds: Vec<DeviceKind>,
        /// The regions it may be in; empty means all.
        regions: Vec<RegionId>,
    },
    /// It is excluded from all PoPs that could run it.
    Excluded {
        /// The PoPs it is excluded from.
        pops: Vec<PopId>,
    },
    /// It is larger than any device.
    TooLarge {
        /// What it needs.
        needs_bytes: u64,
        /// On which kind.
        kind: DeviceKind,
        /// The regions it may be in; empty means all.
        regions: Vec<RegionId>,
        /// The most any device has.
        largest_bytes: u64,
        /// Where.
        pop: PopId,
    },
    /// No device has enough memory left.
    NoMemory {
        /// What it needs.
        needs_bytes: u64,
        /// On which kind.
        kind: DeviceKind,
        /// The regions it may be in; empty means all.
        regions: Vec<RegionId>,
        /// The most that is left on one device.
        free_bytes: u64,
        /// Where.
        pop: PopId,
    },
    /// Devices with room for it are in too few failure domains.
    TooFewDomains {
        /// So many have a device for it.
        domains: u32,
    },
    /// Its largest number of replicas is reached, and they are as busy as they may be.
    ReplicaLimit {
        /// That number.
        max: u32,
    },
    /// Devices that have it, or room for it, are as busy as they may be.
    Busy {
        /// The regions it may be in; empty means all.
        regions: Vec<RegionId>,
    },
    /// The plan may not load more.
    ChurnBudget,
    /// Serving these requests would cost more than it is worth.
    NotWorthIt,
}

impl fmt::Display for Unplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.model)?;
        match &self.why {
            Missing::NoRegionAllowed => {
                f.write_str(" is allowed in no region: its residency and the policy share none")
            }
            Missing::NoPopInRegions { regions } => write!(f, " is allowed only in {}, where no PoP is", Names(regions)),
            Missing::NoDevice { kinds, regions } => {
                let kinds: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
                let kinds = if kinds.is_empty() { "device".to_owned() } else { kinds.join(" or ") };
                write!(f, " needs a {kinds}{} that can run it; no usable PoP has one", In(regions))
            }
            Missing::Excluded { pops } => {
                let pops: Vec<_> = pops.iter().map(PopId::as_str).collect();
                write!(f, " is excluded from every PoP that could run it: {}", pops.join(", "))
            }
            Missing::TooLarge { needs_bytes, kind, regions, largest_bytes, pop } => {
                needs(f, *needs_bytes, *kind, regions)?;
                write!(f, "; the largest has {} on {pop}", bytes(*largest_bytes))
            }
            Missing::NoMemory { needs_bytes, kind, regions, free_bytes, pop } => {
                needs(f, *needs_bytes, *kind, regions)?;
                write!(f, "; the largest free is {} on {pop}", bytes(*free_bytes))
            }
            Missing::TooFewDomains { domains } => {
                write!(f, " finds devices in {domains} failure domain{} only", if *domains == 1 { "" } else { "s" })
            }
            Missing::ReplicaLimit { max } => write!(f, " may have {max} replicas, and they are as busy as they may be"),
            Missing::Busy { regions } => {
                write!(f, " finds all devices that have it, or room for it,{} as busy as they may be", In(regions))
            }
            Missing::ChurnBudget => f.write_str(" waits: this plan may not load more"),
            Missing::NotWorthIt => f.write_str(" would cost more to serve there than it is worth"),
        }?;
        self.lacks(f)
    }
}

impl Unplaced {
    fn lacks(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.replicas > 0 {
            parts.push(format!("{} of its replicas", self.replicas));
        }
        if self.domains > 0 {
            parts.push(format!("{} of its failure domains", self.domains));
        }
        if self.requests_per_s > 0.0 {
            parts.push(format!("capacity for {:.3} requests/s", self.requests_per_s));
        }
        if parts.is_empty() { Ok(()) } else { write!(f, " (missing: {})", parts.join(", ")) }
    }
}

fn needs(f: &mut fmt::Formatter<'_>, needs_bytes: u64, kind: DeviceKind, regions: &[RegionId]) -> fmt::Result {
    write!(f, " needs {} on a {}{}", bytes(needs_bytes), kind.name(), In(regions))
}

struct Names<'a>(&'a [RegionId]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, region) in self.0.iter().enumerate() {
            let joint = match at {
                0 => "",
                _ if at + 1 == self.0.len() => " or ",
                _ => ", ",
            };
            write!(f, "{joint}{region}")?;
        }
        Ok(())
    }
}

struct In<'a>(&'a [RegionId]);

impl fmt::Display for In<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " in {}", Names(self.0)) }
    }
}
