//! The first phase: minimums first, then whatever saves most for its bytes, as long as it saves more than it costs.
//!
//! What every group would save each model is kept in tables, brought up to date by one row for each flow that moves. The
//! saving of a replica only shrinks while others are placed, so a heap with each model's best is enough: what comes out on
//! top is weighed exactly, and placed if it still leads (Minoux's lazy greedy).

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::draft::{Draft, Move};
use crate::instance::{Instance, NEVER, shift_savings};
use crate::prices::Prices;
use crate::problem::BLOCK;

/// A replica that saves less than this share of its price more than the price is not worth the noise.
const GAIN_MIN: f32 = 1e-3;

/// In the place of a gain that is to be looked up.
const UNKNOWN: f32 = -1.0;

/// A model's best next replica, by what it gains for each byte.
struct Lead {
    density: f32,
    model: u32,
    at: u32,
}

impl Ord for Lead {
    fn cmp(&self, other: &Self) -> Ordering {
        self.density.total_cmp(&other.density).then_with(|| (other.model, other.at).cmp(&(self.model, self.at)))
    }
}

impl PartialOrd for Lead {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Lead {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Lead {}

/// What each group would save a model, kept while flows move.
#[derive(Default)]
pub(crate) struct Savings {
    instance: Instance,
    table: Vec<f32>,
    /// What weighing exactly has shown a group to gain at most for each byte, be it for lack of time or of room.
    ceiling: Vec<f32>,
    per_byte: Vec<f32>,
    /// By block of groups: the one that gains most for each byte, or that it has to be found anew.
    leads: Vec<(f32, u32)>,
}

impl Savings {
    /// Of a model as it is served now.
    pub fn new(draft: &Draft<'_>, model: usize, prices: &Prices) -> Self {
        let mut savings = Self::default();
        savings.instance.fill(draft.problem, model, prices, &draft.present);
        let groups = savings.instance.groups.clone();
        let cells = savings.instance.open.len();
        savings.table.resize(cells, 0.0);
        savings.ceiling.resize(cells, NEVER);
        savings.leads.resize(cells / BLOCK, (UNKNOWN, 0));
        let table = &draft.problem.models[model];
        let bytes = groups.map(|group| draft.problem.run(table, group as u32).map_or(1, |run| run.bytes.max(1)));
        savings.per_byte.extend(bytes.map(|bytes| (bytes as f32).recip()));
        savings.per_byte.resize(cells, 0.0);
        for flow in &draft.models[model].flows {
            let all = Move { point: flow.point, requests_per_s: flow.requests_per_s, from: -1e30, to: flow.cost };
            savings.shift(draft, model, &all);
        }
        savings
    }

    fn shift(&mut self, draft: &Draft<'_>, model: usize, moved: &Move) {
        let value = draft.problem.models[model].spec.value;
        let row = self.instance.row(draft.problem, moved.point as usize);
        let (weight, from, to) = (moved.requests_per_s * value, moved.from / value, moved.to / value);
        let leads = &mut self.leads;
        shift_savings(&mut self.table, row, weight as f32, (from as f32, to as f32), |block| leads[block].0 = UNKNOWN);
    }

    /// Notes that a group gains no more than so much for each byte.
    fn limit(&mut self, at: u32, ceiling: f32) {
        self.ceiling[at as usize] = ceiling;
        self.leads[at as usize / BLOCK].0 = UNKNOWN;
    }

    /// The group that gains most for each byte.
    fn lead(&mut self, model: u32) -> Option<Lead> {
        let mut best = (0.0, 0);
        for block in 0..self.leads.len() {
            if self.leads[block].0 == UNKNOWN {
                self.leads[block] = self.lead_of(block);
            }
            if self.leads[block].0 > best.0 {
                best = self.leads[block];
            }
        }
        (best.0 > 0.0).then_some(Lead { density: best.0, model, at: best.1 })
    }

    /// The best group of a block.
    fn lead_of(&self, block: usize) -> (f32, u32) {
        let mut best = (0.0, 0);
        for at in block * BLOCK..(block + 1) * BLOCK {
            let open = self.instance.open[at];
            let gain = self.table[at] - open;
            let density = self.ceiling[at].min(gain * self.per_byte[at]);
            if density > best.0 && gain > GAIN_MIN * open {
                best = (density, at as u32);
            }
        }
        best
    }
}

/// The tables of all models that are to be placed.
pub(crate) struct Greedy<'a> {
    prices: &'a Prices,
    savings: Vec<Savings>,
    moves: Vec<Move>,
}

impl<'a> Greedy<'a> {
    /// Tables for these models.
    pub fn new(draft: &Draft<'_>, models: &[u32], prices: &'a Prices) -> Self {
        let mut savings: Vec<Savings> = Vec::new();
        savings.resize_with(draft.problem.models.len(), Savings::default);
        for &model in models {
            savings[model as usize] = Savings::new(draft, model as usize, prices);
        }
        Self { prices, savings, moves: Vec::new() }
    }

    /// Places everything in these models that is worth its price.
    pub fn fill(&mut self, draft: &mut Draft<'_>, models: &[u32]) {
        let mut heap: BinaryHeap<Lead> =
            models.iter().filter_map(|&model| self.savings[model as usize].lead(model)).collect();
        while let Some(Lead { density, model, at }) = heap.pop() {
            let next = heap.peek().map_or(0.0, |next| next.density);
            let group = self.savings[model as usize].instance.groups.start as u32 + at;
            match gain(draft, model, group, self.prices) {
                Some((exact, device)) if exact >= next.min(density) * (1.0 - GAIN_MIN) => {
                    self.place(draft, model as usize, device);
                }
                exact => {
                    let ceiling = exact.map_or(-NEVER, |(exact, _)| exact);
                    self.savings[model as usize].limit(at, ceiling);
                }
            }
            heap.extend(self.savings[model as usize].lead(model));
        }
    }

    /// Puts a model on a device that was just weighed, and keeps its table.
    fn place(&mut self, draft: &mut Draft<'_>, model: usize, device: u32) -> bool {
        if !draft.hold(model, device) {
            return false;
        }
        draft.attract(model, device, &mut self.moves);
        for moved in self.moves.drain(..) {
            self.savings[model].shift(draft, model, &moved);
        }
        true
    }

    /// Adds replicas to a model until it has those it has to have, or finds no device.
    pub fn minimum(&mut self, draft: &mut Draft<'_>, model: usize) {
        let problem = draft.problem;
        let table = &problem.models[model];
        loop {
            let domains = draft.domains(model);
            let lacks_domains = (domains.len() as u32) < table.domains_min;
            let lacks_replicas = (draft.models[model].devices.len() as u32) < table.replicas_min;
            let elsewhere = |device: u32| !domains.contains(&problem.devices[device as usize].domain);
            let apart = if lacks_domains { self.best(draft, model, elsewhere) } else { None };
            let chosen = apart.or_else(|| if lacks_replicas { self.best(draft, model, |_| true) } else { None });
            let Some(device) = chosen else { return };
            draft.saving(model, device);
            if !self.place(draft, model, device) {
                return;
            }
        }
    }

    /// The device where one more replica pays most, or costs least, by the tables.
    fn best(&self, draft: &Draft<'_>, model: usize, suits: impl Fn(u32) -> bool) -> Option<u32> {
        let Savings { instance, table, .. } = &self.savings[model];
        let mut best: Option<(f32, u32)> = None;
        for (at, (saving, open)) in table.iter().zip(&instance.open).enumerate() {
            let gain = saving - open;
            if *open >= NEVER || best.is_some_and(|(most, _)| gain <= most) {
                continue;
            }
            if let Some(device) = draft.pick(model, (instance.groups.start + at) as u32, &suits) {
                best = Some((gain, device));
            }
        }
        best.map(|(_, device)| device)
    }
}

/// What holding a model on a device costs, and loading it there if it is not.
pub(crate) fn price(draft: &Draft<'_>, model: usize, device: u32) -> Option<f64> {
    let problem = draft.problem;
    let group = problem.devices[device as usize].group;
    let bytes = problem.run(&problem.models[model], group)?.bytes;
    let loading = if draft.present.get(model, device as usize) { 0.0 } else { problem.loading_cost(bytes) };
    Some(problem.holding_cost(group, bytes) + loading)
}

/// These models in the order in which their minimums are served: those that count most come first.
pub(crate) fn by_weight(draft: &Draft<'_>, models: &[u32]) -> Vec<u32> {
    let weight = |model: u32| {
        let table = &draft.problem.models[model as usize];
        table.spec.value * table.demand.iter().map(|point| point.requests_per_s).sum::<f64>()
    };
    let mut order: Vec<(f64, u32)> = models.iter().map(|&model| (weight(model), model)).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    order.into_iter().map(|(_, model)| model).collect()
}

/// Offers groups in which there is more than before to all models: whoever gains most for its bytes comes first.
pub(crate) fn offer(draft: &mut Draft<'_>, groups: &[u32], prices: &Prices) {
    let mut heap = BinaryHeap::new();
    for &group in groups {
        for model in 0..draft.models.len() as u32 {
            heap.extend(gain(draft, model, group, prices).map(|(density, _)| Lead { density, model, at: group }));
        }
    }
    while let Some(Lead { density, model, at: group }) = heap.pop() {
        let Some((now, device)) = gain(draft, model, group, prices) else { continue };
        let leads = now >= density || heap.peek().is_none_or(|next| next.density <= now);
        if !leads {
            heap.push(Lead { density: now, model, at: group });
        } else if draft.hold(model as usize, device) {
            draft.attract(model as usize, device, &mut Vec::new());
            heap.extend(gain(draft, model, group, prices).map(|(density, _)| Lead { density, model, at: group }));
        }
    }
}

/// What a further replica in a group gains for each byte, and the device for it; `None` if it gains nothing.
fn gain(draft: &mut Draft<'_>, model: u32, group: u32, prices: &Prices) -> Option<(f32, u32)> {
    let (problem, model) = (draft.problem, model as usize);
    let table = &problem.models[model];
    if draft.models[model].devices.len() as u32 >= table.replicas_max {
        return None;
    }
    let device = draft.pick(model, group, |_| true)?;
    let bytes = problem.run(table, group)?.bytes;
    let price = price(draft, model, device)? + prices.per_byte[group as usize] * bytes as f64;
    let gain = draft.saving(model, device) - price;
    (gain > f64::from(GAIN_MIN) * price).then_some(((gain / bytes.max(1) as f64) as f32, device))
}
