//! The models of a scenario: small ones for any processor, middling ones that prefer an accelerator, large ones that need it.

use super::{CLASSES, City, Class, GIB};
use crate::input::{Accelerator, DeviceKind, Memory, ModelSpec, Replicas};
use crate::rng::Rng;

/// A model and where it is wanted.
pub(super) struct Draft {
    pub spec: ModelSpec,
    /// The kind of device it mostly runs on.
    pub kind: DeviceKind,
    /// What a request alone takes on the first class of that kind.
    pub alone_us: f64,
    reach: Reach,
}

/// Where a model is wanted.
enum Reach {
    Everywhere,
    /// Much in one part of the world, a little in others.
    Region(&'static str),
    /// Around one city, falling off with the distance.
    Around(City),
}

/// How much a model of one region is wanted in others.
const ABROAD: f64 = 0.02;
/// Within so many kilometres a local model is wanted.
const AROUND_KM: f64 = 900.0;
/// Beyond so many of those nobody asks.
const AROUND_MAX: f64 = 3.0;

/// So many of the most popular models are never scaled to zero.
const POPULAR: usize = 200;

impl Draft {
    /// How much people of a city want it.
    pub fn interest(&self, city: &City) -> f64 {
        match &self.reach {
            Reach::Everywhere => 1.0,
            Reach::Region(region) if *region == city.region => 1.0,
            Reach::Region(_) => ABROAD,
            Reach::Around(centre) => {
                let at = |city: &City| crate::Location {
                    latitude_deg: city.latitude_deg,
                    longitude_deg: city.longitude_deg,
                };
                let reaches = at(centre).distance_km(at(city)) / AROUND_KM;
                if reaches > AROUND_MAX { 0.0 } else { (-reaches * reaches).exp() }
            }
        }
    }
}

/// Models by rank, the most popular first.
pub(super) fn drafts(count: usize, cities: &[City], rng: &mut Rng) -> Vec<Draft> {
    (0..count).map(|rank| draft(rank, cities, rng)).collect()
}

fn draft(rank: usize, cities: &[City], rng: &mut Rng) -> Draft {
    let size = rng.unit();
    let (bytes, cpu_us, gpu_us, accelerator) = if size < 0.65 {
        let scale = rng.log_uniform(1.0, 30.0);
        (scale * 20e6, 300.0 * scale, 150.0 * scale, Accelerator::NotNeeded)
    } else if size < 0.9 {
        let scale = rng.log_uniform(1.0, 12.0);
        (scale * 0.6e9, 20_000.0 * scale, 3_000.0 * scale, Accelerator::Preferred)
    } else {
        let scale = rng.log_uniform(1.0, 6.0);
        (scale * 6e9, 0.0, 15_000.0 * scale, Accelerator::Required)
    };
    let home = cities[rng.below(cities.len())];
    let reach = match rng.unit() + 2.0 / (rank + 2) as f64 {
        x if x > 0.75 => Reach::Everywhere,
        x if x > 0.35 => Reach::Region(home.region),
        _ => Reach::Around(home),
    };
    let at_home = matches!(reach, Reach::Region(_)) && rng.chance(0.3);
    let kind = if accelerator == Accelerator::Required { DeviceKind::Gpu } else { DeviceKind::Cpu };
    let runs_on = |class: &&Class| kind == DeviceKind::Cpu || class.kind == kind;
    let alone_us = |of: DeviceKind| if of == DeviceKind::Cpu { cpu_us } else { gpu_us };
    let costs = CLASSES.iter().filter(runs_on).map(|class| class.cost(alone_us(class.kind))).collect();
    let minimum = if rng.chance(0.7) { 2 } else { 1 };
    let spec = ModelSpec {
        key: format!("m{:04}:1", rank + 1).into(),
        memory: Memory {
            cpu_bytes: (kind == DeviceKind::Cpu).then_some(bytes as u64),
            gpu_bytes: Some((bytes * 1.15) as u64 + GIB / 8),
        },
        costs,
        accelerator,
        replicas: Replicas {
            min: minimum,
            max: None,
            domains_min: minimum,
            scale_to_zero: rank > POPULAR && rng.chance(0.3),
        },
        residency: at_home.then(|| vec![home.region.into()]),
        policy_regions: None,
        policy_classes: None,
        value: if rng.chance(0.1) { 3.0 } else { 1.0 },
    };
    Draft { spec, kind, alone_us: alone_us(kind), reach }
}
