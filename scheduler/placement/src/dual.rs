//! A lower bound for one model at given prices, by dual ascent (Erlenkotter, 1978) from what the search found.
//!
//! Any `v` gives the bound `sum(w v) + sum(min(0, open - sum(w (v - c)+)))`: README.md has the proof. The ascent only looks
//! for a good `v`; what it claims is computed again in `f64` from nothing but `v`.

use crate::facility::Facility;
use crate::instance::{Instance, NEVER};
use crate::problem::Problem;

/// Shares of the way to the second best open group that the first rounds may go, so that places which share a group
/// share its price.
const STEPS: [f32; 3] = [0.4, 0.7, 1.0];

/// The tables of the ascent, kept to be used again.
#[derive(Default)]
pub(crate) struct Dual {
    /// What a request of each place is worth.
    pub v: Vec<f32>,
    slack: Vec<f32>,
}

impl Dual {
    /// What is to be paid for every replica that the minimum asks for, so that groups are worth opening that demand alone
    /// would not open: at most the cheapest group's price, or a group could be opened at a profit any number of times,
    /// and at most what a missing replica costs, or it would pay to miss them.
    fn reward(instance: &Instance, found: &Facility) -> f32 {
        if found.open.is_empty() || found.open.len() > instance.replicas_min {
            return 0.0;
        }
        let losses = found.losses(instance);
        let forced = found.open.iter().map(|&at| instance.open[at as usize] - losses[at as usize]);
        let cheapest = instance.open.iter().copied().fold(NEVER, f32::min);
        forced.fold(0.0, f32::max).min(cheapest)
    }

    /// A value below which no choice of groups comes, in the model's own weights.
    pub fn bound(&mut self, problem: &Problem<'_>, instance: &Instance, found: &Facility, model: usize) -> f64 {
        let most = problem.options().shortfall_price as f32;
        let reward = Self::reward(instance, found).min(most);
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
        let (network, before) = (instance.row(problem, point), self.v[point]);
        if limit <= before {
            return;
        }
        let weight = instance.weights[point];
        let reach = reach(&self.slack, network, &instance.add, weight.recip(), before).min(limit);
        if reach > before {
            spend(&mut self.slack, network, &instance.add, weight, before, reach);
            self.v[point] = reach;
        }
    }

    /// What `v` proves, in `f64` and from the problem's own tables.
    fn value(&self, problem: &Problem<'_>, instance: &Instance, model: usize, reward: f64) -> f64 {
        let table = &problem.models[model];
        let (value, fallback) = (table.spec.value, problem.options().fallback_ms);
        let reward = instance.exact_open.iter().copied().fold(reward, f64::min);
        let points: Vec<(usize, f64, f64)> = table
            .demand
            .iter()
            .zip(&self.v)
            .map(|(point, &v)| (point.place as usize, point.requests_per_s * value, f64::from(v).min(fallback)))
            .collect();
        let mut total = instance.replicas_min as f64 * reward;
        total += points.iter().map(|(_, weight, v)| weight * v).sum::<f64>();
        for (group, open) in instance.groups.clone().zip(&instance.exact_open) {
            let (column, add) = (problem.network_to(group as u32), table.compute_cost[group] / value);
            let mut slack = open - reward;
            for &(place, weight, v) in &points {
                let over = v - (column[place] + add);
                slack -= if over > 0.0 { weight * over } else { 0.0 };
            }
            total += slack.min(0.0);
        }
        total
    }
}

/// How far a place's worth could rise before a group's slack is spent.
fn reach(slack: &[f32], network: &[f32], add: &[f32], per_weight: f32, from: f32) -> f32 {
    const LANES: usize = 16;
    let mut least = [NEVER; LANES];
    let width = slack.len() / LANES * LANES;
    let limit = |slack: f32, network: f32, add: f32| {
        let cost = network + add;
        let from = if cost > from { cost } else { from };
        from + slack * per_weight
    };
    let chunks = slack.chunks_exact(LANES).zip(network.chunks_exact(LANES)).zip(add.chunks_exact(LANES));
    for ((slack, network), add) in chunks {
        for lane in 0..LANES {
            let limit = limit(slack[lane], network[lane], add[lane]);
            least[lane] = if limit < least[lane] { limit } else { least[lane] };
        }
    }
    let rest = (width..slack.len()).map(|at| limit(slack[at], network[at], add[at]));
    least.into_iter().chain(rest).fold(NEVER, f32::min)
}

/// Takes from all slacks what a place's rise costs them.
fn spend(slack: &mut [f32], network: &[f32], add: &[f32], weight: f32, from: f32, to: f32) {
    for ((slack, network), add) in slack.iter_mut().zip(network).zip(add) {
        let cost = network + add;
        let base = if cost > from { cost } else { from };
        let rise = to - base;
        *slack -= weight * if rise > 0.0 { rise } else { 0.0 };
    }
}
