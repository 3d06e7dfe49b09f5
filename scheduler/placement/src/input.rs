//! What a placement is decided from: the fleet, the models, the demand, the network, and what is loaded now.
//!
//! An [`Input`] is plain data. `problem.rs` checks it and turns it into the dense tables that the phases work on.

use serde::{Deserialize, Serialize};

use crate::ids::{DeviceClassName, DeviceIndex, FailureDomain, ModelKey, PlaceId, PopId, RegionId};

mod latency;
mod model;
mod options;

pub(crate) use latency::Direction;
pub use latency::{Latency, MeasuredLatency};
pub use model::{Accelerator, DeviceCost, Memory, ModelSpec, Replicas};
pub use options::{Effort, Options};

/// All that one solve looks at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// What the result is to be like.
    #[serde(default)]
    pub options: Options,
    /// Where demand arises and PoPs stand.
    pub places: Vec<Place>,
    /// The device classes that PoPs have.
    pub device_classes: Vec<DeviceClass>,
    /// The PoPs of the fleet.
    pub pops: Vec<Pop>,
    /// The models to place.
    pub models: Vec<ModelSpec>,
    /// The demand for each model; a model that is not here has none.
    #[serde(default)]
    pub demand: Vec<Demand>,
    /// The network between places.
    #[serde(default)]
    pub latency: Latency,
    /// What PoPs have loaded now, whether planned or not. Keeping one of these costs no load.
    #[serde(default)]
    pub current: Vec<Loaded>,
    /// Which PoPs a model must not be on, such as those where loading it failed lately. What it has there is given up.
    /// Models and PoPs that are not listed are passed over.
    #[serde(default)]
    pub excluded: Vec<Excluded>,
    /// How much may be loaded by this plan.
    #[serde(default)]
    pub churn: ChurnBudget,
}

/// A place, and which region it belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Its name.
    pub id: PlaceId,
    /// Where it is; latencies to a place without a location are those measured, or [`Latency::unknown_ms`].
    #[serde(default)]
    pub location: Option<Location>,
    /// The region whose residency rules hold for it.
    pub region: RegionId,
}

/// A point on the earth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Location {
    /// Degrees north of the equator, -90 to 90.
    pub latitude_deg: f64,
    /// Degrees east of Greenwich, -180 to 180.
    pub longitude_deg: f64,
}

/// Devices that run models at the same speed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceClass {
    /// Its name.
    pub name: DeviceClassName,
    /// Whether it counts as an accelerator.
    pub kind: DeviceKind,
    /// Speed relative to other classes of its kind. Used for models that were measured on another class of the kind only.
    pub speed: f64,
}

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceKind {
    /// A processor with the machine's memory.
    Cpu,
    /// An accelerator with memory of its own.
    Gpu,
}

impl DeviceKind {
    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Gpu => "GPU",
        }
    }
}

/// A point of presence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pop {
    /// Its name, unique in the fleet.
    pub id: PopId,
    /// Where it stands.
    pub place: PlaceId,
    /// The region whose rules hold for it.
    pub region: RegionId,
    /// What it fails together with.
    pub failure_domain: FailureDomain,
    /// What it may be used for.
    #[serde(default)]
    pub state: PopState,
    /// Its devices; several GPUs are several entries, for a model has to fit into one of them.
    pub devices: Vec<PopDevice>,
}

/// What a PoP may be used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PopState {
    /// Everything.
    #[default]
    Active,
    /// It keeps what it has and gets nothing new.
    Cordoned,
    /// It is to give up what it has.
    Draining,
}

/// One device of a PoP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PopDevice {
    /// Its class.
    pub class: DeviceClassName,
    /// Memory that models may fill.
    pub memory_bytes: u64,
    /// What holding a GiB here costs, in the unit of the objective (see [`Options`]).
    pub price_per_gib: f64,
}

/// Demand for one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Demand {
    /// The model asked for.
    pub model: ModelKey,
    /// How often, by place; each place at most once.
    pub rates: Vec<PlaceRate>,
}

/// Requests from one place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlaceRate {
    /// Where the requests arrive.
    pub place: PlaceId,
    /// How many in a second.
    pub requests_per_s: f64,
}

/// A model on a device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loaded {
    /// The model.
    pub model: ModelKey,
    /// The PoP that has it.
    pub pop: PopId,
    /// The device it is on.
    pub device: DeviceIndex,
}

/// A model and a PoP that must not hold it, on whichever device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Excluded {
    /// The model.
    pub model: ModelKey,
    /// The PoP.
    pub pop: PopId,
}

/// How much a plan may load. It holds for what is neither loaded nor was planned before; unloading is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChurnBudget {
    /// Bytes of models that may be loaded; no limit if absent.
    #[serde(default)]
    pub load_bytes_max: Option<u64>,
    /// Replicas that may be loaded; no limit if absent.
    #[serde(default)]
    pub loads_max: Option<u64>,
}
