//! What each PoP is to hold.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use headland_fleet::{DeviceReport, Intent, Keep, ModelStanding};
use headland_package::Accelerator;
use headland_placement::DeviceKind;

use super::{Holdings, ModelHere, PopHere, Scene};
use crate::measured;

/// By PoP and model, each by position.
pub(super) type Held = Vec<BTreeMap<usize, Keep>>;

impl Scene<'_> {
    /// What each PoP is to hold: what is planned, what has not arrived elsewhere yet, and files that wait for a request.
    pub fn holdings(&self) -> Holdings {
        let name = |(pop, held): (&PopHere<'_>, BTreeMap<usize, Keep>)| {
            let held = held.into_iter().map(|(model, keep)| (self.models[model].record.key.clone(), keep));
            (pop.id.clone(), held.collect())
        };
        self.pops.iter().zip(self.held()).map(name).collect()
    }

    pub(super) fn held(&self) -> Held {
        let mut held: Held = vec![BTreeMap::new(); self.pops.len()];
        // What is planned comes before what is kept for a while: it has the first claim on the room.
        for (at, model) in self.models.iter().enumerate() {
            for &pop in model.planned.iter().flatten() {
                held[pop].insert(at, Keep::Loaded);
            }
        }
        for (at, model) in self.models.iter().enumerate() {
            match model.planned.is_empty() {
                false => self.retain(at, model, &mut held),
                true => {
                    if let Some(pop) = self.waits_at(model) {
                        held[pop].entry(at).or_insert(Keep::Stored);
                    }
                }
            }
        }
        held
    }

    /// Keeps a model where it answers until all that is planned for it answers too, as far as there is room.
    fn retain(&self, at: usize, model: &ModelHere<'_>, held: &mut Held) {
        let planned: BTreeSet<usize> = model.planned.iter().copied().flatten().collect();
        let arrived = model.standings.iter().filter(|it| it.is_ready() && planned.contains(&it.pop)).count();
        let gone = model.planned.iter().filter(|pop| pop.is_none()).count();
        if arrived == planned.len() + gone {
            return;
        }
        for it in model.standings.iter().filter(|it| it.is_ready() && !planned.contains(&it.pop)) {
            let held = &mut held[it.pop];
            let all: u64 =
                held.keys().copied().filter(|other| *other != at).map(|other| self.models[other].bytes).sum();
            let devices = &self.pops[it.pop].there.heartbeat.devices;
            let room = devices.iter().map(|device| device.memory_bytes).max().unwrap_or(0);
            if all + model.bytes <= room {
                held.entry(at).or_insert(Keep::Loaded);
            }
        }
    }

    /// Where the files of a model wait that nobody asks for: where they lie already, or where there is most room.
    fn waits_at(&self, model: &ModelHere<'_>) -> Option<usize> {
        let regions = &model.record.needs.regions;
        let intent = |pop: usize| self.books.intent(self.pops[pop].id);
        // Whoever is asked loads it on what it has: where that is not what the model needs, it must not lie.
        let allowed = self.books.allowed(&model.record.key.name);
        let needs_gpu = model.record.needs.accelerator == Accelerator::Required;
        let suits = |pop: &PopHere<'_>| {
            let suits = |device: &DeviceReport| {
                let kind = measured::kind(device);
                device.memory_bytes >= model.bytes
                    && (!needs_gpu || kind == DeviceKind::Gpu)
                    && allowed.kind(kind) != Some(false)
            };
            let region = &pop.there.heartbeat.place.region;
            (regions.is_empty() || regions.contains(region))
                && allowed.region(region.as_str())
                && pop.there.heartbeat.devices.iter().any(suits)
        };
        let has =
            model.standings.iter().find(|it| it.has_files() && self.pops[it.pop].is_live && suits(&self.pops[it.pop]));
        if let Some(has) = has.filter(|it| intent(it.pop) != Intent::Draining) {
            return Some(has.pop);
        }
        let failed = |it: &&super::Standing<'_>| matches!(it.standing, ModelStanding::Failed { .. });
        let failed: BTreeSet<usize> = model.standings.iter().filter(failed).map(|it| it.pop).collect();
        let may = |at: usize, pop: &PopHere<'_>| {
            pop.is_live && !failed.contains(&at) && suits(pop) && intent(at) == Intent::Active
        };
        let room = |pop: &PopHere<'_>| {
            let free = |device: &DeviceReport| device.memory_bytes.saturating_sub(device.used_bytes);
            pop.there.heartbeat.devices.iter().map(free).max().unwrap_or(0)
        };
        let able = self.pops.iter().enumerate().filter(|(at, pop)| may(*at, pop));
        able.max_by_key(|(_, pop)| (room(pop), Reverse(pop.id))).map(|(at, _)| at)
    }
}
