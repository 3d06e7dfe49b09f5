//! Which groups a model should be in, given prices: greedy, then adding, dropping and swapping while that helps.
//!
//! The savings of all groups are kept up to date, so that a step costs one table row for each place it touches.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::instance::{Instance, NEVER, shift_savings};
use crate::problem::Problem;

/// Rounds of dropping, adding and swapping. Few models need more than three.
const ROUNDS_MAX: usize = 6;
/// Swapping pays where groups are few and each matters; of many, adding and dropping finds the places.
const SWAPPED_MAX: usize = 32;
/// A change has to gain so much of what it changes; less is rounding.
const GAIN_MIN: f32 = 1e-4;

/// The tables of the search, kept to be used again.
#[derive(Default)]
pub(crate) struct Facility {
    /// Positions among the instance's groups.
    pub open: Vec<u32>,
    /// What each place's requests cost where they are served.
    pub cost: Vec<f32>,
    /// And where they would be served next.
    pub next: Vec<f32>,
    /// By whom they are served: a position among the groups, or none.
    pub by: Vec<u32>,
    next_by: Vec<u32>,
    is_open: Vec<bool>,
    /// Groups without room, which it may keep but not enter.
    pub blocked: Vec<bool>,
    savings: Vec<f32>,
    trial: Vec<f32>,
    heap: BinaryHeap<Gain>,
}

/// What opening a group gained when it was weighed.
struct Gain(f32, u32);

impl Ord for Gain {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0).then(other.1.cmp(&self.1))
    }
}

impl PartialOrd for Gain {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Gain {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Gain {}

impl Facility {
    /// Chooses groups, starting from those that are in `open`.
    pub fn search(&mut self, problem: &Problem<'_>, instance: &Instance) {
        self.start(problem, instance);
        for _ in 0..ROUNDS_MAX {
            let added = self.add(problem, instance);
            let dropped = self.drop(problem, instance);
            let few = self.open.len() <= SWAPPED_MAX;
            let swapped = few && !added && !dropped && self.swap(problem, instance);
            if !added && !dropped && !swapped {
                break;
            }
        }
    }

    /// Weighs everything, given the groups that are open.
    pub fn start(&mut self, problem: &Problem<'_>, instance: &Instance) {
        self.open.retain(|&at| instance.open[at as usize] < NEVER);
        self.is_open.clear();
        self.is_open.resize(instance.open.len(), false);
        self.open.iter().for_each(|&at| self.is_open[at as usize] = true);
        self.blocked.resize(instance.open.len(), false);
        self.assign(problem, instance);
        self.savings.clear();
        self.savings.resize(instance.open.len(), 0.0);
        for (point, &weight) in instance.weights.iter().enumerate() {
            let row = instance.row(problem, point);
            shift_savings(&mut self.savings, row, weight, (-NEVER, self.cost[point]), |_| ());
        }
    }

    /// Opens groups while one saves more than it costs, or the minimum asks for more.
    ///
    /// Savings only shrink here, so the one that was largest when it was put on the heap, and still is what it was, leads.
    fn add(&mut self, problem: &Problem<'_>, instance: &Instance) -> bool {
        let mut added = false;
        while self.open.len() < instance.replicas_min.min(instance.replicas_max) {
            let Some((gain, at)) = self.best(instance) else { break };
            if -gain > instance.missing(self.open.len()) {
                break;
            }
            self.open(problem, instance, at);
            added = true;
        }
        let mut heap = std::mem::take(&mut self.heap);
        let gains = self.savings.iter().zip(&instance.open).map(|(saving, open)| saving - open);
        let closed = gains.zip(0..).filter(|&(gain, at)| gain > 0.0 && self.may_open(at));
        heap.extend(closed.map(|(gain, at)| Gain(gain, at)));
        while let Some(Gain(gain, at)) = heap.pop() {
            let now = self.savings[at as usize] - instance.open[at as usize];
            if now <= GAIN_MIN * instance.open[at as usize] || self.open.len() >= instance.replicas_max {
                continue;
            }
            if now < gain && heap.peek().is_some_and(|next| next.0 > now) {
                heap.push(Gain(now, at));
                continue;
            }
            self.open(problem, instance, at);
            added = true;
        }
        self.heap = heap;
        added
    }

    fn may_open(&self, at: u32) -> bool {
        !self.is_open[at as usize] && !self.blocked[at as usize]
    }

    /// The group that gains most when opened, and how much.
    fn best(&self, instance: &Instance) -> Option<(f32, u32)> {
        let mut best: Option<(f32, u32)> = None;
        for (at, (saving, open)) in self.savings.iter().zip(&instance.open).enumerate() {
            let gain = saving - open;
            if *open < NEVER && best.is_none_or(|(most, _)| gain > most) && self.may_open(at as u32) {
                best = Some((gain, at as u32));
            }
        }
        best
    }

    /// Closes groups that save less than they cost.
    fn drop(&mut self, problem: &Problem<'_>, instance: &Instance) -> bool {
        let mut dropped = false;
        while !self.open.is_empty() {
            let missing = instance.missing(self.open.len() - 1);
            if missing >= NEVER {
                break;
            }
            let losses = self.losses(instance);
            let gain = |&at: &u32| instance.open[at as usize] - losses[at as usize] - missing;
            let worst = self.open.iter().copied().max_by(|a, b| gain(a).total_cmp(&gain(b)));
            let Some(at) = worst.filter(|at| gain(at) > GAIN_MIN * instance.open[*at as usize]) else { break };
            self.close(problem, instance, at);
            dropped = true;
        }
        dropped
    }

    /// What opening each group would save now.
    pub fn savings(&self) -> &[f32] {
        &self.savings
    }

    /// What closing each open group would cost in waiting, by position among the groups.
    pub fn losses(&self, instance: &Instance) -> Vec<f32> {
        let mut losses = vec![0.0; instance.open.len()];
        for (point, weight) in instance.weights.iter().enumerate() {
            if let Some(loss) = losses.get_mut(self.by[point] as usize) {
                *loss += weight * (self.next[point] - self.cost[point]);
            }
        }
        losses
    }

    /// Replaces each group by the one that serves better in its stead, where there is one.
    fn swap(&mut self, problem: &Problem<'_>, instance: &Instance) -> bool {
        let mut swapped = false;
        for closed in self.open.clone() {
            let mut loss = 0.0;
            self.trial.clone_from(&self.savings);
            for point in (0..instance.weights.len()).filter(|&point| self.by[point] == closed) {
                let weight = instance.weights[point];
                loss += weight * (self.next[point] - self.cost[point]);
                let row = instance.row(problem, point);
                shift_savings(&mut self.trial, row, weight, (self.cost[point], self.next[point]), |_| ());
            }
            std::mem::swap(&mut self.savings, &mut self.trial);
            let best = self.best(instance);
            std::mem::swap(&mut self.savings, &mut self.trial);
            let Some((gain, other)) = best else { continue };
            let stay = instance.open[closed as usize] - loss;
            if gain + stay > GAIN_MIN * (instance.open[closed as usize] + loss) {
                self.close(problem, instance, closed);
                self.open(problem, instance, other);
                swapped = true;
            }
        }
        swapped
    }

    /// Opens a group.
    fn open(&mut self, problem: &Problem<'_>, instance: &Instance, at: u32) {
        self.open.push(at);
        self.is_open[at as usize] = true;
        let column = problem.network_to(instance.groups.start as u32 + at);
        for point in 0..instance.weights.len() {
            let cost = column[instance.places[point] as usize] as f32 + instance.add[at as usize];
            let before = self.cost[point];
            if cost < before {
                let row = instance.row(problem, point);
                shift_savings(&mut self.savings, row, instance.weights[point], (before, cost), |_| ());
                (self.next[point], self.next_by[point]) = (before, self.by[point]);
                (self.cost[point], self.by[point]) = (cost, at);
            } else if cost < self.next[point] {
                (self.next[point], self.next_by[point]) = (cost, at);
            }
        }
    }

    /// Closes a group, and finds those it served another one.
    fn close(&mut self, problem: &Problem<'_>, instance: &Instance, at: u32) {
        self.open.retain(|&open| open != at);
        self.is_open[at as usize] = false;
        for point in 0..instance.weights.len() {
            if self.by[point] != at && self.next_by[point] != at {
                continue;
            }
            let before = self.cost[point];
            self.assign_point(problem, instance, point);
            let after = self.cost[point];
            if after != before {
                let row = instance.row(problem, point);
                shift_savings(&mut self.savings, row, instance.weights[point], (before, after), |_| ());
            }
        }
    }

    /// Finds for each place the best and the second best of the open groups.
    pub fn assign(&mut self, problem: &Problem<'_>, instance: &Instance) {
        let points = instance.weights.len();
        self.cost.resize(points, 0.0);
        self.next.resize(points, 0.0);
        self.by.resize(points, 0);
        self.next_by.resize(points, 0);
        (0..points).for_each(|point| self.assign_point(problem, instance, point));
    }

    fn assign_point(&mut self, problem: &Problem<'_>, instance: &Instance, point: usize) {
        let network = instance.row(problem, point).network.as_flattened();
        let nobody = (instance.fallback, u32::MAX);
        let (mut best, mut next) = (nobody, nobody);
        for &at in &self.open {
            let cost = network[at as usize] + instance.add[at as usize];
            if cost < best.0 {
                (next, best) = (best, (cost, at));
            } else if cost < next.0 {
                next = (cost, at);
            }
        }
        (self.cost[point], self.by[point]) = best;
        (self.next[point], self.next_by[point]) = next;
    }
}
