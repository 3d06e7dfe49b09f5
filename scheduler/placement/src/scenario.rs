//! Fleets out of a seed, to measure on: a world of PoPs, models whose popularity follows Zipf, and who asks for them where.
//!
//! [`Scenario::standard`] is what docs/placement.md has its figures of. The simulator starts from it as well.

use std::collections::BTreeMap;

use crate::ids::PlaceId;
use crate::input::{
    Demand, DeviceClass, DeviceCost, DeviceKind, Input, Location, Options, Place, PlaceRate, Pop, PopDevice, PopState,
};
use crate::rng::Rng;

mod cities;
mod models;

pub use cities::{CITIES, City};

/// How large a fleet, and out of which seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scenario {
    /// PoPs.
    pub pops: usize,
    /// So many of them have GPUs, of three kinds.
    pub gpu_pops: usize,
    /// Models.
    pub models: usize,
    /// Places that demand comes from, the largest cities first.
    pub places: usize,
    /// What everything else follows from.
    pub seed: u64,
}

/// How much of a fleet's time its demand takes when every request runs in the slowest class that suits it.
///
/// By kind of device: processors, accelerators.
const BUSY: [f64; 2] = [0.3, 0.15];
/// The most that demand takes of the devices of one kind in one part of the world.
const REGION_BUSY_MAX: f64 = 0.2;
/// Demand beyond this share of the largest place's counts; less is nobody.
const SHARE_MIN: f64 = 1e-3;
/// PoPs of a city that fail together.
const DOMAIN_POPS: usize = 4;
/// How demand falls off with the rank of a model.
const ZIPF: f64 = 0.9;

const GIB: u64 = 1 << 30;

impl Scenario {
    /// 4,300 PoPs, 300 of them with GPUs, 1,000 models and 300 demand regions.
    pub fn standard(seed: u64) -> Self {
        Self { pops: 4_300, gpu_pops: 300, models: 1_000, places: 300, seed }
    }

    /// The input: nothing is loaded yet.
    pub fn input(&self) -> Input {
        let rng = &mut Rng::new(self.seed);
        let cities: Vec<City> = (0..self.places).map(|at| city(at, rng)).collect();
        let pops = pops(self, &cities, rng);
        let drafts = models::drafts(self.models, &cities, rng);
        let demand = demand(&drafts, &cities, &pops, rng);
        Input {
            options: Options { seed: self.seed, ..Options::default() },
            places: cities.iter().zip(0..).map(|(city, at)| place(city, at)).collect(),
            device_classes: CLASSES.iter().map(Class::class).collect(),
            pops,
            models: drafts.into_iter().map(|draft| draft.spec).collect(),
            demand,
            ..Input::default()
        }
    }
}

/// A class of devices: what it has and costs, and how it compares with the first of its kind.
struct Class {
    name: &'static str,
    kind: DeviceKind,
    memory_gib: u64,
    price_per_gib: f64,
    /// How long a request alone takes.
    alone: f64,
    /// How long a request takes of the device when it shares a run.
    busy: f64,
    batch: u32,
}

const CLASSES: [Class; 5] = [
    class("cpu-16", DeviceKind::Cpu, (2, 5.0), (1.0, 0.7, 8)),
    class("cpu-64", DeviceKind::Cpu, (8, 6.0), (0.8, 0.2, 8)),
    class("l4", DeviceKind::Gpu, (22, 40.0), (1.0, 0.4, 16)),
    class("l40s", DeviceKind::Gpu, (44, 50.0), (0.6, 0.16, 16)),
    class("h100", DeviceKind::Gpu, (76, 80.0), (0.35, 0.06, 32)),
];

const fn class(
    name: &'static str,
    kind: DeviceKind,
    (memory_gib, price_per_gib): (u64, f64),
    (alone, busy, batch): (f64, f64, u32),
) -> Class {
    Class { name, kind, memory_gib, price_per_gib, alone, busy, batch }
}

/// How many GPUs of which class a GPU PoP has, by how often that is so.
const GPU_KITS: [(f64, usize, usize); 3] = [(0.55, 2, 2), (0.30, 3, 2), (0.15, 4, 4)];

impl Class {
    fn class(&self) -> DeviceClass {
        DeviceClass { name: self.name.into(), kind: self.kind, speed: 1.0 / self.busy }
    }

    /// The batch curve of a model that takes so long for a request alone on the first class of the kind.
    fn cost(&self, alone_us: f64) -> DeviceCost {
        let fixed = (self.alone - self.busy) / (1.0 - 1.0 / f64::from(self.batch));
        DeviceCost {
            class: self.name.into(),
            fixed_us: alone_us * fixed,
            per_request_us: alone_us * (self.alone - fixed),
            batch: self.batch,
        }
    }

    fn device(&self) -> PopDevice {
        let memory_bytes = self.memory_gib * GIB;
        PopDevice { class: self.name.into(), memory_bytes, price_per_gib: self.price_per_gib }
    }
}

/// One of the table, and beyond it towns near those of the table.
fn city(at: usize, rng: &mut Rng) -> City {
    let known = CITIES[at % CITIES.len()];
    if at < CITIES.len() {
        return known;
    }
    City {
        latitude_deg: (known.latitude_deg + rng.normal()).clamp(-85.0, 85.0),
        longitude_deg: (known.longitude_deg + rng.normal()).clamp(-180.0, 180.0),
        millions: known.millions * 0.2,
        ..known
    }
}

fn place(city: &City, at: usize) -> Place {
    let round = at / CITIES.len();
    let id = if round == 0 { city.name.to_owned() } else { format!("{}-{round}", city.name) };
    let location = Location { latitude_deg: city.latitude_deg, longitude_deg: city.longitude_deg };
    Place { id: id.into(), location: Some(location), region: city.region.into() }
}

/// One PoP in every city, the rest by the root of how many people are there; GPUs likewise.
fn pops(scenario: &Scenario, cities: &[City], rng: &mut Rng) -> Vec<Pop> {
    let roots: Vec<f64> = cities.iter().map(|city| city.millions.sqrt()).collect();
    let mut counts = vec![0; cities.len()];
    let mut pops = Vec::with_capacity(scenario.pops);
    for at in 0..scenario.pops {
        let city = if at < cities.len() { at } else { draw(&roots, rng) };
        let place = place(&cities[city], city);
        let number: usize = counts[city];
        counts[city] += 1;
        let class = &CLASSES[usize::from(rng.chance(0.3))];
        pops.push(Pop {
            id: format!("{}{}", place.id, number + 1).into(),
            failure_domain: format!("{}/{}", place.id, number / DOMAIN_POPS + 1).into(),
            place: place.id,
            region: place.region,
            state: PopState::Active,
            devices: vec![class.device()],
        });
    }
    let mut left = scenario.gpu_pops.min(pops.len());
    while left > 0 {
        let at = rng.below(pops.len());
        if pops[at].devices.len() == 1 {
            let (class, count) = gpus(rng);
            pops[at].devices.extend((0..count).map(|_| class.device()));
            left -= 1;
        }
    }
    pops
}

fn gpus(rng: &mut Rng) -> (&'static Class, usize) {
    let mut point = rng.unit();
    let kit = GPU_KITS.iter().find(|(share, ..)| {
        point -= share;
        point < 0.0
    });
    let (_, class, count) = kit.unwrap_or(&GPU_KITS[0]);
    (&CLASSES[*class], *count)
}

/// A position, by weight.
fn draw(weights: &[f64], rng: &mut Rng) -> usize {
    let mut point = rng.unit() * weights.iter().sum::<f64>();
    let found = weights.iter().position(|weight| {
        point -= weight;
        point < 0.0
    });
    found.unwrap_or(0)
}

/// Who asks for what: Zipf over models, people over places, and the models' own geography; all scaled to how much of the
/// fleet's time is to be taken.
fn demand(drafts: &[models::Draft], cities: &[City], pops: &[Pop], rng: &mut Rng) -> Vec<Demand> {
    let mut demand = Vec::with_capacity(drafts.len());
    let (mut busy_us, mut time_us) = ([0.0; 2], [0.0; 2]);
    for device in pops.iter().flat_map(|pop| &pop.devices) {
        let class = CLASSES.iter().find(|class| device.class.as_str() == class.name).unwrap_or(&CLASSES[0]);
        time_us[class.kind as usize] += 1e6 / class.busy;
    }
    for (rank, draft) in drafts.iter().enumerate() {
        let weights: Vec<f64> =
            cities.iter().map(|city| draft.interest(city) * city.millions * (0.5 * rng.normal()).exp()).collect();
        let (total, most) = (weights.iter().sum::<f64>(), weights.iter().copied().fold(0.0, f64::max));
        let popularity = 1.0 / ((rank + 1) as f64).powf(ZIPF) / draft.alone_us.sqrt();
        busy_us[draft.kind as usize] += popularity * draft.alone_us;
        let rates = cities.iter().zip(weights).enumerate().filter(|(_, (_, weight))| *weight > SHARE_MIN * most);
        let rates = rates.map(|(at, (city, weight))| PlaceRate {
            place: place(city, at).id,
            requests_per_s: popularity * weight / total,
        });
        demand.push(Demand { model: draft.spec.key.clone(), rates: rates.collect() });
    }
    for (entry, draft) in demand.iter_mut().zip(drafts) {
        let kind = draft.kind as usize;
        let factor = BUSY[kind] * time_us[kind] / busy_us[kind].max(f64::MIN_POSITIVE);
        entry.rates.iter_mut().for_each(|rate| rate.requests_per_s *= factor);
    }
    provision(&mut demand, drafts, cities, pops);
    demand
}

/// Takes demand down where a part of the world has too few devices for it: whoever runs a fleet has built it where demand
/// is, and what it cannot nearly serve is not what a placement is judged by.
fn provision(demand: &mut [Demand], drafts: &[models::Draft], cities: &[City], pops: &[Pop]) {
    let mut time_us: BTreeMap<(&str, usize), f64> = BTreeMap::new();
    for (pop, device) in pops.iter().flat_map(|pop| pop.devices.iter().map(move |device| (pop, device))) {
        let class = CLASSES.iter().find(|class| device.class.as_str() == class.name).unwrap_or(&CLASSES[0]);
        *time_us.entry((pop.region.as_str(), class.kind as usize)).or_default() += 1e6 / class.busy;
    }
    let regions: BTreeMap<PlaceId, &str> = (0..).zip(cities).map(|(at, c)| (place(c, at).id, c.region)).collect();
    let mut busy_us: BTreeMap<(&str, usize), f64> = BTreeMap::new();
    let parts = |demand: &Demand| {
        demand.rates.iter().map(|rate| (regions[&rate.place], rate.requests_per_s)).collect::<Vec<_>>()
    };
    for (entry, draft) in demand.iter().zip(drafts) {
        for (region, requests_per_s) in parts(entry) {
            *busy_us.entry((region, draft.kind as usize)).or_default() += requests_per_s * draft.alone_us;
        }
    }
    for (entry, draft) in demand.iter_mut().zip(drafts) {
        let kind = draft.kind as usize;
        for rate in &mut entry.rates {
            let at = (regions[&rate.place], kind);
            let time_us = time_us.get(&at).copied().unwrap_or(0.0);
            rate.requests_per_s *= (REGION_BUSY_MAX * time_us / busy_us[&at]).min(1.0);
        }
        entry.rates.retain(|rate| rate.requests_per_s > 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_scenario_has_what_it_promises_and_its_seed_decides_it() {
        let scenario = Scenario::standard(3);
        let input = scenario.input();
        assert_eq!((input.pops.len(), input.models.len(), input.places.len()), (4_300, 1_000, 300));
        let gpu_pops: Vec<_> = input.pops.iter().filter(|pop| pop.devices.len() > 1).collect();
        assert_eq!(gpu_pops.len(), 300);
        let mut kinds: Vec<_> = gpu_pops.iter().map(|pop| pop.devices[1].class.as_str()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds, ["h100", "l4", "l40s"]);
        assert_eq!(input, scenario.input());
        assert_ne!(input, Scenario::standard(4).input());
    }

    #[test]
    fn cities_have_names_of_their_own_and_lie_on_the_earth() {
        let mut names: Vec<_> = CITIES.iter().map(|city| city.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CITIES.len());
        assert!(
            CITIES.iter().all(|c| c.latitude_deg.abs() < 70.0 && c.longitude_deg.abs() <= 180.0 && c.millions > 0.0)
        );
    }
}
