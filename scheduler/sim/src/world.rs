//! The fleet of a scenario as the control plane's records and the PoPs' heartbeats speak of it, by index.

use std::collections::{BTreeMap, HashMap};

use headland_control_store::{Entry, Event, Key, KeyError, Revision};
use headland_fleet::{DeviceReport, Document, ModelKey, ModelRecord, Needs, kind};
use headland_package::{Accelerator, IdError, PopId, RegionName, Sha256Digest};
use headland_placement::{DeviceKind, Input, Latency, Location, Memory, ModelSpec, PlaceId};

/// Everything that stays as it is.
pub(crate) struct World {
    pub places: Vec<Place>,
    pub pops: Vec<Pop>,
    pub models: Vec<Model>,
    /// Mean requests a second: model, place, rate.
    pub rates: Vec<(usize, usize, f64)>,
    pub latency: Latency,
    /// What the control plane calls itself.
    pub control: PopId,
    by_pop: HashMap<PopId, usize>,
    by_model: HashMap<ModelKey, usize>,
    /// By what plans call them.
    by_name: HashMap<String, usize>,
    by_region: HashMap<RegionName, usize>,
}

/// Where people ask and PoPs stand; the control plane calls it a region.
pub(crate) struct Place {
    pub region: RegionName,
    /// The part of the world that fails together, and that residency speaks of.
    pub continent: String,
    pub location: Option<Location>,
    pub pops: Vec<usize>,
}

pub(crate) struct Pop {
    pub id: PopId,
    pub place: usize,
    pub failure_domain: String,
    pub devices: Vec<DeviceReport>,
}

pub(crate) struct Model {
    pub record: ModelRecord,
    memory: Memory,
    costs: BTreeMap<String, Cost>,
}

/// What a request takes on a class of devices, in microseconds.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cost {
    /// From beginning to end, when it is alone.
    pub alone_us: f64,
    /// Of the device's time, when it shares a run.
    pub busy_us: f64,
}

/// A name in the scenario that the fleet does not take.
#[derive(Debug, thiserror::Error)]
pub enum NameError {
    /// It is no name.
    #[error(transparent)]
    Id(#[from] IdError),
    /// It cannot be a key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl Model {
    pub fn bytes_on(&self, device: &DeviceReport) -> u64 {
        let kind = if device.device == "cpu" { DeviceKind::Cpu } else { DeviceKind::Gpu };
        self.memory.bytes_on(kind).unwrap_or(self.record.bytes)
    }

    pub fn cost_on(&self, device: &DeviceReport) -> Cost {
        self.costs.get(&device.class).copied().unwrap_or_default()
    }
}

impl World {
    pub fn new(fleet: &Input) -> Result<Self, NameError> {
        let mut places = Vec::with_capacity(fleet.places.len());
        for place in &fleet.places {
            let (region, continent) = (place.id.as_str().parse()?, place.region.as_str().to_owned());
            places.push(Place { region, continent, location: place.location, pops: Vec::new() });
        }
        let by_region: HashMap<RegionName, usize> =
            places.iter().enumerate().map(|(at, place)| (place.region.clone(), at)).collect();
        let by_place: HashMap<&PlaceId, usize> = fleet.places.iter().zip(0..).map(|(it, at)| (&it.id, at)).collect();
        let place_of = |id: &PlaceId| by_place.get(id).copied().unwrap_or(0);
        let mut pops = Vec::with_capacity(fleet.pops.len());
        for (at, pop) in fleet.pops.iter().enumerate() {
            let place = place_of(&pop.place);
            places[place].pops.push(at);
            let failure_domain = pop.failure_domain.as_str().to_owned();
            pops.push(Pop { id: pop.id.as_str().parse()?, place, failure_domain, devices: devices(fleet, pop) });
        }
        let mut models = Vec::with_capacity(fleet.models.len());
        for spec in &fleet.models {
            models.push(model(spec, &places)?);
        }
        let by_model: HashMap<ModelKey, usize> =
            models.iter().enumerate().map(|(at, model)| (model.record.key.clone(), at)).collect();
        let by_name = by_model.iter().map(|(key, &at)| (key.to_string(), at)).collect();
        let mut rates = Vec::new();
        for (model, demand) in fleet.demand.iter().enumerate() {
            rates.extend(demand.rates.iter().map(|rate| (model, place_of(&rate.place), rate.requests_per_s)));
        }
        let by_pop = pops.iter().enumerate().map(|(at, pop)| (pop.id.clone(), at)).collect();
        let (latency, control) = (fleet.latency.clone(), "control".parse()?);
        Ok(World { places, pops, models, rates, latency, control, by_pop, by_model, by_name, by_region })
    }

    pub fn pop(&self, id: &PopId) -> Option<usize> {
        self.by_pop.get(id).copied()
    }

    pub fn model(&self, key: &ModelKey) -> Option<usize> {
        self.by_model.get(key).copied()
    }

    /// A model by what plans call it.
    pub fn planned(&self, model: &headland_placement::ModelKey) -> Option<usize> {
        self.by_name.get(model.as_str()).copied()
    }

    pub fn place(&self, region: &RegionName) -> Option<usize> {
        self.by_region.get(region).copied()
    }

    /// A round trip between two places.
    pub fn network_ms(&self, from: usize, to: usize) -> f64 {
        match from == to {
            true => self.latency.local_ms,
            false => self.latency.estimate_ms(self.places[from].location, self.places[to].location),
        }
    }

    /// What a control plane reads when it begins: every model, and nothing else yet.
    pub fn records(&self) -> Result<Vec<(&'static str, Event)>, NameError> {
        let mut models = Vec::with_capacity(self.models.len());
        for model in &self.models {
            let key = &model.record.key;
            models.push(Entry {
                key: Key::new(kind::MODEL, [key.name.as_str(), key.version.as_str()])?,
                value: model.record.encode().into(),
                revision: Revision(1),
            });
        }
        let empty = headland_control::books::KINDS.into_iter().filter(|kind| *kind != kind::MODEL);
        let empty = empty.map(|kind| (kind, Event::Snapshot(Vec::new())));
        Ok([(kind::MODEL, Event::Snapshot(models))].into_iter().chain(empty).collect())
    }
}

/// As a PoP reports them: the processor first, then GPUs.
fn devices(fleet: &Input, pop: &headland_placement::Pop) -> Vec<DeviceReport> {
    let mut reports: Vec<DeviceReport> = Vec::with_capacity(pop.devices.len());
    for device in &pop.devices {
        let kind = fleet.device_classes.iter().find(|class| class.name == device.class).map(|class| class.kind);
        let gpus = reports.iter().filter(|report| report.device != "cpu").count();
        let (name, units) = match kind {
            Some(DeviceKind::Gpu) => (format!("cuda:{gpus}"), 1),
            // The class of a processor ends with how many there are: `cpu-16`.
            _ => {
                ("cpu".to_owned(), device.class.as_str().rsplit('-').next().and_then(|it| it.parse().ok()).unwrap_or(1))
            }
        };
        let (class, memory_bytes) = (device.class.as_str().to_owned(), device.memory_bytes);
        reports.push(DeviceReport { device: name, class, memory_bytes, used_bytes: 0, units });
    }
    reports
}

fn model(spec: &ModelSpec, places: &[Place]) -> Result<Model, NameError> {
    let (name, version) = spec.key.as_str().split_once(':').unwrap_or((spec.key.as_str(), "1"));
    let key = ModelKey { name: name.parse()?, version: version.parse()? };
    let bytes = spec.memory.cpu_bytes.or(spec.memory.gpu_bytes).unwrap_or(0);
    let resident =
        |place: &&Place| spec.residency.iter().flatten().any(|continent| continent.as_str() == place.continent);
    let needs = Needs {
        accelerator: match spec.accelerator {
            headland_placement::Accelerator::Required => Accelerator::Required,
            headland_placement::Accelerator::Preferred => Accelerator::Preferred,
            headland_placement::Accelerator::NotNeeded => Accelerator::None,
        },
        min_replicas: if spec.replicas.scale_to_zero { 0 } else { spec.replicas.min },
        max_replicas: spec.replicas.max,
        min_domains: spec.replicas.domains_min,
        regions: places.iter().filter(resident).map(|place| place.region.clone()).collect(),
        memory_bytes: Some(bytes),
        priority: spec.value as u32,
    };
    let digest = Sha256Digest::of(spec.key.as_str().as_bytes());
    let cost = |cost: &headland_placement::DeviceCost| Cost { alone_us: cost.alone_us(), busy_us: cost.busy_us() };
    Ok(Model {
        record: ModelRecord { key, manifest: digest, digest, bytes, cache_bytes: 0, needs },
        memory: spec.memory,
        costs: spec.costs.iter().map(|it| (it.class.as_str().to_owned(), cost(it))).collect(),
    })
}
