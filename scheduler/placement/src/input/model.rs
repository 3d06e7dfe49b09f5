//! A model as placement sees it: what it takes, what it costs, and where it may be.

use serde::{Deserialize, Serialize};

use super::DeviceKind;
use crate::ids::{DeviceClassName, ModelKey, RegionId};

/// A model to place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Its name and version.
    pub key: ModelKey,
    /// What a replica fills, by kind of device.
    pub memory: Memory,
    /// What was measured, by device class. A class that is missing is estimated from another one of its kind by their
    /// speeds; a kind without any measurement cannot run the model.
    pub costs: Vec<DeviceCost>,
    /// Whether it needs an accelerator.
    pub accelerator: Accelerator,
    /// How many replicas there are to be.
    #[serde(default)]
    pub replicas: Replicas,
    /// Regions it may be held in by its owner's residency rule; everywhere if absent.
    #[serde(default)]
    pub residency: Option<Vec<RegionId>>,
    /// Regions that the signature policy allows it in; everywhere if absent.
    #[serde(default)]
    pub policy_regions: Option<Vec<RegionId>>,
    /// Device classes that the signature policy allows it on; all if absent.
    #[serde(default)]
    pub policy_classes: Option<Vec<DeviceClassName>>,
    /// What a millisecond of its requests counts compared with other models'; 1 is usual.
    #[serde(default = "one")]
    pub value: f64,
}

fn one() -> f64 {
    1.0
}

/// Bytes that a replica fills; a kind without a number cannot hold the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// On a CPU.
    #[serde(default)]
    pub cpu_bytes: Option<u64>,
    /// On an accelerator.
    #[serde(default)]
    pub gpu_bytes: Option<u64>,
}

impl Memory {
    /// Bytes on a kind of device.
    pub fn bytes_on(self, kind: DeviceKind) -> Option<u64> {
        match kind {
            DeviceKind::Cpu => self.cpu_bytes,
            DeviceKind::Gpu => self.gpu_bytes,
        }
    }
}

/// How long a class of devices takes: a run of `b` requests lasts `fixed_us + b * per_request_us`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceCost {
    /// The class it was measured on.
    pub class: DeviceClassName,
    /// What a run takes whatever its size.
    pub fixed_us: f64,
    /// What each request adds.
    pub per_request_us: f64,
    /// How many requests share a run when the device is busy; at least 1.
    pub batch: u32,
}

impl DeviceCost {
    /// How long a device is busy with one request under load, when it shares its run.
    pub fn busy_us(&self) -> f64 {
        self.fixed_us / f64::from(self.batch.max(1)) + self.per_request_us
    }

    /// How long a request alone takes.
    pub fn alone_us(&self) -> f64 {
        self.fixed_us + self.per_request_us
    }
}

/// Whether a model needs an accelerator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accelerator {
    /// It runs on accelerators only.
    Required,
    /// A CPU will do, at [`super::Options::preferred_penalty_ms`] a request.
    Preferred,
    /// Whatever is cheapest.
    NotNeeded,
}

/// How many replicas a model is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Replicas {
    /// At least so many.
    pub min: u32,
    /// At most so many; no limit if absent.
    pub max: Option<u32>,
    /// In at least so many failure domains.
    pub domains_min: u32,
    /// Without demand it needs none at all.
    pub scale_to_zero: bool,
}

impl Default for Replicas {
    fn default() -> Self {
        Self { min: 1, max: None, domains_min: 1, scale_to_zero: false }
    }
}
