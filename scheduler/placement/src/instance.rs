//! One model apart from all others: an uncapacitated facility location problem over groups of devices.
//!
//! What other models leave it is in the prices: memory and time that are scarce in a group cost extra there. Costs are per
//! request and divided by the model's value, so that a row is a sum of two table rows; numbers are `f32`, for phases only
//! search here. What is claimed of a plan or a bound is computed again in `f64`.

use std::ops::Range;

use crate::bits::Bits;
use crate::prices::Prices;
use crate::problem::{BLOCK, Problem, Run};

/// Instead of infinity, whose differences are no numbers.
pub(crate) const NEVER: f32 = 1e30;

/// A model's costs in all groups that it may be in.
#[derive(Default)]
pub(crate) struct Instance {
    /// The groups, of which tables here have one entry each; they are filled up to whole blocks with what cannot be chosen.
    pub groups: Range<usize>,
    /// Places and weights of the demand.
    pub places: Vec<u32>,
    pub weights: Vec<f32>,
    /// What a request costs in a group besides the network.
    pub add: Vec<f32>,
    /// The least of each block of them.
    add_least: Vec<f32>,
    /// The same as `add` for those who prove.
    pub exact_add: Vec<f64>,
    /// What it costs to be in a group at all.
    pub open: Vec<f32>,
    /// The same as `open` for those who prove.
    pub exact_open: Vec<f64>,
    /// What a request costs that nobody answers.
    pub fallback: f32,
    pub replicas_min: usize,
    pub replicas_max: usize,
    pub domains_min: usize,
    /// What a missing replica costs, and again a missing failure domain; [`NEVER`] where none may be missing.
    pub shortfall: f32,
}

impl Instance {
    /// Fills the tables for a model.
    pub fn fill(&mut self, problem: &Problem<'_>, model: usize, prices: &Prices, present: &Bits) {
        let table = &problem.models[model];
        self.groups = table.groups.clone();
        self.fallback = problem.options().fallback_ms as f32;
        self.replicas_min = table.replicas_min as usize;
        self.replicas_max = table.replicas_max as usize;
        self.domains_min = table.domains_min as usize;
        self.shortfall = NEVER;
        let value = table.spec.value;
        self.places.clear();
        self.places.extend(table.demand.iter().map(|point| point.place));
        self.weights.clear();
        self.weights.extend(table.demand.iter().map(|point| (point.requests_per_s * value) as f32));
        self.exact_add.clear();
        self.exact_open.clear();
        for group in self.groups.clone() {
            let open = problem.run(table, group as u32).and_then(|run| {
                let open = opening_cost(problem, model, group, run, prices, present)?;
                let time = run.busy_us * prices.per_us[group];
                Some(((table.compute_cost[group] + time) / value, open))
            });
            let (add, open) = open.unwrap_or((f64::from(NEVER), f64::from(NEVER)));
            self.exact_add.push(add);
            self.exact_open.push(open);
        }
        let cells = self.groups.len().next_multiple_of(BLOCK);
        self.exact_add.resize(cells, f64::from(NEVER));
        self.exact_open.resize(cells, f64::from(NEVER));
        self.add.clear();
        self.add.extend(self.exact_add.iter().map(|&add| add as f32));
        self.open.clear();
        self.open.extend(self.exact_open.iter().map(|&open| open as f32));
        self.add_least.clear();
        let least = |block: &[f32]| block.iter().copied().fold(NEVER, f32::min);
        self.add_least.extend(self.add.chunks(BLOCK).map(least));
    }

    /// Lets requests pay for a group by the share of a replica that each weight takes, instead of for being open.
    pub fn spread(&mut self, at: usize, share: f64) {
        self.exact_add[at] += self.exact_open[at] * share;
        self.exact_open[at] = 0.0;
        self.add[at] = self.exact_add[at] as f32;
        self.open[at] = 0.0;
        self.add_least[at / BLOCK] = self.add.as_chunks::<BLOCK>().0[at / BLOCK].iter().copied().fold(NEVER, f32::min);
    }

    /// What it costs at least to have so many replicas and not one more.
    pub fn missing(&self, replicas: usize) -> f32 {
        let lacks = |least: usize| if replicas < least { self.shortfall } else { 0.0 };
        lacks(self.replicas_min) + lacks(self.domains_min)
    }

    /// What a request from a demand's place costs, over the instance's groups.
    pub fn row<'a>(&'a self, problem: &'a Problem<'_>, point: usize) -> Row<'a> {
        let blocks = self.add.len() / BLOCK;
        let first = self.places[point] as usize * problem.blocks() + self.groups.start / BLOCK;
        Row {
            network: &problem.network_f32[first..][..blocks],
            near: &problem.network_near[first..][..blocks],
            add: self.add.as_chunks().0,
            add_least: &self.add_least,
        }
    }
}

/// What a request of one place costs in each group, block by block.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    pub network: &'a [[f32; BLOCK]],
    pub add: &'a [[f32; BLOCK]],
    near: &'a [f32],
    add_least: &'a [f32],
}

impl Row<'_> {
    /// The blocks in which some cost may be below a limit.
    pub fn below(&self, limit: f32) -> impl Iterator<Item = usize> {
        let least = self.near.iter().zip(self.add_least).map(|(near, add)| near + add);
        least.enumerate().filter(move |&(_, least)| least < limit).map(|(block, _)| block)
    }
}

/// What a first replica in a group costs: holding, scarcity, and loading unless a device there has it. `None` where no
/// device may take it.
pub(crate) fn opening_cost(
    problem: &Problem<'_>,
    model: usize,
    group: usize,
    run: Run,
    prices: &Prices,
    present: &Bits,
) -> Option<f64> {
    let devices = &problem.groups[group].devices;
    let fits = |&&device: &&u32| problem.devices[device as usize].memory_bytes >= run.bytes;
    let has = |&device: &u32| present.get(model, device as usize) && problem.admits(model, device, true);
    let is_there = present.any(model) && devices.iter().filter(fits).any(has);
    let open = |&device: &u32| problem.admits(model, device, false);
    if !is_there && !devices.iter().filter(fits).any(open) {
        return None;
    }
    let loading = if is_there { 0.0 } else { problem.loading_cost(run.bytes) };
    Some(problem.holding_cost(group as u32, run.bytes) + prices.per_byte[group] * run.bytes as f64 + loading)
}

/// Adds to what opening each group would save, as a request's cost where it is served now falls or rises. Blocks in which
/// that changes something are named.
pub(crate) fn shift_savings(
    savings: &mut [f32],
    row: Row<'_>,
    weight: f32,
    (from, to): (f32, f32),
    mut changed: impl FnMut(usize),
) {
    let savings = savings.as_chunks_mut::<BLOCK>().0;
    for block in row.below(from.max(to)) {
        let (savings, network, add) = (&mut savings[block], &row.network[block], &row.add[block]);
        for lane in 0..BLOCK {
            let cost = network[lane] + add[lane];
            savings[lane] += weight * (above(to, cost) - above(from, cost));
        }
        changed(block);
    }
}

/// How far `a` lies above `b`, or 0.
#[inline(always)]
fn above(a: f32, b: f32) -> f32 {
    let difference = a - b;
    if difference > 0.0 { difference } else { 0.0 }
}
