//! A placement in the making: what is where, what is free, and who is served by whom.
//!
//! Every phase changes a [`Draft`] through these few operations, which keep the constraints: what they are asked for
//! and cannot do within memory, capacity, budget and state of a PoP, they do not do.

use crate::bits::Bits;
use crate::problem::{Point, Problem, Run};

/// The device of requests that nobody answers.
pub(crate) const NOBODY: u32 = u32::MAX;
/// Failure domains that are counted by looking for each among those before.
const FEW: u32 = 8;
/// Requests per second below which a rest is rounding, not demand.
pub(crate) const RATE_EPSILON: f64 = 1e-9;

/// The state of all phases.
pub(crate) struct Draft<'p> {
    pub problem: &'p Problem<'p>,
    pub free_bytes: Vec<u64>,
    /// Microseconds in each second.
    pub free_us: Vec<f64>,
    pub models: Vec<Placed>,
    /// What is loaded or was planned before, `model x device`.
    pub present: Bits,
    held: Bits,
    loads_left: u64,
    load_bytes_left: u64,
    wanted: Vec<Wanted>,
}

/// One model's replicas and flows.
#[derive(Clone, Default)]
pub(crate) struct Placed {
    pub devices: Vec<u32>,
    /// Together they carry all demand of each point; the point is a position in the model's demand.
    pub flows: Vec<Flow>,
    /// Whether anything is not as it was in the plan before.
    pub touched: bool,
}

impl Placed {
    /// Whether all its requests are answered by somebody.
    pub fn is_served(&self) -> bool {
        self.flows.iter().all(|flow| flow.device != NOBODY)
    }
}

/// Requests of one point that one device answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Flow {
    pub point: u32,
    pub device: u32,
    pub requests_per_s: f64,
    /// What one request costs there.
    pub cost: f64,
}

/// Requests that another device answers now, and what one of them cost before and costs after.
pub(crate) struct Move {
    pub point: u32,
    pub requests_per_s: f64,
    pub from: f64,
    pub to: f64,
}

impl<'p> Draft<'p> {
    /// Nothing is placed, and there are no flows yet: they come from a plan before, from routing, or are left to nobody.
    pub fn new(problem: &'p Problem<'p>, present: Bits) -> Self {
        let capacity_us = problem.capacity_us();
        Self {
            problem,
            free_bytes: problem.devices.iter().map(|device| device.memory_bytes).collect(),
            free_us: vec![capacity_us; problem.devices.len()],
            models: vec![Placed::default(); problem.models.len()],
            present,
            held: Bits::new(problem.models.len(), problem.devices.len()),
            loads_left: problem.input.churn.loads_max.unwrap_or(u64::MAX),
            load_bytes_left: problem.input.churn.load_bytes_max.unwrap_or(u64::MAX),
            wanted: Vec::new(),
        }
    }

    /// Whether a device holds a model.
    pub fn holds(&self, model: usize, device: u32) -> bool {
        self.held.get(model, device as usize)
    }

    /// Whether a model may be put on a device now.
    pub fn may_hold(&self, model: usize, device: u32, run: Run) -> bool {
        // What most often fails comes first.
        if self.free_bytes[device as usize] < run.bytes || self.holds(model, device) {
            return false;
        }
        let present = self.present.get(model, device as usize);
        let affordable = present || (self.loads_left > 0 && self.load_bytes_left >= run.bytes);
        affordable && self.problem.admits(model, device, present)
    }

    /// Whether the budget for loads is what keeps a model from being loaded anywhere new.
    pub fn budget_is_spent(&self, bytes: u64) -> bool {
        self.loads_left == 0 || self.load_bytes_left < bytes
    }

    /// The device of a group that suits a new replica best: one that has it already, then the least busy, then the one it
    /// fills best.
    pub fn pick(&self, model: usize, group: u32, suits: impl Fn(u32) -> bool) -> Option<u32> {
        let run = self.problem.run(&self.problem.models[model], group)?;
        let devices = &self.problem.groups[group as usize].devices;
        let open = devices.iter().copied().filter(|&device| self.may_hold(model, device, run) && suits(device));
        open.max_by(|&a, &b| {
            let rank = |device: u32| (self.present.get(model, device as usize), self.free_us[device as usize]);
            let ((has_a, free_a), (has_b, free_b)) = (rank(a), rank(b));
            let fill = |device: u32| std::cmp::Reverse(self.free_bytes[device as usize]);
            has_a.cmp(&has_b).then(free_a.total_cmp(&free_b)).then(fill(a).cmp(&fill(b))).then(b.cmp(&a))
        })
    }

    /// What a replica on this device would save in waiting, given what is free on it. What it found is used by
    /// [`Draft::attract`], if that is called next.
    pub fn saving(&mut self, model: usize, device: u32) -> f64 {
        let problem = self.problem;
        let (table, group) = (&problem.models[model], problem.devices[device as usize].group);
        self.wanted.clear();
        let Some(run) = problem.run(table, group) else { return 0.0 };
        let (column, value, compute) =
            (problem.network_to(group), table.spec.value, table.compute_cost[group as usize]);
        let (mut rate, mut total) = (0.0, 0.0);
        for (flow, index) in self.models[model].flows.iter().zip(0..) {
            let cost = value * column[table.demand[flow.point as usize].place as usize] + compute;
            let gain = flow.cost - cost;
            if gain > 0.0 {
                self.wanted.push(Wanted { gain, index, requests_per_s: flow.requests_per_s });
                rate += flow.requests_per_s;
                total += gain * flow.requests_per_s;
            }
        }
        if rate * run.busy_us <= self.free_us[device as usize] {
            return total;
        }
        self.wanted.sort_unstable_by(|a, b| b.gain.total_cmp(&a.gain).then(a.index.cmp(&b.index)));
        let mut left = self.free_us[device as usize].max(0.0) / run.busy_us;
        total = 0.0;
        self.wanted.retain_mut(|wanted| {
            wanted.requests_per_s = wanted.requests_per_s.min(left);
            left -= wanted.requests_per_s;
            total += wanted.gain * wanted.requests_per_s;
            wanted.requests_per_s > RATE_EPSILON
        });
        total
    }

    /// Puts a model on a device. False if it may not be there.
    pub fn hold(&mut self, model: usize, device: u32) -> bool {
        let group = self.problem.devices[device as usize].group;
        let Some(run) = self.problem.run(&self.problem.models[model], group) else { return false };
        if !self.may_hold(model, device, run) {
            return false;
        }
        if !self.present.get(model, device as usize) {
            self.loads_left = self.loads_left.saturating_sub(1);
            self.load_bytes_left = self.load_bytes_left.saturating_sub(run.bytes);
        }
        self.free_bytes[device as usize] -= run.bytes;
        self.held.set(model, device as usize, true);
        self.models[model].devices.push(device);
        true
    }

    /// Takes a model off a device that nobody is served by.
    pub fn release(&mut self, model: usize, device: u32) {
        let group = self.problem.devices[device as usize].group;
        let Some(run) = self.problem.run(&self.problem.models[model], group) else { return };
        if !self.holds(model, device) {
            return;
        }
        if !self.present.get(model, device as usize) {
            self.loads_left = self.loads_left.saturating_add(1);
            self.load_bytes_left = self.load_bytes_left.saturating_add(run.bytes);
        }
        self.models[model].touched = true;
        self.free_bytes[device as usize] += run.bytes;
        self.held.set(model, device as usize, false);
        self.models[model].devices.retain(|&held| held != device);
    }

    /// Moves to a device that holds a model the flows that gain by it, as [`Draft::saving`] just found them.
    pub fn attract(&mut self, model: usize, device: u32, moves: &mut Vec<Move>) {
        self.models[model].touched = true;
        let group = self.problem.devices[device as usize].group;
        let Some(run) = self.problem.run(&self.problem.models[model], group) else { return };
        for Wanted { gain, index, requests_per_s } in std::mem::take(&mut self.wanted) {
            let flow = self.models[model].flows[index as usize];
            self.free(model, flow.device, requests_per_s);
            self.free_us[device as usize] -= requests_per_s * run.busy_us;
            let moved = Flow { device, requests_per_s, cost: flow.cost - gain, ..flow };
            moves.push(Move { requests_per_s, point: flow.point, from: flow.cost, to: moved.cost });
            let rest = flow.requests_per_s - requests_per_s;
            if rest > RATE_EPSILON {
                self.models[model].flows[index as usize].requests_per_s = rest;
                self.models[model].flows.push(moved);
            } else {
                self.models[model].flows[index as usize] = moved;
            }
        }
    }

    /// Serves as much of a new flow as its device has time for. How much that was comes back.
    pub fn serve(&mut self, model: usize, flow: Flow, busy_us: f64) -> f64 {
        self.models[model].touched = true;
        let free_us = &mut self.free_us[flow.device as usize];
        let all = flow.requests_per_s * busy_us <= *free_us;
        let served = if all { flow.requests_per_s } else { *free_us / busy_us };
        *free_us = if all { *free_us - served * busy_us } else { 0.0 };
        self.models[model].flows.push(Flow { requests_per_s: served, ..flow });
        served
    }

    /// Moves as much of a flow to another device as that has time for. How much that was comes back.
    pub fn redirect(&mut self, model: usize, flow: Flow, (device, cost): (u32, f64), busy_us: f64) -> f64 {
        let flows = self.models[model].flows.len();
        let already = self.flow_at(model, flow.point, device);
        let moved = self.serve(model, Flow { device, cost, ..flow }, busy_us);
        if let Some(already) = already {
            self.models[model].flows.truncate(flows);
            self.models[model].flows[already].requests_per_s += moved;
        }
        self.shrink(model, flow.point, flow.device, moved);
        self.free(model, flow.device, moved);
        moved
    }

    /// Notes that nobody answers so many requests of a point.
    pub fn serve_nobody(&mut self, model: usize, point: u32, requests_per_s: f64) {
        let cost = self.problem.fallback_cost(&self.problem.models[model]);
        self.models[model].flows.push(Flow { point, device: NOBODY, requests_per_s, cost });
    }

    /// Whether a model has what its minimum asks for.
    pub fn suffices(&self, model: usize) -> bool {
        let table = &self.problem.models[model];
        self.models[model].devices.len() as u32 >= table.replicas_min
            && self.domains_up_to(model, table.domains_min) == table.domains_min
    }

    /// Leaves all demand of a model that has no flows to nobody.
    pub fn unserve(&mut self, model: usize) {
        let table = &self.problem.models[model];
        let cost = self.problem.fallback_cost(table);
        let flow = |(point, demand): (u32, &Point)| {
            let requests_per_s = demand.requests_per_s;
            Flow { point, device: NOBODY, requests_per_s, cost }
        };
        self.models[model].flows = (0..).zip(&table.demand).map(flow).collect();
    }

    /// Gives up replicas that serve nobody and that no minimum asks for.
    pub fn release_idle(&mut self, model: usize) {
        let mut busy: Vec<u32> = self.models[model].flows.iter().map(|flow| flow.device).collect();
        busy.sort_unstable();
        let idle = |device: &u32| busy.binary_search(device).is_err();
        for device in self.models[model].devices.clone().into_iter().rev().filter(idle) {
            if self.models[model].devices.len() as u32 <= self.problem.models[model].replicas_min {
                return;
            }
            self.release(model, device);
            if !self.suffices(model) {
                self.hold(model, device);
            }
        }
    }

    /// Takes away all flows of a model.
    pub fn dismiss(&mut self, model: usize) {
        self.models[model].touched = true;
        for flow in std::mem::take(&mut self.models[model].flows) {
            self.free(model, flow.device, flow.requests_per_s);
        }
    }

    /// Takes requests from a flow, and the flow away with its last.
    fn shrink(&mut self, model: usize, point: u32, device: u32, requests_per_s: f64) {
        let Some(at) = self.flow_at(model, point, device) else { return };
        let flows = &mut self.models[model].flows;
        flows[at].requests_per_s -= requests_per_s;
        if flows[at].requests_per_s <= RATE_EPSILON {
            flows.swap_remove(at);
        }
    }

    /// Where a model's flow from a point to a device is.
    pub fn flow_at(&self, model: usize, point: u32, device: u32) -> Option<usize> {
        self.models[model].flows.iter().position(|flow| (flow.point, flow.device) == (point, device))
    }

    /// What a request of a point costs on each device that holds the model.
    pub fn options(&self, model: usize, point: u32) -> impl Iterator<Item = (f64, u32)> {
        let (problem, table) = (self.problem, &self.problem.models[model]);
        let row = problem.network_from(table.demand[point as usize].place);
        let cost = move |device: u32| {
            let group = problem.devices[device as usize].group as usize;
            table.spec.value * row[group] + table.compute_cost[group]
        };
        self.models[model].devices.iter().map(move |&device| (cost(device), device))
    }

    /// How long a request of a model takes of a device.
    pub fn busy_us(&self, model: usize, device: u32) -> Option<f64> {
        let group = self.problem.devices[device as usize].group;
        self.problem.run(&self.problem.models[model], group).map(|run| run.busy_us)
    }

    /// Gives back the capacity that requests took.
    pub fn free(&mut self, model: usize, device: u32, requests_per_s: f64) {
        if device == NOBODY {
            return;
        }
        if let Some(busy_us) = self.busy_us(model, device) {
            self.free_us[device as usize] += requests_per_s * busy_us;
        }
    }

    /// What loading a model on a device costs.
    pub fn load_price(&self, model: usize, device: u32) -> f64 {
        let group = self.problem.devices[device as usize].group;
        let run = self.problem.run(&self.problem.models[model], group);
        run.map_or(0.0, |run| self.problem.loading_cost(run.bytes))
    }

    /// Devices that hold a model and did not, with `true`, and that held it and do not.
    pub fn differences(&self, model: usize) -> impl Iterator<Item = (u32, bool)> {
        self.held.differences(&self.present, model).map(|(device, held)| (device as u32, held))
    }

    /// How many failure domains a model is in, counted no further than this: most models are in far more than they must.
    pub fn domains_up_to(&self, model: usize, enough: u32) -> u32 {
        if enough > FEW {
            return enough.min(self.domains(model).len() as u32);
        }
        let mut seen = [u32::MAX; FEW as usize];
        let mut count = 0;
        for &device in &self.models[model].devices {
            if count == enough {
                break;
            }
            let domain = self.problem.devices[device as usize].domain;
            if !seen[..count as usize].contains(&domain) {
                seen[count as usize] = domain;
                count += 1;
            }
        }
        count
    }

    /// Failure domains that a model is in.
    pub fn domains(&self, model: usize) -> Vec<u32> {
        let domain = |&device: &u32| self.problem.devices[device as usize].domain;
        let mut domains: Vec<u32> = self.models[model].devices.iter().map(domain).collect();
        domains.sort_unstable();
        domains.dedup();
        domains
    }
}

/// A flow that would rather be served by a device that is being weighed.
struct Wanted {
    gain: f64,
    index: u32,
    requests_per_s: f64,
}
