//! What a plan was made for, so that the next solve can tell what has changed since, and what proves how good it is.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

use crate::ids::{ModelKey, PopId};
use crate::input::{DeviceCost, Input, Pop};
use crate::problem::Model;

/// Travels with a plan from one solve to the next; nothing outside of this crate looks into it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Stands for options, places, classes and the network.
    pub(crate) world: u64,
    pub(crate) pops: BTreeMap<PopId, u64>,
    pub(crate) models: BTreeMap<ModelKey, Proof>,
    /// The groups there were, by what stands for them.
    pub(crate) groups: BTreeMap<u64, KnownGroup>,
}

/// A group that was there when a bound was proven.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KnownGroup {
    /// The memory of its largest device that takes new models.
    pub open_bytes: u64,
    /// The prices of a byte and a microsecond that the bounds were proven at.
    pub per_byte: f64,
    pub per_us: f64,
}

/// What was found about one model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Proof {
    /// Stands for all of its input but the demand, which is in its routes.
    pub spec: u64,
    /// It costs at least so much, however placed, in a fleet with no other kinds of groups than there were.
    pub bound: f64,
}

/// Stands for what concerns all models.
pub(crate) fn world(input: &Input) -> u64 {
    let mut hash = DefaultHasher::new();
    let options = &input.options;
    (options.seed, options.effort as u8).hash(&mut hash);
    for number in [
        options.utilisation_max,
        options.fallback_ms,
        options.preferred_penalty_ms,
        options.load_price_per_gib,
        options.shortfall_price,
        options.demand_change_min,
        input.latency.local_ms,
        input.latency.per_km_ms,
        input.latency.unknown_ms,
    ] {
        number.to_bits().hash(&mut hash);
    }
    for entry in &input.latency.measured {
        (&entry.from, &entry.to, entry.round_trip_ms.to_bits()).hash(&mut hash);
    }
    for place in &input.places {
        let location = place.location.map(|at| (at.latitude_deg.to_bits(), at.longitude_deg.to_bits()));
        (&place.id, &place.region, location).hash(&mut hash);
    }
    for class in &input.device_classes {
        (&class.name, class.kind as u8, class.speed.to_bits()).hash(&mut hash);
    }
    hash.finish()
}

/// Stands for a PoP.
pub(crate) fn pop(pop: &Pop) -> u64 {
    let mut hash = DefaultHasher::new();
    (&pop.place, &pop.region, &pop.failure_domain, pop.state as u8, pop.devices.len()).hash(&mut hash);
    for device in &pop.devices {
        (&device.class, device.memory_bytes, device.price_per_gib.to_bits()).hash(&mut hash);
    }
    hash.finish()
}

/// Stands for a model without its demand.
pub(crate) fn spec(model: &Model<'_>) -> u64 {
    let spec = model.spec;
    let mut hash = DefaultHasher::new();
    (&spec.key, spec.memory.cpu_bytes, spec.memory.gpu_bytes, spec.accelerator as u8).hash(&mut hash);
    for DeviceCost { class, fixed_us, per_request_us, batch } in &spec.costs {
        (class, fixed_us.to_bits(), per_request_us.to_bits(), batch).hash(&mut hash);
    }
    let replicas = &spec.replicas;
    (replicas.min, replicas.max, replicas.domains_min, replicas.scale_to_zero).hash(&mut hash);
    (&spec.residency, &spec.policy_regions, &spec.policy_classes, spec.value.to_bits()).hash(&mut hash);
    // Without one of these, the model could be where it could not be when its bound was proven.
    model.excluded.names.hash(&mut hash);
    hash.finish()
}
