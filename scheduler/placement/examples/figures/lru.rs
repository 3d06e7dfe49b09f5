//! What a fleet would hold if each PoP cached for itself what it is asked for, least recently used out first.

use std::collections::{BTreeMap, VecDeque};

use headland_placement::*;

/// Requests that each device sees, many times what fits into it.
const REQUESTS: usize = 3_000;

/// A PoP, one of its devices, and how often it is asked for which model.
type Device = (usize, usize, Vec<(usize, f64)>);

/// The input with caches as what is loaded, and nothing else may be: its solution is the best use of what caches held.
/// Minimums are lifted, for caches know of none, and loads by misses are not counted: both in favour of the caches.
pub fn caches(input: &Input) -> Input {
    let mut cached = input.clone();
    let rng = &mut Rng::new(input.options.seed);
    for (device, (pop, index, asked)) in asked(input).into_iter().enumerate() {
        let held = run(input, &input.pops[pop].devices[index], &asked, &mut Rng::new(rng.bits() ^ device as u64));
        cached.current.extend(held.into_iter().map(|model| Loaded {
            model: input.models[model].key.clone(),
            pop: input.pops[pop].id.clone(),
            device: DeviceIndex(index as u16),
        }));
    }
    cached.churn.loads_max = Some(0);
    cached.models.iter_mut().for_each(|model| {
        model.replicas = Replicas { min: 0, domains_min: 0, max: None, scale_to_zero: true };
    });
    cached
}

/// By device: the PoP, the device, and who is asked for how much. Every request goes to the nearest device that may run the
/// model, an accelerator if it needs one.
fn asked(input: &Input) -> Vec<Device> {
    let places: BTreeMap<&PlaceId, &Place> = input.places.iter().map(|place| (&place.id, place)).collect();
    let mut devices: Vec<Device> = Vec::new();
    let mut by_place: BTreeMap<(&PlaceId, bool), Vec<usize>> = BTreeMap::new();
    for (at, pop) in input.pops.iter().enumerate() {
        for (index, device) in pop.devices.iter().enumerate() {
            let gpu = !device.class.as_str().starts_with("cpu");
            by_place.entry((&pop.place, gpu)).or_default().push(devices.len());
            devices.push((at, index, Vec::new()));
        }
    }
    for (model, spec) in input.models.iter().enumerate() {
        let gpu = spec.accelerator == Accelerator::Required;
        let allowed =
            |place: &PlaceId| spec.residency.as_ref().is_none_or(|regions| regions.contains(&places[place].region));
        let sites: Vec<&PlaceId> =
            by_place.keys().filter(|(place, kind)| *kind == gpu && allowed(place)).map(|(place, _)| *place).collect();
        for rate in input.demand.iter().filter(|demand| demand.model == spec.key).flat_map(|demand| &demand.rates) {
            let from = places[&rate.place].location;
            let distance = |to: &&PlaceId| input.latency.estimate_ms(from, places[*to].location);
            let Some(site) = sites.iter().copied().min_by(|a, b| distance(a).total_cmp(&distance(b))) else { continue };
            let near = &by_place[&(site, gpu)];
            for &device in near {
                let asked = &mut devices[device].2;
                let share = rate.requests_per_s / near.len() as f64;
                match asked.last_mut().filter(|(last, _)| *last == model) {
                    Some((_, sum)) => *sum += share,
                    None => asked.push((model, share)),
                }
            }
        }
    }
    devices
}

/// The models that a cache holds after so many requests.
fn run(input: &Input, device: &PopDevice, asked: &[(usize, f64)], rng: &mut Rng) -> Vec<usize> {
    let mut sums: Vec<f64> = Vec::with_capacity(asked.len());
    let mut total = 0.0;
    for (_, rate) in asked {
        total += rate;
        sums.push(total);
    }
    let gpu = !device.class.as_str().starts_with("cpu");
    let bytes = |model: usize| {
        let memory = input.models[model].memory;
        if gpu { memory.gpu_bytes } else { memory.cpu_bytes }.unwrap_or(u64::MAX)
    };
    let (mut held, mut used) = (VecDeque::new(), 0);
    for _ in 0..if asked.is_empty() { 0 } else { REQUESTS } {
        let at = sums.partition_point(|sum| *sum <= rng.unit() * total).min(asked.len() - 1);
        let model = asked[at].0;
        if let Some(position) = held.iter().position(|&other| other == model) {
            held.remove(position);
        } else if bytes(model) > device.memory_bytes {
            continue;
        } else {
            used += bytes(model);
        }
        held.push_front(model);
        while used > device.memory_bytes {
            used -= held.pop_back().map_or(used, bytes);
        }
    }
    held.into_iter().collect()
}
