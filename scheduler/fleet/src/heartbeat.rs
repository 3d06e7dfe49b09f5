//! How a PoP is: what it has, what it holds, what was asked of it since it last said so.

use headland_package::{AppName, ModelVersion, PopId};
use serde::{Deserialize, Serialize};

use crate::{Document, HEARTBEAT_EVERY_MS, ModelKey, Place};

/// How a PoP is. Kept in memory by whoever hears it, and never stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Who speaks.
    pub pop: PopId,
    /// Drawn anew whenever it starts: two of one name are told apart by it.
    pub incarnation: u64,
    /// Counts the heartbeats of an incarnation.
    pub sequence: u64,
    /// Where it stands.
    pub place: Place,
    /// Where its peer plane listens, `HOST:PORT`.
    pub address: String,
    /// Where its data plane listens, for people.
    pub listen: String,
    /// What it computes with.
    pub devices: Vec<DeviceReport>,
    /// The latest store that it has heard of; see [`crate::Era`].
    pub era: u64,
    /// The highest term of a leader that it has seen there.
    pub epoch: u64,
    /// The generation of its desired state that it has taken up; the models' standings tell how far it came.
    pub generation: u64,
    /// What it holds, or was to hold and cannot.
    pub models: Vec<ModelReport>,
    /// What it serves, or was to serve and cannot.
    pub apps: Vec<AppReport>,
    /// What was asked for here since the heartbeat before.
    pub demand: Vec<Demand>,
    /// The time that `demand` covers, in milliseconds.
    pub window_ms: u64,
    /// How far other PoPs are that it has connections to, at most [`ROUND_TRIPS_MAX`] of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub round_trips: Vec<RoundTrip>,
    /// Members that gave it files with other bytes than their digest says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub corrupt_sources: Vec<PopId>,
    /// Whether it is about to stop: it still answers, and whoever can goes elsewhere.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
    /// Whether it only passes requests on and holds files for others, as a control plane does.
    #[serde(default)]
    pub storage_only: bool,
}

impl Document for Heartbeat {
    const WHAT: &'static str = "heartbeat";
}

impl Heartbeat {
    /// Of a PoP that has nothing, holds nothing and was asked for nothing, with other members at `address` and callers at
    /// `listen`.
    pub fn new(pop: PopId, incarnation: u64, place: Place, address: String, listen: String) -> Self {
        Heartbeat {
            pop,
            incarnation,
            sequence: 0,
            place,
            address,
            listen,
            devices: Vec::new(),
            era: 0,
            epoch: 0,
            generation: 0,
            models: Vec::new(),
            apps: Vec::new(),
            demand: Vec::new(),
            window_ms: HEARTBEAT_EVERY_MS,
            round_trips: Vec::new(),
            corrupt_sources: Vec::new(),
            leaving: false,
            storage_only: false,
        }
    }

    /// Of a member that runs no models and has every file, as control planes do.
    pub fn of_storage(pop: PopId, incarnation: u64, place: Place, address: String, listen: String) -> Self {
        Heartbeat { storage_only: true, ..Heartbeat::new(pop, incarnation, place, address, listen) }
    }
}

/// The most PoPs that a heartbeat says how far they are.
pub const ROUND_TRIPS_MAX: usize = 64;

/// How far another PoP is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundTrip {
    /// Which.
    pub pop: PopId,
    /// A round trip to it, in milliseconds: that of the handshake, what both compute for it included.
    pub ms: f64,
}

/// A device that models run on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceReport {
    /// As configurations name it: `cpu`, `cuda:0`.
    pub device: String,
    /// What it is, for people and for telling fast ones from slow ones: `NVIDIA L4`, `cpu-8`.
    pub class: String,
    /// Memory for models, in bytes.
    pub memory_bytes: u64,
    /// Of it, what models take.
    pub used_bytes: u64,
    /// Processors, or 1 for a GPU.
    pub units: u32,
}

/// A model that a PoP holds, or was to hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelReport {
    /// Which.
    #[serde(flatten)]
    pub key: ModelKey,
    /// What came of it.
    #[serde(flatten)]
    pub standing: ModelStanding,
}

/// What came of a model that a PoP was to hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "standing", rename_all = "lowercase")]
pub enum ModelStanding {
    /// Its files are on the way, or its load is.
    Loading,
    /// Its files are there; it is loaded when it is asked for.
    Stored,
    /// It answers.
    Ready {
        /// The device it runs on.
        device: String,
        /// Memory it takes, in bytes.
        memory_bytes: u64,
        /// What requests cost there, once enough were measured.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost: Option<Cost>,
    },
    /// It cannot be held.
    Failed {
        /// Why, for people.
        reason: String,
        /// Whether memory was what lacked.
        no_memory: bool,
    },
}

/// What requests cost a device, as measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Device time of one request, in microseconds, batched as it was.
    pub request_us: f64,
    /// From arrival to answer at the PoP itself, in microseconds, on average.
    pub latency_us: f64,
    /// Requests of the window that failed, by bad input or by our own fault.
    pub failures: u64,
}

/// An app that a PoP serves, or was to serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppReport {
    /// Which.
    pub name: AppName,
    /// Its version.
    pub version: ModelVersion,
    /// Why it does not serve, if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// What callers asked of a PoP in a heartbeat's window, wherever it was answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Demand {
    /// Which model.
    #[serde(flatten)]
    pub key: ModelKey,
    /// Requests.
    pub requests: u64,
    /// Of them, those that failed, by bad input or by our own fault.
    pub failures: u64,
    /// Of them, those that were turned away because there was too much to do.
    pub shed: u64,
    /// From the caller's request to its answer, in microseconds, on average.
    pub latency_us: f64,
}
