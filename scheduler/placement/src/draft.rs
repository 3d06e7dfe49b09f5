//! A placement in the making: what is where, what is free, and who is served by whom.
//!
//! Every phase changes a [`Draft`] through these few operations, which keep the constraints: what they are asked for
//! and cannot do within memory, capacity, budget and state of a PoP, they do not do.

use crate::bits::Bits;
use crate::input::PopState;
use crate::problem::{Model, Point, Problem, Run};

/// The device of requests that nobody answers.
pub(crate) const NOBODY: u32 = u32::MAX;
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
    scratch: Vec<(f64, u32)>,
}

/// One model's replicas and flows.
#[derive(Clone, Default)]
pub(crate) struct Placed {
    pub devices: Vec<u32>,
    /// Together they carry all demand of each point; the point is a position in the model's demand.
    pub flows: Vec<Flow>,
}

/// Requests of one point that one device answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Flow {
    pub point: u32,
    pub device: u32,
    pub requests_per_s: f64,
}

/// All demand of a model, answered by nobody.
fn unserved(model: &Model<'_>) -> Vec<Flow> {
    let flow = |(point, demand): (u32, &Point)| Flow { point, device: NOBODY, requests_per_s: demand.requests_per_s };
    (0..).zip(&model.demand).map(flow).collect()
}

impl<'p> Draft<'p> {
    /// Nothing is placed, nobody is served.
    pub fn new(problem: &'p Problem<'p>, present: Bits) -> Self {
        let capacity_us = problem.capacity_us();
        Self {
            problem,
            free_bytes: problem.devices.iter().map(|device| device.memory_bytes).collect(),
            free_us: vec![capacity_us; problem.devices.len()],
            models: problem.models.iter().map(|model| Placed { devices: Vec::new(), flows: unserved(model) }).collect(),
            present,
            held: Bits::new(problem.models.len(), problem.devices.len()),
            loads_left: problem.input.churn.loads_max.unwrap_or(u64::MAX),
            load_bytes_left: problem.input.churn.load_bytes_max.unwrap_or(u64::MAX),
            scratch: Vec::new(),
        }
    }

    /// Whether a device holds a model.
    pub fn holds(&self, model: usize, device: u32) -> bool {
        self.held.get(model, device as usize)
    }

    /// Whether a model may be put on a device now.
    pub fn may_hold(&self, model: usize, device: u32, run: Run) -> bool {
        let present = self.present.get(model, device as usize);
        let state = self.problem.devices[device as usize].state;
        let open = state == PopState::Active || (state == PopState::Cordoned && present);
        let affordable = present || (self.loads_left > 0 && self.load_bytes_left >= run.bytes);
        open && affordable && self.free_bytes[device as usize] >= run.bytes && !self.holds(model, device)
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

    /// What a request of a point costs where it is served, or unserved.
    pub fn flow_cost(&self, model: usize, flow: &Flow) -> f64 {
        let table = &self.problem.models[model];
        if flow.device == NOBODY {
            return self.problem.fallback_cost(table);
        }
        let group = self.problem.devices[flow.device as usize].group;
        self.problem.request_cost(table, table.demand[flow.point as usize].place, group)
    }

    /// What a replica on this device would save in waiting, given what is free on it.
    pub fn saving(&mut self, model: usize, device: u32) -> f64 {
        let wanted = self.wanted(model, device);
        let rates = |index: u32| self.models[model].flows[index as usize].requests_per_s;
        match wanted {
            Wanted::All => self.scratch.iter().map(|&(gain, index)| gain * rates(index)).sum(),
            Wanted::UpTo(requests_per_s) => {
                let mut left = requests_per_s;
                let mut total = 0.0;
                for &(gain, index) in &self.scratch {
                    let taken = rates(index).min(left);
                    total += gain * taken;
                    left -= taken;
                    if left <= RATE_EPSILON {
                        break;
                    }
                }
                total
            }
        }
    }

    /// Collects the flows that would rather be served by this device, those that gain most first where not all fit.
    fn wanted(&mut self, model: usize, device: u32) -> Wanted {
        let problem = self.problem;
        let (table, group) = (&problem.models[model], problem.devices[device as usize].group);
        self.scratch.clear();
        let Some(run) = problem.run(table, group) else { return Wanted::All };
        let mut rate = 0.0;
        for (index, flow) in self.models[model].flows.iter().enumerate() {
            let place = table.demand[flow.point as usize].place;
            let gain = self.flow_cost(model, flow) - problem.request_cost(table, place, group);
            if gain > 0.0 {
                self.scratch.push((gain, index as u32));
                rate += flow.requests_per_s;
            }
        }
        if rate * run.busy_us <= self.free_us[device as usize] {
            return Wanted::All;
        }
        self.scratch.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        Wanted::UpTo(self.free_us[device as usize].max(0.0) / run.busy_us)
    }

    /// Puts a model on a device, and moves there the flows that gain by it. False if it may not be there.
    pub fn place(&mut self, model: usize, device: u32) -> bool {
        let problem = self.problem;
        let group = problem.devices[device as usize].group;
        let Some(run) = problem.run(&problem.models[model], group) else { return false };
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
        self.attract(model, device, run);
        true
    }

    /// Moves to a device the flows of a model that gain by it, as far as its capacity goes.
    fn attract(&mut self, model: usize, device: u32, run: Run) {
        let mut left = match self.wanted(model, device) {
            Wanted::All => f64::INFINITY,
            Wanted::UpTo(requests_per_s) => requests_per_s,
        };
        let wanted = std::mem::take(&mut self.scratch);
        for &(_, index) in &wanted {
            if left <= RATE_EPSILON {
                break;
            }
            let flow = self.models[model].flows[index as usize];
            let taken = flow.requests_per_s.min(left);
            left -= taken;
            self.free(model, flow.device, taken);
            self.free_us[device as usize] -= taken * run.busy_us;
            let moved = Flow { device, requests_per_s: taken, ..flow };
            let rest = flow.requests_per_s - taken;
            if rest > RATE_EPSILON {
                self.models[model].flows[index as usize].requests_per_s = rest;
                self.models[model].flows.push(moved);
            } else {
                self.models[model].flows[index as usize] = moved;
            }
        }
        self.scratch = wanted;
    }

    /// Gives back the capacity that requests took.
    pub fn free(&mut self, model: usize, device: u32, requests_per_s: f64) {
        if device == NOBODY {
            return;
        }
        let group = self.problem.devices[device as usize].group;
        if let Some(run) = self.problem.run(&self.problem.models[model], group) {
            self.free_us[device as usize] += requests_per_s * run.busy_us;
        }
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

enum Wanted {
    All,
    UpTo(f64),
}
