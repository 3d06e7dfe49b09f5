//! Checks an input and makes its tables.

use std::hash::Hash;

use foldhash::{HashMap, HashMapExt};

use super::{BLOCK, Device, Exclusions, Group, InputError, Model, Point, Problem, Run};
use crate::ids::{DeviceClassName, ModelKey, PlaceId, PopId, RegionId};
use crate::input::{
    Accelerator, Demand, DeviceCost, DeviceKind, Direction, Excluded, Input, Location, ModelSpec, Place,
};
use crate::instance::NEVER;
use crate::nearby::Nearby;

/// Limits that keep positions within `u32` and tables within memory.
const PLACES_MAX: usize = 20_000;
const POPS_MAX: usize = 200_000;
const POP_DEVICES_MAX: usize = 1_024;
const CLASSES_MAX: usize = 1_024;
const MODELS_MAX: usize = 50_000;
/// Models times groups of devices.
const CELLS_MAX: usize = 50_000_000;

const POSITIVE: &str = "a finite number above 0";
const NOT_NEGATIVE: &str = "a finite number, 0 or above";

type Places<'a> = HashMap<&'a PlaceId, u32>;
type Classes<'a> = HashMap<&'a DeviceClassName, u32>;
type Regions<'a> = HashMap<&'a RegionId, u32>;

impl<'a> Problem<'a> {
    /// The tables of an input.
    ///
    /// # Errors
    /// If the input contradicts itself.
    pub fn new(input: &'a Input) -> Result<Self, InputError> {
        limits(input)?;
        options(input)?;
        let places = positions(input.places.iter().map(|place| &place.id), InputError::DuplicatePlace)?;
        let classes = positions(input.device_classes.iter().map(|class| &class.name), InputError::DuplicateClass)?;
        let pops = positions(input.pops.iter().map(|pop| &pop.id), InputError::DuplicatePop)?;
        for class in &input.device_classes {
            number(class.speed, POSITIVE, || format!("the speed of {}", class.name))?;
        }
        let mut regions = Regions::new();
        let (groups, devices, pop_devices) = fleet(input, &places, &classes, &mut regions)?;
        let cells = input.models.len().max(input.places.len()) * groups.len();
        if cells > CELLS_MAX {
            let what = "pairs of a model or place and a group of devices";
            return Err(InputError::TooMany { what, count: cells, max: CELLS_MAX });
        }
        let (network_ms, network_to) = network(input, &places, &groups)?;
        let mut models = models(input, &places, &classes, &regions, &groups)?;
        exclude(input, &pops, &mut models);
        let width = groups.len();
        let rows = network_ms.chunks(width.max(1));
        let network_f32: Vec<[f32; BLOCK]> = rows.flat_map(|row| row.chunks(BLOCK).map(block)).collect();
        let network_near = network_f32.iter().map(|block| block.iter().copied().fold(NEVER, f32::min)).collect();
        let nearby = Nearby::new(input.places.len(), &groups);
        Ok(Self {
            input,
            groups,
            devices,
            pops,
            pop_devices,
            models,
            network_f32,
            network_near,
            network_to,
            network_ms,
            nearby,
        })
    }
}

/// A whole block, the groups that are not there out of reach.
fn block(ms: &[f64]) -> [f32; BLOCK] {
    std::array::from_fn(|lane| ms.get(lane).map_or(NEVER, |&ms| ms as f32))
}

fn limits(input: &Input) -> Result<(), InputError> {
    let counts = [
        ("places", input.places.len(), PLACES_MAX),
        ("PoPs", input.pops.len(), POPS_MAX),
        ("device classes", input.device_classes.len(), CLASSES_MAX),
        ("models", input.models.len(), MODELS_MAX),
        ("devices in a PoP", input.pops.iter().map(|pop| pop.devices.len()).max().unwrap_or(0), POP_DEVICES_MAX),
    ];
    counts
        .into_iter()
        .find(|(_, count, max)| count > max)
        .map_or(Ok(()), |(what, count, max)| Err(InputError::TooMany { what, count, max }))
}

fn options(input: &Input) -> Result<(), InputError> {
    let options = &input.options;
    if !(options.utilisation_max > 0.0 && options.utilisation_max < 1.0) {
        let what = "utilisation_max".to_owned();
        return Err(InputError::Number { what, value: options.utilisation_max, range: "above 0 and below 1" });
    }
    for (what, value) in [
        ("fallback_ms", options.fallback_ms),
        ("preferred_penalty_ms", options.preferred_penalty_ms),
        ("load_price_per_gib", options.load_price_per_gib),
        ("shortfall_price", options.shortfall_price),
        ("demand_change_min", options.demand_change_min),
        ("latency.local_ms", input.latency.local_ms),
        ("latency.per_km_ms", input.latency.per_km_ms),
        ("latency.unknown_ms", input.latency.unknown_ms),
    ] {
        number(value, NOT_NEGATIVE, || what.to_owned())?;
    }
    Ok(())
}

fn number(value: f64, range: &'static str, what: impl FnOnce() -> String) -> Result<(), InputError> {
    let fits = value.is_finite() && (value > 0.0 || (range == NOT_NEGATIVE && value == 0.0));
    if fits { Ok(()) } else { Err(InputError::Number { what: what(), value, range }) }
}

fn positions<'a, Id: Hash + Eq + Clone>(
    ids: impl Iterator<Item = &'a Id>,
    duplicate: impl Fn(Id) -> InputError,
) -> Result<HashMap<&'a Id, u32>, InputError> {
    let mut found = HashMap::new();
    for (at, id) in ids.enumerate() {
        if found.insert(id, at as u32).is_some() {
            return Err(duplicate(id.clone()));
        }
    }
    Ok(found)
}

fn place_of(places: &Places<'_>, place: &PlaceId, what: impl FnOnce() -> String) -> Result<u32, InputError> {
    places.get(place).copied().ok_or_else(|| InputError::UnknownPlace { what: what(), place: place.clone() })
}

fn class_of(classes: &Classes<'_>, class: &DeviceClassName, what: impl FnOnce() -> String) -> Result<u32, InputError> {
    classes.get(class).copied().ok_or_else(|| InputError::UnknownClass { what: what(), class: class.clone() })
}

/// A position for each different thing, in the order they are met.
fn intern<K: Hash + Eq>(known: &mut HashMap<K, u32>, key: K) -> u32 {
    let next = known.len() as u32;
    *known.entry(key).or_insert(next)
}

type Fleet = (Vec<Group>, Vec<Device>, Vec<u32>);

fn fleet<'a>(
    input: &'a Input,
    places: &Places<'a>,
    classes: &Classes<'a>,
    regions: &mut Regions<'a>,
) -> Result<Fleet, InputError> {
    let (mut groups, mut devices, mut pop_devices) = (Vec::new(), Vec::new(), vec![0]);
    let (mut known, mut domains) = (HashMap::new(), HashMap::new());
    for (at, pop) in input.pops.iter().enumerate() {
        let place = place_of(places, &pop.place, || format!("PoP {}", pop.id))?;
        let region = intern(regions, &pop.region);
        let domain = intern(&mut domains, &pop.failure_domain);
        for (index, device) in pop.devices.iter().enumerate() {
            let class = class_of(classes, &device.class, || format!("PoP {}", pop.id))?;
            number(device.price_per_gib, NOT_NEGATIVE, || format!("the price of a device of {}", pop.id))?;
            let price_per_gib = device.price_per_gib;
            let group = intern(&mut known, (place, class, region, price_per_gib.to_bits()));
            if group as usize == groups.len() {
                let kind = input.device_classes[class as usize].kind;
                let region_id = pop.region.clone();
                groups.push(Group { place, class, kind, region, region_id, price_per_gib, devices: Vec::new() });
            }
            groups[group as usize].devices.push(devices.len() as u32);
            devices.push(Device {
                pop: at as u32,
                index: index as u16,
                group,
                domain,
                memory_bytes: device.memory_bytes,
                state: pop.state,
            });
        }
        pop_devices.push(devices.len() as u32);
    }
    arrange(input, &mut groups, &mut devices);
    Ok((groups, devices, pop_devices))
}

/// Puts groups of one kind side by side, so that a model which needs that kind has its groups in one piece, and within a
/// kind those that are near each other, so that what is far away is far away in whole blocks.
fn arrange(input: &Input, groups: &mut [Group], devices: &mut [Device]) {
    groups.sort_by_cached_key(|group| {
        let location = input.places[group.place as usize].location;
        (group.kind == DeviceKind::Gpu, group.region, location.map(along), group.place)
    });
    for (position, group) in (0..).zip(&*groups) {
        for &device in &group.devices {
            devices[device as usize].group = position;
        }
    }
}

/// Where a point lies on a curve (Morton's) that keeps what is near each other mostly together.
fn along(location: Location) -> u32 {
    let cell = |degrees: f64, span: f64| ((degrees / span + 0.5).clamp(0.0, 1.0) * 255.0) as u32;
    let (row, column) = (cell(location.latitude_deg, 180.0), cell(location.longitude_deg, 360.0));
    (0..8).fold(0, |code, bit| code | (row >> bit & 1) << (2 * bit + 1) | (column >> bit & 1) << (2 * bit))
}

/// Round trips from every place to every group, by place and by group. Measured ones go before those from the distance.
fn network(input: &Input, places: &Places<'_>, groups: &[Group]) -> Result<(Vec<f64>, Vec<f64>), InputError> {
    let latency = &input.latency;
    let mut measured = HashMap::new();
    for entry in &latency.measured {
        let what = || "a measured latency".to_owned();
        number(entry.round_trip_ms, NOT_NEGATIVE, what)?;
        let pair = (place_of(places, &entry.from, what)?, place_of(places, &entry.to, what)?);
        measured.insert(pair, entry.round_trip_ms);
    }
    for place in &input.places {
        if let Some(location) = place.location
            && !(location.latitude_deg.abs() <= 90.0 && location.longitude_deg.abs() <= 180.0)
        {
            let (latitude, longitude) = (location.latitude_deg, location.longitude_deg);
            let value = if latitude.abs() <= 90.0 { longitude } else { latitude };
            let what = format!("the location of {}", place.id);
            return Err(InputError::Number { what, value, range: "within 90 degrees north and 180 degrees east" });
        }
    }
    let direction = |place: &Place| place.location.map(Location::direction);
    let directions: Vec<Option<Direction>> = input.places.iter().map(direction).collect();
    let round_trip_ms = |from: u32, to: u32| {
        let estimate = || match (directions[from as usize], directions[to as usize]) {
            _ if from == to => latency.local_ms,
            (Some(from), Some(to)) => latency.at_distance_ms(from.distance_km(to)),
            _ => latency.unknown_ms,
        };
        measured.get(&(from, to)).copied().unwrap_or_else(estimate)
    };
    // All groups of one place are as far away.
    let height = input.places.len();
    let mut by_site: HashMap<u32, Vec<f64>> = HashMap::new();
    let mut by_group = Vec::with_capacity(height * groups.len());
    for group in groups {
        let from_all = || (0..height as u32).map(|from| round_trip_ms(from, group.place)).collect();
        by_group.extend_from_slice(by_site.entry(group.place).or_insert_with(from_all));
    }
    let columns: Vec<&[f64]> = groups.iter().map(|group| by_site[&group.place].as_slice()).collect();
    let row = |from: usize| columns.iter().map(move |column| column[from]);
    Ok(((0..height).flat_map(row).collect(), by_group))
}

fn models<'a>(
    input: &'a Input,
    places: &Places<'a>,
    classes: &Classes<'a>,
    regions: &Regions<'a>,
    groups: &[Group],
) -> Result<Vec<Model<'a>>, InputError> {
    let mut demand: HashMap<&ModelKey, &Demand> = HashMap::new();
    for entry in &input.demand {
        if demand.insert(&entry.model, entry).is_some() {
            return Err(InputError::DuplicateDemand { model: entry.model.clone(), place: None });
        }
    }
    let mut order: Vec<_> = input.models.iter().collect();
    order.sort_by(|a, b| a.key.cmp(&b.key));
    if let Some(pair) = order.windows(2).find(|pair| pair[0].key == pair[1].key) {
        return Err(InputError::DuplicateModel(pair[0].key.clone()));
    }
    let mut models = Vec::with_capacity(order.len());
    for spec in order {
        let points = demand.remove(&spec.key).map_or(Ok(Vec::new()), |entry| points(input, places, entry))?;
        models.push(model(input, classes, regions, groups, spec, points)?);
    }
    match demand.keys().min() {
        Some(key) => Err(InputError::UnknownModel((*key).clone())),
        None => Ok(models),
    }
}

/// Tells models which PoPs they must not be on.
fn exclude<'a>(input: &'a Input, pops: &HashMap<&'a PopId, u32>, models: &mut [Model<'a>]) {
    for Excluded { model, pop } in &input.excluded {
        if let Ok(at) = models.binary_search_by(|table| table.spec.key.cmp(model)) {
            models[at].excluded.names.push(pop);
        }
    }
    for Exclusions { names, pops: positions } in models.iter_mut().map(|model| &mut model.excluded) {
        names.sort_unstable();
        names.dedup();
        positions.extend(names.iter().filter_map(|name| pops.get(name)));
        positions.sort_unstable();
    }
}

fn points(input: &Input, places: &Places<'_>, demand: &Demand) -> Result<Vec<Point>, InputError> {
    let mut points = Vec::with_capacity(demand.rates.len());
    for (at, rate) in demand.rates.iter().enumerate() {
        let what = || format!("the demand for {}", demand.model);
        number(rate.requests_per_s, NOT_NEGATIVE, what)?;
        // Demand usually lists places in their own order, which saves looking them up.
        let place = match input.places.get(at) {
            Some(place) if place.id == rate.place => at as u32,
            _ => place_of(places, &rate.place, what)?,
        };
        if rate.requests_per_s > 0.0 {
            points.push(Point { place, requests_per_s: rate.requests_per_s });
        }
    }
    points.sort_by_key(|point| point.place);
    match points.windows(2).find(|pair| pair[0].place == pair[1].place) {
        Some(pair) => Err(InputError::DuplicateDemand {
            model: demand.model.clone(),
            place: Some(input.places[pair[0].place as usize].id.clone()),
        }),
        None => Ok(points),
    }
}

fn model<'a>(
    input: &'a Input,
    classes: &Classes<'a>,
    regions: &Regions<'a>,
    groups: &[Group],
    spec: &'a ModelSpec,
    demand: Vec<Point>,
) -> Result<Model<'a>, InputError> {
    number(spec.value, POSITIVE, || format!("the value of {}", spec.key))?;
    for cost in &spec.costs {
        let what = || format!("the cost of {} on {}", spec.key, cost.class);
        class_of(classes, &cost.class, what)?;
        number(cost.fixed_us, NOT_NEGATIVE, what)?;
        number(cost.per_request_us, NOT_NEGATIVE, what)?;
    }
    let waiting = 1.0 + input.options.waiting_share();
    let mut runs = Vec::with_capacity(input.device_classes.len());
    let mut costs = Vec::with_capacity(input.device_classes.len());
    for class in &input.device_classes {
        let run = run(input, spec, class);
        costs.push(run.map_or(f64::INFINITY, |(_, alone_us)| {
            let reluctance = match (spec.accelerator, class.kind) {
                (Accelerator::Preferred, DeviceKind::Cpu) => input.options.preferred_penalty_ms,
                _ => 0.0,
            };
            spec.value * (alone_us / 1e3 * waiting + reluctance)
        }));
        runs.push(run.map(|(run, _)| run));
    }
    let allowed = allowed(spec, regions);
    let compute_cost: Vec<f64> = groups
        .iter()
        .map(|group| if allowed(group.region) { costs[group.class as usize] } else { f64::INFINITY })
        .collect();
    let first = compute_cost.iter().position(|cost| cost.is_finite()).unwrap_or(0) / BLOCK * BLOCK;
    let end = compute_cost.iter().rposition(|cost| cost.is_finite()).map_or(first, |last| last + 1);
    let wanted = !spec.replicas.scale_to_zero || !demand.is_empty();
    let replicas_max = spec.replicas.max.unwrap_or(u32::MAX);
    let at_least = |count: u32| if wanted { count.min(replicas_max) } else { 0 };
    let domains_min = at_least(spec.replicas.domains_min);
    let replicas_min = at_least(spec.replicas.min).max(domains_min);
    Ok(Model {
        spec,
        groups: first..end,
        runs,
        compute_cost,
        demand,
        replicas_min,
        domains_min,
        replicas_max,
        excluded: Exclusions::default(),
    })
}

/// How a model runs on a class, and how long a request alone takes.
fn run(input: &Input, spec: &ModelSpec, class: &crate::input::DeviceClass) -> Option<(Run, f64)> {
    let banned = spec.policy_classes.as_ref().is_some_and(|classes| !classes.contains(&class.name));
    if banned || (spec.accelerator == Accelerator::Required && class.kind != DeviceKind::Gpu) {
        return None;
    }
    let bytes = spec.memory.bytes_on(class.kind)?;
    let (cost, factor) = measured_or_estimated(input, spec, class)?;
    Some((Run { bytes, busy_us: cost.busy_us() * factor }, cost.alone_us() * factor))
}

/// The measurement of a class, or that of the class of its kind nearest in speed with the factor between the two.
fn measured_or_estimated<'a>(
    input: &Input,
    spec: &'a ModelSpec,
    class: &crate::input::DeviceClass,
) -> Option<(&'a DeviceCost, f64)> {
    if let Some(cost) = spec.costs.iter().find(|cost| cost.class == class.name) {
        return Some((cost, 1.0));
    }
    let factors = spec.costs.iter().filter_map(|cost| {
        let other = input.device_classes.iter().find(|other| other.name == cost.class && other.kind == class.kind)?;
        Some((cost, other.speed / class.speed))
    });
    factors.min_by(|(_, a), (_, b)| a.ln().abs().total_cmp(&b.ln().abs()))
}

/// Whether a region satisfies both residency and policy.
fn allowed<'a>(spec: &'a ModelSpec, regions: &Regions<'a>) -> impl Fn(u32) -> bool {
    let within = |list: &'a Option<Vec<RegionId>>| -> Option<Vec<u32>> {
        list.as_ref().map(|list| list.iter().filter_map(|region| regions.get(region).copied()).collect())
    };
    let (residency, policy) = (within(&spec.residency), within(&spec.policy_regions));
    move |region| [&residency, &policy].iter().all(|list| list.as_ref().is_none_or(|list| list.contains(&region)))
}
