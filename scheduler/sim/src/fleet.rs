//! What is really so in the simulated fleet, whatever the control plane believes.

use std::collections::{BTreeMap, HashMap};

use headland_placement::{DeviceIndex, Input, ModelKey, Plan, PopId};

use crate::faults::{FaultKind, SLOW_DISK};

/// The state of all PoPs and what they have loaded.
pub(crate) struct Fleet {
    /// All PoPs there ever are, with the models and mean demand.
    pub all: Input,
    index: HashMap<PopId, usize>,
    pops: Vec<PopState>,
    /// When a replica began, or will begin, to serve.
    ready_s: HashMap<(ModelKey, PopId, DeviceIndex), f64>,
    kinds: HashMap<headland_placement::DeviceClassName, headland_placement::DeviceKind>,
    memory: HashMap<ModelKey, headland_placement::Memory>,
    pull_bytes_per_s: f64,
    pub moved_bytes: u64,
}

#[derive(Clone, Default)]
struct PopState {
    /// Faults that hold it down, cut it off, slow it: they may overlap.
    down: u32,
    cut_off: u32,
    slow: u32,
    pulling_until_s: f64,
}

impl Fleet {
    pub fn new(all: Input, pull_bytes_per_s: f64) -> Self {
        Self {
            index: all.pops.iter().enumerate().map(|(at, pop)| (pop.id.clone(), at)).collect(),
            pops: vec![PopState::default(); all.pops.len()],
            ready_s: HashMap::new(),
            kinds: all.device_classes.iter().map(|class| (class.name.clone(), class.kind)).collect(),
            memory: all.models.iter().map(|model| (model.key.clone(), model.memory)).collect(),
            pull_bytes_per_s,
            moved_bytes: 0,
            all,
        }
    }

    /// Begins or ends a fault.
    pub fn strike(&mut self, kind: &FaultKind, begins: bool) {
        let hit: Vec<usize> = match kind {
            FaultKind::Pop(id) | FaultKind::Partition(id) | FaultKind::SlowDisk(id) => {
                self.index.get(id).copied().into_iter().collect()
            }
            FaultKind::Region(region) => {
                (0..self.pops.len()).filter(|&at| &self.all.pops[at].region == region).collect()
            }
            FaultKind::Control => Vec::new(),
        };
        for at in hit {
            let state = &mut self.pops[at];
            let count = match kind {
                FaultKind::Partition(_) => &mut state.cut_off,
                FaultKind::SlowDisk(_) => &mut state.slow,
                _ => &mut state.down,
            };
            *count = if begins { *count + 1 } else { count.saturating_sub(1) };
            if begins && matches!(kind, FaultKind::Pop(_) | FaultKind::Region(_)) {
                state.pulling_until_s = 0.0;
                let id = &self.all.pops[at].id;
                self.ready_s.retain(|(_, pop, _), _| pop != id);
            }
        }
    }

    pub fn is_up(&self, pop: &PopId) -> bool {
        self.index.get(pop).is_some_and(|&at| self.pops[at].down == 0)
    }

    pub fn live(&self) -> usize {
        self.pops.iter().filter(|pop| pop.down == 0).count()
    }

    /// The PoPs that the control plane hears from.
    pub fn heard(&self) -> Vec<headland_placement::Pop> {
        let heard = self.all.pops.iter().zip(&self.pops).filter(|(_, state)| state.down == 0 && state.cut_off == 0);
        heard.map(|(pop, _)| pop.clone()).collect()
    }

    /// Whether a replica serves.
    pub fn serves(&self, model: &ModelKey, pop: &PopId, device: DeviceIndex, now_s: f64) -> bool {
        let ready_s = self.ready_s.get(&(model.clone(), pop.clone(), device));
        self.is_up(pop) && ready_s.is_some_and(|&ready_s| ready_s <= now_s)
    }

    /// Has PoPs load what a plan adds and give up what it drops, one model after another on each PoP. When the last one is
    /// loaded comes back.
    pub fn follow(&mut self, plan: &Plan, now_s: f64) -> f64 {
        let mut last_s = now_s;
        let mut wanted = HashMap::with_capacity(self.ready_s.len());
        for replica in plan.replicas() {
            let key = (replica.model, replica.pop, replica.device);
            if let Some(ready_s) = self.ready_s.get(&key) {
                wanted.insert(key, *ready_s);
                continue;
            }
            let Some(&at) = self.index.get(&key.1) else { continue };
            let bytes = self.bytes(&key.0, at, key.2);
            let state = &mut self.pops[at];
            let pace = if state.slow > 0 { SLOW_DISK } else { 1.0 };
            let ready_s = state.pulling_until_s.max(now_s) + bytes as f64 / self.pull_bytes_per_s * pace;
            state.pulling_until_s = ready_s;
            self.moved_bytes += bytes;
            last_s = last_s.max(ready_s);
            wanted.insert(key, ready_s);
        }
        // A PoP that is cut off does not hear of the plan and keeps what it has.
        let cut_off = |pop: &PopId| self.index.get(pop).is_some_and(|&at| self.pops[at].cut_off > 0);
        let kept: BTreeMap<_, _> = self
            .ready_s
            .iter()
            .filter(|((_, pop, _), _)| cut_off(pop))
            .map(|(key, &ready_s)| (key.clone(), ready_s))
            .collect();
        wanted.extend(kept);
        self.ready_s = wanted;
        last_s
    }

    fn bytes(&self, model: &ModelKey, pop: usize, device: DeviceIndex) -> u64 {
        let class = self.all.pops[pop].devices.get(usize::from(device.0)).map(|device| &device.class);
        let kind = class.and_then(|class| self.kinds.get(class));
        let memory = self.memory.get(model).copied().unwrap_or_default();
        kind.and_then(|&kind| memory.bytes_on(kind)).unwrap_or(0)
    }
}
