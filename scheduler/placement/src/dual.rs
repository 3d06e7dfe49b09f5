//! A lower bound for one model at given prices, by dual ascent (Erlenkotter, 1978) from what the search found.
//!
//! Any `v` gives the bound `sum(w v) + sum(min(0, open - sum(w (v - c)+)))`: README.md has the proof. The ascent only looks
//! for a good `v`; what it claims is computed again in `f64` from nothing but `v`.

use std::cmp::Ordering;

use crate::facility::Facility;
use crate::instance::{Instance, NEVER, Row};
use crate::problem::{BLOCK, Problem};

/// Shares of the way to the second best open group that the first rounds may go, so that places which share a group
/// share its price.
const STEPS: [f32; 2] = [0.5, 1.0];

/// The tables of the ascent, kept to be used again.
#[derive(Default)]
pub(crate) struct Dual {
    /// What a request of each place is worth.
    pub v: Vec<f32>,
    slack: Vec<f32>,
    exact_slack: Vec<f64>,
}

impl Dual {
    /// What is to be paid for every replica that the minimum asks for, so that groups are worth opening that demand alone
    /// would not open: at most the cheapest group's price, or a group could be opened at a profit any number of times,
    /// and at most what a missing replica costs, or it would pay to miss them.
    fn reward(instance: &Instance, found: &Facility) -> f32 {
        let losses = found.losses(instance);
        let forced = found.open.iter().map(|&at| instance.open[at as usize] - losses[at as usize]);
        let wanted = match found.open.len().cmp(&instance.replicas_min) {
            Ordering::Less => NEVER,
            Ordering::Equal => forced.fold(0.0, f32::max),
            Ordering::Greater => 0.0,
        };
        let cheapest = instance.open.iter().copied().fold(NEVER, f32::min);
        wanted.min(cheapest).min(instance.missing(0))
    }

    /// A value below which no choice of groups comes, in the model's own weights.
    pub fn bound(&mut self, problem: &Problem<'_>, instance: &Instance, found: &Facility, model: usize) -> f64 {
        let reward = Self::reward(instance, found);
        self.v.clone_from(&found.cost);
        self.slack.clear();
        self.slack.extend(found.savings().iter().zip(&instance.open).map(|(saving, open)| open - reward - saving));
        for step in STEPS {
            for point in 0..self.v.len() {
                let limit = found.cost[point] + step * (found.next[point] - found.cost[point]);
                self.raise(problem, instance, point, limit);
            }
        }
        for point in 0..self.v.len() {
            self.raise(problem, instance, point, instance.fallback);
        }
        self.value(problem, instance, model, f64::from(reward))
    }

    /// Raises a place's worth as far as the slack of all groups goes.
    fn raise(&mut self, problem: &Problem<'_>, instance: &Instance, point: usize, limit: f32) {
        let (row, before, weight) = (instance.row(problem, point), self.v[point], instance.weights[point]);
        if limit <= before {
            return;
        }
        let slack = self.slack.as_chunks_mut().0;
        let reach = reach(slack, row, weight.recip(), before, limit);
        if reach > before {
            spend(slack, row, weight, before, reach);
            self.v[point] = reach;
        }
    }

    /// What `v` proves, in `f64` and from the problem's own tables.
    fn value(&mut self, problem: &Problem<'_>, instance: &Instance, model: usize, reward: f64) -> f64 {
        let table = &problem.models[model];
        let (value, fallback) = (table.spec.value, problem.options().fallback_ms);
        let reward = instance.exact_open.iter().copied().fold(reward, f64::min);
        let shortfall = problem.options().shortfall_price;
        let points: Vec<(usize, f64, f64)> = table
            .demand
            .iter()
            .zip(&self.v)
            .map(|(point, &v)| (point.place as usize, point.requests_per_s * value, f64::from(v).min(fallback)))
            .collect();
        let mut total = instance.replicas_min as f64 * reward.min(shortfall);
        total += instance.domains_min as f64 * (reward - shortfall).max(0.0);
        total += points.iter().map(|(_, weight, v)| weight * v).sum::<f64>();
        self.exact_slack.clear();
        self.exact_slack.extend(instance.exact_open.iter().map(|open| open - reward));
        for (point, &(place, weight, v)) in points.iter().enumerate() {
            let network = &problem.network_ms[place * problem.groups.len()..][instance.groups.clone()];
            // What rounding to `f32` could hide is less than this margin.
            for block in instance.row(problem, point).below((v * (1.0 + 1e-6)) as f32) {
                let cells = block * BLOCK..network.len().min((block + 1) * BLOCK);
                let slack = &mut self.exact_slack[cells.clone()];
                for ((slack, network), add) in
                    slack.iter_mut().zip(&network[cells.clone()]).zip(&instance.exact_add[cells])
                {
                    let over = v - (network + add);
                    *slack -= if over > 0.0 { weight * over } else { 0.0 };
                }
            }
        }
        total + self.exact_slack.iter().map(|slack| slack.min(0.0)).sum::<f64>()
    }
}

/// How far a place's worth could rise, up to a limit, before a group's slack is spent.
fn reach(slack: &[[f32; BLOCK]], row: Row<'_>, per_weight: f32, from: f32, limit: f32) -> f32 {
    let mut least = limit;
    for block in row.below(limit) {
        let (slack, network, add) = (&slack[block], &row.network[block], &row.add[block]);
        let mut lanes = [least; BLOCK];
        for lane in 0..BLOCK {
            let cost = network[lane] + add[lane];
            let base = if cost > from { cost } else { from };
            let reach = base + slack[lane] * per_weight;
            lanes[lane] = if reach < least { reach } else { least };
        }
        least = lanes.into_iter().fold(least, f32::min);
    }
    least
}

/// Takes from all slacks what a place's rise costs them.
fn spend(slack: &mut [[f32; BLOCK]], row: Row<'_>, weight: f32, from: f32, to: f32) {
    for block in row.below(to) {
        let (slack, network, add) = (&mut slack[block], &row.network[block], &row.add[block]);
        for lane in 0..BLOCK {
            let cost = network[lane] + add[lane];
            let base = if cost > from { cost } else { from };
            let rise = to - base;
            slack[lane] -= weight * if rise > 0.0 { rise } else { 0.0 };
        }
    }
}
