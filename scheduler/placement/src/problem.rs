//! The input as dense tables: ids become positions, and devices that placement cannot tell apart become one group.
//!
//! Devices of one class, price and region at one place are a **group**: they cost every request the same, so phases weigh
//! groups and only then pick a device by what is free on it. `build.rs` checks the input and makes the tables.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::ops::Range;

use foldhash::HashMap;

use crate::ids::{DeviceIndex, PopId, RegionId};
use crate::input::{DeviceKind, Input, ModelSpec, Options, PopState};
use crate::nearby::Nearby;

mod build;
mod error;

pub use error::InputError;

/// The tables of one solve.
pub(crate) struct Problem<'a> {
    pub input: &'a Input,
    pub groups: Vec<Group>,
    pub devices: Vec<Device>,
    /// Positions of PoPs by their ids.
    pub pops: HashMap<&'a PopId, u32>,
    /// The first device of each PoP, and the number of devices at the end.
    pub pop_devices: Vec<u32>,
    /// By model, in the order of keys.
    pub models: Vec<Model<'a>>,
    /// Round trips for those who search, `place * blocks + group / BLOCK`; the last block is filled up with what is far away.
    pub network_f32: Vec<[f32; BLOCK]>,
    /// The shortest of each block of them: what is too far away is passed over at once.
    pub network_near: Vec<f32>,
    /// By group: `group * places + place`.
    pub network_to: Vec<f64>,
    /// By place: `place * groups.len() + group`.
    pub network_ms: Vec<f64>,
    pub nearby: Nearby,
}

/// Devices that cost every request the same.
pub(crate) struct Group {
    pub place: u32,
    pub class: u32,
    pub kind: DeviceKind,
    pub region: u32,
    pub region_id: RegionId,
    pub price_per_gib: f64,
    pub devices: Vec<u32>,
}

/// One device of a PoP that may hold models.
#[derive(Clone, Copy)]
pub(crate) struct Device {
    pub pop: u32,
    /// Position in the PoP's list.
    pub index: u16,
    pub group: u32,
    pub domain: u32,
    pub memory_bytes: u64,
    pub state: PopState,
}

/// A model against the groups.
pub(crate) struct Model<'a> {
    pub spec: &'a ModelSpec,
    /// The groups it could be in lie in this range: groups are in the order of their kinds. It starts with a block.
    pub groups: Range<usize>,
    /// By class; `None` where it cannot or may not run.
    pub runs: Vec<Option<Run>>,
    /// Milliseconds a request takes in a group, network apart, times the model's value; infinite where it may not be.
    pub compute_cost: Vec<f64>,
    /// The places that ask for it, in the order of places.
    pub demand: Vec<Point>,
    /// Replicas that there are to be at least, given its demand.
    pub replicas_min: u32,
    /// Failure domains that there are to be at least, given its demand.
    pub domains_min: u32,
    pub replicas_max: u32,
    pub excluded: Exclusions<'a>,
}

/// The PoPs that a model must not be on.
#[derive(Default)]
pub(crate) struct Exclusions<'a> {
    /// Their names, in order, whether the fleet has them or not.
    pub names: Vec<&'a PopId>,
    /// The positions, in order, of those that the fleet has.
    pub pops: Vec<u32>,
}

/// How a model runs on a class of devices.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    pub bytes: u64,
    /// How long a request occupies the device under load.
    pub busy_us: f64,
}

/// Demand of one place.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Point {
    pub place: u32,
    pub requests_per_s: f64,
}

impl Group {
    /// Stands for what tells this group from others.
    pub fn mark(&self, input: &Input) -> u64 {
        let mut hash = DefaultHasher::new();
        let (place, class) = (&input.places[self.place as usize].id, &input.device_classes[self.class as usize].name);
        (place, class, &self.region_id, self.price_per_gib.to_bits()).hash(&mut hash);
        hash.finish()
    }
}

/// Groups whose cells in a table are worked on together. They lie near each other.
pub(crate) const BLOCK: usize = 16;

const GIB: f64 = (1u64 << 30) as f64;

impl Problem<'_> {
    /// Blocks of groups.
    pub fn blocks(&self) -> usize {
        self.groups.len().div_ceil(BLOCK)
    }

    pub fn options(&self) -> &Options {
        &self.input.options
    }

    /// Microseconds of each second that may be planned on a device.
    pub fn capacity_us(&self) -> f64 {
        self.options().utilisation_max * 1e6
    }

    /// The round trips to one group, by place.
    pub fn network_to(&self, group: u32) -> &[f64] {
        let height = self.input.places.len();
        &self.network_to[group as usize * height..][..height]
    }

    /// The round trips from one place, by group.
    pub fn network_from(&self, place: u32) -> &[f64] {
        let width = self.groups.len();
        &self.network_ms[place as usize * width..][..width]
    }

    /// What one request of a model from a place costs in a group.
    pub fn request_cost(&self, model: &Model<'_>, place: u32, group: u32) -> f64 {
        model.spec.value * self.network_to(group)[place as usize] + model.compute_cost[group as usize]
    }

    /// What one request of a model costs that nobody answers.
    pub fn fallback_cost(&self, model: &Model<'_>) -> f64 {
        model.spec.value * self.options().fallback_ms
    }

    /// How a model runs in a group it may be in.
    pub fn run(&self, model: &Model<'_>, group: u32) -> Option<Run> {
        if model.compute_cost[group as usize].is_infinite() {
            return None;
        }
        model.runs[self.groups[group as usize].class as usize]
    }

    /// What holding so many bytes in a group costs.
    pub fn holding_cost(&self, group: u32, bytes: u64) -> f64 {
        self.groups[group as usize].price_per_gib * bytes as f64 / GIB
    }

    /// What loading so many bytes costs.
    pub fn loading_cost(&self, bytes: u64) -> f64 {
        self.options().load_price_per_gib * bytes as f64 / GIB
    }

    /// Whether a device may have a model, as far as the state of its PoP and exclusions go.
    pub fn admits(&self, model: usize, device: u32, present: bool) -> bool {
        let Device { pop, state, .. } = self.devices[device as usize];
        let open = state == PopState::Active || (state == PopState::Cordoned && present);
        open && self.models[model].excluded.pops.binary_search(&pop).is_err()
    }

    /// The memory of a group's largest device that takes new models.
    pub fn open_bytes(&self, group: &Group) -> u64 {
        let devices = group.devices.iter().map(|&device| &self.devices[device as usize]);
        devices.filter(|device| device.state == PopState::Active).map(|device| device.memory_bytes).max().unwrap_or(0)
    }

    /// The device at a position in a PoP's list, if there is such a PoP and it has so many.
    pub fn device(&self, pop: &PopId, index: DeviceIndex) -> Option<u32> {
        let pop = *self.pops.get(pop)? as usize;
        let device = self.pop_devices[pop] + u32::from(index.0);
        (device < self.pop_devices[pop + 1]).then_some(device)
    }
}
