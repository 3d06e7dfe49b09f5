//! From what is known to what the solver is asked: the fleet as heard, the records, what was measured.
//!
//! Pure. A region is a place of the plan: its PoPs count as standing at their mean.

use std::collections::{BTreeMap, BTreeSet};

use headland_fleet::{DeviceReport, Intent, ModelKey, ModelRecord, ModelStanding, ROUND_TRIPS_MAX};
use headland_package::{Accelerator, ModelName, ModelVersion, PopId, RegionName};
use headland_placement as placement;
use headland_placement::{
    ChurnBudget, Demand, DeviceClass, DeviceClassName, DeviceIndex, Excluded, Input, Latency, Loaded, Location,
    MeasuredLatency, ModelSpec, Options, Place, PlaceRate, Pop, PopDevice, PopState, Replicas,
};

use crate::backoff::Backoff;
use crate::books::Books;
use crate::measured::{self, Measured};
use crate::policy::Allowed;
use crate::view::{FleetView, Liveness, PopView};

/// What holding a GiB costs on a processor, in the unit of the objective, milliseconds waited in a second: a replica of a GiB
/// is worth having where it saves five requests a second a millisecond each.
const CPU_PRICE_PER_GIB: f64 = 5.0;
/// The same on a GPU.
const GPU_PRICE_PER_GIB: f64 = 40.0;
/// No two places on Earth are further apart.
const ROUND_TRIP_MS_MAX: f64 = 10_000.0;
/// How many processors make a processor class of speed 1.
const UNITS_PER_SPEED: f64 = 1.0;

/// What the operator of the fleet sets.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Weights of the objective.
    pub options: Options,
    /// How much one plan may load.
    pub churn: ChurnBudget,
    /// How far regions are from each other.
    pub latency: Latency,
    /// Whether there is one PoP, which holds what its own operators say, as under `headland up`: the plan is advice.
    pub alone: bool,
}

/// The versions of a model that people mean when they name none, and the one that is on its way to become it.
pub type Current = BTreeMap<ModelName, BTreeSet<ModelVersion>>;

/// What the solver is asked.
pub fn input(
    view: &FleetView,
    books: &Books,
    backoff: &Backoff,
    current: &Current,
    settings: &Settings,
    now_ms: u64,
) -> Input {
    let there: Vec<(&PopId, &PopView)> =
        view.pops().filter(|(_, pop)| !pop.heartbeat.storage_only && pop.liveness(now_ms) != Liveness::Lost).collect();
    let device_classes = classes(&there);
    let measured = measured::measured(view);
    let demand = demand(view, books);
    let models = books.models.values().map(|kept| {
        let model = &kept.record;
        let is_current = current.get(&model.key.name).is_some_and(|versions| versions.contains(&model.key.version));
        let allowed = books.allowed(&model.key.name);
        spec(model, measured.get(&model.key), &device_classes, is_current, allowed)
    });
    // Where a load failed lately it is not tried for a while.
    let is_there = |pop: &PopId| there.binary_search_by(|(id, _)| (*id).cmp(pop)).is_ok();
    let held = backoff.held(now_ms).filter(|(pop, key)| is_there(pop) && books.model(key).is_some());
    let excluded = held.map(|(pop, key)| Excluded { model: id(key), pop: pop.as_str().into() }).collect();
    Input {
        options: settings.options,
        places: places(&there, view),
        pops: there.iter().map(|(id, pop)| self::pop(id, pop, books.intent(id), now_ms)).collect(),
        models: models.collect(),
        demand,
        latency: latency(&there, settings),
        current: loaded(&there, books),
        excluded,
        churn: settings.churn,
        device_classes,
    }
}

/// A model as the solver calls it.
pub fn id(key: &ModelKey) -> placement::ModelKey {
    key.to_string().into()
}

fn classes(pops: &[(&PopId, &PopView)]) -> Vec<DeviceClass> {
    let mut classes: BTreeMap<&str, &DeviceReport> = BTreeMap::new();
    for device in pops.iter().flat_map(|(_, pop)| &pop.heartbeat.devices) {
        classes.entry(&device.class).or_insert(device);
    }
    let class = |(name, device): (&str, &DeviceReport)| DeviceClass {
        name: name.into(),
        kind: measured::kind(device),
        speed: f64::from(device.units.max(1)) / UNITS_PER_SPEED,
    };
    classes.into_iter().map(class).collect()
}

/// Every region where a PoP stands or something is asked for.
fn places(pops: &[(&PopId, &PopView)], view: &FleetView) -> Vec<Place> {
    let mut found: BTreeMap<RegionName, Vec<Location>> = BTreeMap::new();
    for (_, pop) in pops {
        let place = &pop.heartbeat.place;
        let located = place.location.map(|at| Location { latitude_deg: at.lat_deg, longitude_deg: at.lon_deg });
        found.entry(place.region.clone()).or_default().extend(located);
    }
    for (region, _) in view.demand().by_region().into_keys() {
        found.entry(region).or_default();
    }
    let place = |(region, located): (RegionName, Vec<Location>)| Place {
        id: region.as_str().into(),
        location: middle(&located),
        region: region.as_str().into(),
    };
    found.into_iter().map(place).collect()
}

/// How far regions are from each other, where PoPs have measured it: the median of what they say, either way, and no nearer than
/// PoPs of one region are to each other. What the operator has set goes before it.
fn latency(pops: &[(&PopId, &PopView)], settings: &Settings) -> Latency {
    let region_of: BTreeMap<&PopId, &RegionName> =
        pops.iter().map(|(id, pop)| (*id, &pop.heartbeat.place.region)).collect();
    let mut said: BTreeMap<(&RegionName, &RegionName), Vec<f64>> = BTreeMap::new();
    for (_, pop) in pops {
        let from = &pop.heartbeat.place.region;
        for trip in pop.heartbeat.round_trips.iter().take(ROUND_TRIPS_MAX) {
            let to = region_of.get(&trip.pop).filter(|to| **to != from);
            if let Some(to) = to.filter(|_| (0.0..=ROUND_TRIP_MS_MAX).contains(&trip.ms)) {
                said.entry((from.min(*to), from.max(*to))).or_default().push(trip.ms);
            }
        }
    }
    let mut measured = Vec::new();
    for ((a, b), mut trips) in said {
        trips.sort_by(f64::total_cmp);
        let round_trip_ms = trips[trips.len() / 2].max(settings.latency.local_ms);
        for (from, to) in [(a, b), (b, a)] {
            measured.push(MeasuredLatency { from: from.as_str().into(), to: to.as_str().into(), round_trip_ms });
        }
    }
    // The later entry counts.
    measured.extend(settings.latency.measured.iter().cloned());
    Latency { measured, ..settings.latency.clone() }
}

/// The middle of some points: of their directions from the middle of the Earth, so that the date line is none.
fn middle(points: &[Location]) -> Option<Location> {
    let (mut x, mut y, mut z) = (0.0, 0.0, 0.0);
    for point in points {
        let (lat, lon) = (point.latitude_deg.to_radians(), point.longitude_deg.to_radians());
        x += lat.cos() * lon.cos();
        y += lat.cos() * lon.sin();
        z += lat.sin();
    }
    let level = f64::hypot(x, y);
    let middle = Location { latitude_deg: z.atan2(level).to_degrees(), longitude_deg: y.atan2(x).to_degrees() };
    (!points.is_empty()).then_some(middle)
}

fn pop(id: &PopId, pop: &PopView, intent: Intent, now_ms: u64) -> Pop {
    let state = match (intent, pop.liveness(now_ms)) {
        (Intent::Draining, _) => PopState::Draining,
        _ if pop.heartbeat.leaving => PopState::Draining,
        (Intent::Cordoned, _) | (_, Liveness::Late | Liveness::Lost) => PopState::Cordoned,
        (Intent::Active, Liveness::Live) => PopState::Active,
    };
    let device = |device: &DeviceReport| PopDevice {
        class: device.class.as_str().into(),
        memory_bytes: believed_bytes(pop, device),
        price_per_gib: match measured::kind(device) {
            placement::DeviceKind::Cpu => CPU_PRICE_PER_GIB,
            placement::DeviceKind::Gpu => GPU_PRICE_PER_GIB,
        },
    };
    let place = &pop.heartbeat.place;
    Pop {
        id: id.as_str().into(),
        place: place.region.as_str().into(),
        region: place.region.as_str().into(),
        failure_domain: place.failure_domain.as_deref().unwrap_or(id.as_str()).into(),
        state,
        devices: pop.heartbeat.devices.iter().map(device).collect(),
    }
}

/// What a device is believed to have: once a model did not fit it, no more than what it holds.
fn believed_bytes(pop: &PopView, device: &DeviceReport) -> u64 {
    let full = |standing: &ModelStanding| matches!(standing, ModelStanding::Failed { no_memory: true, .. });
    match pop.heartbeat.models.iter().any(|model| full(&model.standing)) {
        true => device.used_bytes.min(device.memory_bytes),
        false => device.memory_bytes,
    }
}

fn spec(
    model: &ModelRecord,
    measured: Option<&Measured>,
    classes: &[DeviceClass],
    is_current: bool,
    allowed: Allowed<'_>,
) -> ModelSpec {
    let needs = &model.needs;
    let regions = || needs.regions.iter().map(|region| region.as_str().into()).collect();
    let replicas = match is_current {
        true => Replicas {
            min: needs.min_replicas,
            max: needs.max_replicas,
            domains_min: needs.min_domains.min(needs.min_replicas),
            scale_to_zero: needs.min_replicas == 0,
        },
        // Nobody means this version unless they name it: it is loaded while they do.
        false => Replicas { min: 0, max: needs.max_replicas, domains_min: 0, scale_to_zero: true },
    };
    ModelSpec {
        key: id(&model.key),
        memory: measured::memory(model, measured),
        costs: measured::costs(model, measured, classes),
        accelerator: match needs.accelerator {
            Accelerator::Required => placement::Accelerator::Required,
            Accelerator::Preferred => placement::Accelerator::Preferred,
            Accelerator::None => placement::Accelerator::NotNeeded,
        },
        replicas,
        residency: (!needs.regions.is_empty()).then(regions),
        policy_regions: allowed.regions().map(|regions| regions.into_iter().map(Into::into).collect()),
        policy_classes: policy_classes(allowed, classes),
        value: f64::from(needs.priority),
    }
}

/// The classes of devices that the policy lets it run on, if it says so.
fn policy_classes(allowed: Allowed<'_>, classes: &[DeviceClass]) -> Option<Vec<DeviceClassName>> {
    let mut may = Vec::new();
    for class in classes {
        if allowed.kind(class.kind)? {
            may.push(class.name.clone());
        }
    }
    Some(may)
}

fn demand(view: &FleetView, books: &Books) -> Vec<Demand> {
    let known: BTreeSet<&ModelKey> = books.models.values().map(|kept| &kept.record.key).collect();
    let mut by_model: BTreeMap<ModelKey, Vec<PlaceRate>> = BTreeMap::new();
    for ((region, model), requests_per_s) in view.demand().by_region() {
        if known.contains(&model) {
            let rate = PlaceRate { place: region.as_str().into(), requests_per_s };
            by_model.entry(model).or_default().push(rate);
        }
    }
    by_model.into_iter().map(|(model, rates)| Demand { model: id(&model), rates }).collect()
}

/// What PoPs have loaded of what the fleet knows.
fn loaded(pops: &[(&PopId, &PopView)], books: &Books) -> Vec<Loaded> {
    let known: BTreeSet<&ModelKey> = books.models.values().map(|kept| &kept.record.key).collect();
    let mut loaded = Vec::new();
    for (id, pop) in pops {
        for model in &pop.heartbeat.models {
            let ModelStanding::Ready { device, .. } = &model.standing else { continue };
            let position = pop.heartbeat.devices.iter().position(|report| report.device == *device);
            let Some(index) = position.and_then(|position| u16::try_from(position).ok()) else { continue };
            if known.contains(&model.key) {
                let model = self::id(&model.key);
                loaded.push(Loaded { model, pop: id.as_str().into(), device: DeviceIndex(index) });
            }
        }
    }
    loaded
}
