//! Small fleets out of a seed, with everything in short supply now and then.

use headland_placement::*;

const GIB: u64 = 1 << 30;

/// How large a small fleet may be.
pub struct Size {
    pub places: usize,
    pub pops: usize,
    pub models: usize,
}

/// A fleet with CPUs and GPUs, residency, minimums and scarce memory and time.
pub fn fleet(seed: u64, size: &Size) -> Input {
    let rng = &mut Rng::new(seed);
    let regions = ["eu", "us"];
    let places: Vec<Place> = (0..size.places)
        .map(|at| Place {
            id: format!("place{at}").into(),
            location: Some(Location {
                latitude_deg: rng.unit() * 100.0 - 50.0,
                longitude_deg: rng.unit() * 340.0 - 170.0,
            }),
            region: regions[at % 2].into(),
        })
        .collect();
    let pops = (0..size.pops).map(|at| pop(at, &places, rng)).collect();
    let models: Vec<ModelSpec> = (0..size.models).map(|at| model(at, &regions, rng)).collect();
    let demand = models
        .iter()
        .map(|model| Demand {
            model: model.key.clone(),
            rates: places
                .iter()
                .map(|place| PlaceRate {
                    place: place.id.clone(),
                    requests_per_s: if rng.chance(0.2) { 0.0 } else { rng.log_uniform(0.5, 60.0) },
                })
                .collect(),
        })
        .collect();
    let class = |name: &str, kind| DeviceClass { name: name.into(), kind, speed: 1.0 };
    Input {
        options: Options { seed, ..Options::default() },
        places,
        device_classes: vec![class("cpu", DeviceKind::Cpu), class("gpu", DeviceKind::Gpu)],
        pops,
        models,
        demand,
        ..Input::default()
    }
}

fn pop(at: usize, places: &[Place], rng: &mut Rng) -> Pop {
    let place = &places[rng.below(places.len())];
    let gpu = rng.chance(0.4);
    Pop {
        id: format!("pop{at}").into(),
        place: place.id.clone(),
        region: place.region.clone(),
        failure_domain: format!("domain{}", at / 2).into(),
        state: PopState::Active,
        devices: vec![PopDevice {
            class: if gpu { "gpu" } else { "cpu" }.into(),
            memory_bytes: (2 + rng.below(10) as u64) * GIB,
            price_per_gib: if gpu { 40.0 } else { 6.0 },
        }],
    }
}

fn model(at: usize, regions: &[&str], rng: &mut Rng) -> ModelSpec {
    let minimum = 1 + rng.below(2) as u32;
    let cost = |class: &str, us: f64| DeviceCost {
        class: class.into(),
        fixed_us: us * 0.4,
        per_request_us: us * 0.6,
        batch: 8,
    };
    let us = rng.log_uniform(500.0, 60_000.0);
    let bytes = (rng.log_uniform(0.3, 5.0) * GIB as f64) as u64;
    ModelSpec {
        key: format!("model{at}:1").into(),
        memory: Memory { cpu_bytes: Some(bytes), gpu_bytes: Some(bytes) },
        costs: vec![cost("cpu", us), cost("gpu", us / 8.0)],
        accelerator: if rng.chance(0.2) { Accelerator::Required } else { Accelerator::NotNeeded },
        replicas: Replicas { min: minimum, domains_min: minimum, max: None, scale_to_zero: rng.chance(0.2) },
        residency: rng.chance(0.2).then(|| vec![regions[rng.below(2)].into()]),
        policy_regions: None,
        policy_classes: None,
        value: if rng.chance(0.2) { 3.0 } else { 1.0 },
    }
}
