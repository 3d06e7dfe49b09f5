//! What is really so in the simulated fleet, whatever the control plane believes: who is up, and what each PoP holds.

use std::collections::BTreeMap;

use headland_control::Wanted;
use headland_fleet::{Cost, Demand, DeviceReport, Heartbeat, Keep, ModelReport, ModelStanding, Place};

use crate::faults::{FaultKind, SLOW_DISK};
use crate::scenario::SimScenario;
use crate::world::World;

/// All PoPs.
pub(crate) struct Fleet {
    pops: Vec<Pop>,
    pull_bytes_per_s: f64,
    load_bytes_per_s: f64,
    pub moved_bytes: u64,
}

#[derive(Clone, Default)]
struct Pop {
    /// Faults that hold it down, cut it off, slow it: they may overlap.
    down: u32,
    cut_off: u32,
    slow: u32,
    pulling_until_ms: u64,
    /// Times it started, and heartbeats since.
    incarnation: u64,
    sequence: u64,
    /// What it was told last, as it remembers it over a restart.
    told: Told,
    held: BTreeMap<usize, Held>,
}

#[derive(Clone, Default)]
struct Told {
    era: u64,
    epoch: u64,
    generation: u64,
    models: Vec<(usize, Keep, usize)>,
}

/// A model at a PoP.
#[derive(Clone, Copy)]
struct Held {
    device: usize,
    /// When its files are there.
    stored_ms: u64,
    /// When it answers, if it is to be loaded.
    ready_ms: Option<u64>,
}

/// Whether a model answers at a PoP.
pub(crate) enum Answer {
    /// It does, on this of the PoP's devices, after so many milliseconds of loading.
    After(usize, u64),
    /// It does not.
    No,
}

impl Fleet {
    pub fn new(world: &World, scenario: &SimScenario) -> Self {
        let pop = Pop { incarnation: 1, ..Pop::default() };
        let (pull_bytes_per_s, load_bytes_per_s) = (scenario.pull_bytes_per_s, scenario.load_bytes_per_s);
        Self { pops: vec![pop; world.pops.len()], pull_bytes_per_s, load_bytes_per_s, moved_bytes: 0 }
    }

    /// Begins or ends a fault.
    pub fn strike(&mut self, world: &World, kind: &FaultKind, begins: bool, now_ms: u64) {
        let hit: Vec<usize> = match kind {
            FaultKind::Pop(id) | FaultKind::Partition(id) | FaultKind::SlowDisk(id) => {
                world.pop(id).into_iter().collect()
            }
            FaultKind::Region(continent) => {
                let lies = |at: &usize| world.places[world.pops[*at].place].continent == *continent;
                (0..self.pops.len()).filter(lies).collect()
            }
            FaultKind::Control => Vec::new(),
        };
        for at in hit {
            let pop = &mut self.pops[at];
            let count = match kind {
                FaultKind::Partition(_) => &mut pop.cut_off,
                FaultKind::SlowDisk(_) => &mut pop.slow,
                _ => &mut pop.down,
            };
            *count = if begins { *count + 1 } else { count.saturating_sub(1) };
            if matches!(kind, FaultKind::Pop(_) | FaultKind::Region(_)) && pop.down == 0 {
                self.restart(world, at, now_ms);
            }
        }
    }

    /// Comes back with the files it had whole, and does what it was told last.
    fn restart(&mut self, world: &World, at: usize, now_ms: u64) {
        let pop = &mut self.pops[at];
        (pop.incarnation, pop.sequence, pop.pulling_until_ms) = (pop.incarnation + 1, 0, 0);
        pop.held.retain(|_, held| held.stored_ms <= now_ms);
        pop.held.values_mut().for_each(|held| held.ready_ms = None);
        self.hold(world, at, now_ms);
    }

    pub fn is_up(&self, pop: usize) -> bool {
        self.pops[pop].down == 0
    }

    pub fn live(&self) -> usize {
        self.pops.iter().filter(|pop| pop.down == 0).count()
    }

    /// Whether the control plane hears it, and it the control plane.
    pub fn is_heard(&self, pop: usize) -> bool {
        self.pops[pop].down == 0 && self.pops[pop].cut_off == 0
    }

    /// How a PoP is, and what was asked of it in so many milliseconds.
    pub fn heartbeat(
        &mut self,
        world: &World,
        at: usize,
        (demand, window_ms): (Vec<Demand>, u64),
        now_ms: u64,
    ) -> Heartbeat {
        let (pop, known) = (&mut self.pops[at], &world.pops[at]);
        pop.sequence += 1;
        let mut devices = known.devices.clone();
        let mut models = Vec::with_capacity(pop.held.len());
        for (&model, held) in &pop.held {
            let standing = standing(world, model, *held, &mut devices, now_ms);
            models.push(ModelReport { key: world.models[model].record.key.clone(), standing });
        }
        let place = &world.places[known.place];
        let location =
            place.location.map(|at| headland_fleet::Location { lat_deg: at.latitude_deg, lon_deg: at.longitude_deg });
        let place =
            Place { region: place.region.clone(), location, failure_domain: Some(known.failure_domain.clone()) };
        Heartbeat {
            sequence: pop.sequence,
            devices,
            era: pop.told.era,
            epoch: pop.told.epoch,
            generation: pop.told.generation,
            models,
            demand,
            window_ms,
            ..Heartbeat::new(known.id.clone(), pop.incarnation, place, String::new(), String::new())
        }
    }

    /// PoPs that are reached take up what is wanted of them.
    pub fn follow(&mut self, world: &World, wanted: &Wanted, now_ms: u64) {
        for (id, desired) in &wanted.desired {
            let Some(at) = world.pop(id).filter(|&at| self.is_heard(at)) else { continue };
            let told = &self.pops[at].told;
            if (told.era, told.epoch, told.generation) == (desired.era, desired.epoch, desired.generation) {
                continue;
            }
            let device = |name: &Option<String>| {
                let devices = &world.pops[at].devices;
                name.as_ref().and_then(|name| devices.iter().position(|device| &device.device == name)).unwrap_or(0)
            };
            let models = desired.models.iter();
            let models = models.filter_map(|it| Some((world.model(&it.key)?, it.keep, device(&it.device)))).collect();
            let (era, epoch, generation) = (desired.era, desired.epoch, desired.generation);
            self.pops[at].told = Told { era, epoch, generation, models };
            self.hold(world, at, now_ms);
        }
    }

    /// Pulls and loads what it was told to hold, one model after another, and gives up the rest.
    fn hold(&mut self, world: &World, at: usize, now_ms: u64) {
        let pop = &mut self.pops[at];
        let pace = if pop.slow > 0 { SLOW_DISK } else { 1.0 };
        let takes_ms = |bytes: u64, bytes_per_s: f64| (bytes as f64 / bytes_per_s * pace * 1e3).ceil() as u64;
        let mut held = BTreeMap::new();
        for &(model, keep, device) in &pop.told.models {
            let bytes = world.models[model].record.bytes;
            let before = pop.held.get(&model).copied();
            let stored_ms = match before {
                Some(before) => before.stored_ms,
                None => {
                    self.moved_bytes += bytes;
                    pop.pulling_until_ms = pop.pulling_until_ms.max(now_ms) + takes_ms(bytes, self.pull_bytes_per_s);
                    pop.pulling_until_ms
                }
            };
            let same = before.filter(|before| before.device == device).and_then(|before| before.ready_ms);
            let load = || stored_ms.max(now_ms) + takes_ms(bytes, self.load_bytes_per_s);
            let ready_ms = (keep == Keep::Loaded).then(|| same.unwrap_or_else(load));
            held.insert(model, Held { device, stored_ms, ready_ms });
        }
        pop.held = held;
    }

    /// Whether a PoP answers for a model. One whose files wait loads it, and its caller waits.
    pub fn answer(&mut self, world: &World, at: usize, model: usize, now_ms: u64) -> Answer {
        let pop = &mut self.pops[at];
        let Some(held) = pop.held.get_mut(&model).filter(|_| pop.down == 0) else { return Answer::No };
        match held.ready_ms {
            Some(ready_ms) if ready_ms <= now_ms => Answer::After(held.device, 0),
            None if held.stored_ms <= now_ms => {
                let bytes = world.models[model].record.bytes;
                let load_ms = (bytes as f64 / self.load_bytes_per_s * 1e3).ceil() as u64;
                held.ready_ms = Some(now_ms + load_ms);
                Answer::After(held.device, load_ms)
            }
            _ => Answer::No,
        }
    }

    /// When the last model that is on its way answers, if any is.
    pub fn loading_until_ms(&self, now_ms: u64) -> Option<u64> {
        let up = self.pops.iter().filter(|pop| pop.down == 0);
        up.flat_map(|pop| pop.held.values()).filter_map(|held| held.ready_ms).filter(|ready| *ready > now_ms).max()
    }
}

fn standing(world: &World, model: usize, held: Held, devices: &mut [DeviceReport], now_ms: u64) -> ModelStanding {
    match held.ready_ms {
        Some(ready_ms) if ready_ms <= now_ms => {
            let (model, device) = (&world.models[model], &mut devices[held.device]);
            let memory_bytes = model.bytes_on(device);
            device.used_bytes += memory_bytes;
            let cost = model.cost_on(device);
            let cost = Cost { request_us: cost.busy_us, latency_us: cost.alone_us, failures: 0 };
            ModelStanding::Ready { device: device.device.clone(), memory_bytes, cost: Some(cost) }
        }
        None if held.stored_ms <= now_ms => ModelStanding::Stored,
        _ => ModelStanding::Loading,
    }
}
