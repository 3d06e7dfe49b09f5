//! One model apart from all others: an uncapacitated facility location problem over groups of devices.
//!
//! What other models leave it is in the prices: memory and time that are scarce in a group cost extra there. Costs are per
//! request and divided by the model's value, so that a row is a sum of two table rows; numbers are `f32`, for phases only
//! search here. What is claimed of a plan or a bound is computed again in `f64`.

use std::ops::Range;

use crate::bits::Bits;
use crate::problem::{Problem, Run};

/// Instead of infinity, whose differences are no numbers.
pub(crate) const NEVER: f32 = 1e30;

/// What a byte and a microsecond cost in each group beyond their price, because others want them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Prices {
    pub per_byte: Vec<f64>,
    pub per_us: Vec<f64>,
}

impl Prices {
    pub fn none(groups: usize) -> Self {
        Self { per_byte: vec![0.0; groups], per_us: vec![0.0; groups] }
    }
}

/// A model's costs in all groups that it may be in.
#[derive(Default)]
pub(crate) struct Instance {
    /// The groups, of which tables here have one entry each.
    pub groups: Range<usize>,
    /// Places and weights of the demand.
    pub places: Vec<u32>,
    pub weights: Vec<f32>,
    /// What a request costs in a group besides the network.
    pub add: Vec<f32>,
    /// What it costs to be in a group at all.
    pub open: Vec<f32>,
    /// The same for those who prove.
    pub exact_open: Vec<f64>,
    /// What a request costs that nobody answers.
    pub fallback: f32,
    pub replicas_min: usize,
    pub replicas_max: usize,
}

impl Instance {
    /// Fills the tables for a model.
    pub fn fill(&mut self, problem: &Problem<'_>, model: usize, prices: &Prices, present: &Bits) {
        let table = &problem.models[model];
        self.groups = table.groups.clone();
        self.fallback = problem.options().fallback_ms as f32;
        self.replicas_min = table.replicas_min as usize;
        self.replicas_max = table.replicas_max as usize;
        let value = table.spec.value;
        self.places.clear();
        self.places.extend(table.demand.iter().map(|point| point.place));
        self.weights.clear();
        self.weights.extend(table.demand.iter().map(|point| (point.requests_per_s * value) as f32));
        self.add.clear();
        self.open.clear();
        self.exact_open.clear();
        for group in self.groups.clone() {
            let Some(run) = problem.run(table, group as u32) else {
                self.add.push(NEVER);
                self.open.push(NEVER);
                self.exact_open.push(f64::INFINITY);
                continue;
            };
            let time = run.busy_us * prices.per_us[group];
            self.add.push(((table.compute_cost[group] + time) / value) as f32);
            let open = opening_cost(problem, model, group, run, prices, present);
            self.open.push(open as f32);
            self.exact_open.push(open);
        }
    }

    /// Round trips from a demand's place, over the instance's groups.
    pub fn row<'a>(&self, problem: &'a Problem<'_>, point: usize) -> &'a [f32] {
        let width = problem.groups.len();
        &problem.network_f32[self.places[point] as usize * width..][self.groups.clone()]
    }
}

/// What a first replica in a group costs: holding, scarcity, and loading unless a device there has it. [`NEVER`] where no
/// device may take it.
pub(crate) fn opening_cost(
    problem: &Problem<'_>,
    model: usize,
    group: usize,
    run: Run,
    prices: &Prices,
    present: &Bits,
) -> f64 {
    let devices = &problem.groups[group].devices;
    let fits = |&&device: &&u32| problem.devices[device as usize].memory_bytes >= run.bytes;
    let has = |&device: &u32| present.get(model, device as usize) && problem.admits(model, device, true);
    let is_there = devices.iter().filter(fits).any(has);
    let open = |&device: &u32| problem.admits(model, device, false);
    if !is_there && !devices.iter().filter(fits).any(open) {
        return f64::from(NEVER);
    }
    let loading = if is_there { 0.0 } else { problem.loading_cost(run.bytes) };
    problem.holding_cost(group as u32, run.bytes) + prices.per_byte[group] * run.bytes as f64 + loading
}

/// Adds to what opening each group would save, as a request's cost where it is served now falls or rises.
pub(crate) fn shift_savings(savings: &mut [f32], network: &[f32], add: &[f32], weight: f32, from: f32, to: f32) {
    for ((saving, network), add) in savings.iter_mut().zip(network).zip(add) {
        let cost = network + add;
        *saving += weight * (above(to, cost) - above(from, cost));
    }
}

/// How far `a` lies above `b`, or 0.
#[inline(always)]
fn above(a: f32, b: f32) -> f32 {
    let difference = a - b;
    if difference > 0.0 { difference } else { 0.0 }
}
