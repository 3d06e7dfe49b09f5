//! Local search: each model looks for better groups among those with room, and keeps what turns out to cost less.
//!
//! The search (`facility.rs`) takes time on devices for granted; what it finds is tried on the real draft, with the
//! time that is left there, and taken back if it does not cost less.

use crate::draft::{Draft, NOBODY, Placed};
use crate::dual::Dual;
use crate::facility::Facility;
use crate::finish::shortfall;
use crate::greedy::price;
use crate::instance::{Instance, NEVER};
use crate::plan::Shortfall;
use crate::prices::Prices;
use crate::routing;

/// What a model has to gain for its replicas to be moved, as a share of its cost.
const GAIN_MIN: f64 = 1e-5;

/// In a plan that goes on, a replica is given up when it saves less than this share of its price.
const TRIMMED_BELOW: f32 = 0.5;

/// Replicas that are busier than this, as a share of what they may be, count as full.
const FULL_SHARE: f64 = 0.8;

/// The tables of the search, kept over models.
#[derive(Default)]
pub(crate) struct Improver {
    pub instance: Instance,
    pub facility: Facility,
}

impl Improver {
    /// Tries to improve each of these models once. Those it improved come back.
    pub fn improve(&mut self, draft: &mut Draft<'_>, models: &[u32], prices: &Prices) -> Vec<u32> {
        models.iter().copied().filter(|&model| self.improve_one(draft, model as usize, prices)).collect()
    }

    /// Gives up replicas of these models that save far less than they cost. Others stay: moving has a price of its own.
    pub fn trim(&mut self, draft: &mut Draft<'_>, models: &[u32], prices: &Prices) {
        for &model in models {
            let model = model as usize;
            draft.release_idle(model);
            let Self { instance, facility } = self;
            instance.fill(draft.problem, model, prices, &draft.present);
            open(facility, instance, draft, model);
            facility.start(draft.problem, instance);
            let losses = facility.losses(instance);
            let first = instance.groups.start as u32;
            for device in draft.models[model].devices.clone() {
                let at = (draft.problem.devices[device as usize].group - first) as usize;
                if losses[at] >= TRIMMED_BELOW * instance.open[at] {
                    continue;
                }
                let before = draft.models[model].clone();
                let cost = cost(draft, model);
                draft.dismiss(model);
                draft.release(model, device);
                routing::route_alone(draft, model);
                if !draft.suffices(model) || self::cost(draft, model) >= cost {
                    restore(draft, model, before);
                }
            }
        }
    }

    fn improve_one(&mut self, draft: &mut Draft<'_>, model: usize, prices: &Prices) -> bool {
        let wanted = self.search(draft, model, prices);
        let problem = draft.problem;
        let first = self.instance.groups.start as u32;
        let group = |device: u32| problem.devices[device as usize].group;
        let before = draft.models[model].clone();
        let closed: Vec<u32> =
            before.devices.iter().copied().filter(|&d| !wanted.contains(&(group(d) - first))).collect();
        let held: Vec<u32> = before.devices.iter().map(|&device| group(device) - first).collect();
        let opened: Vec<u32> = wanted.into_iter().filter(|at| !held.contains(at)).collect();
        if closed.is_empty() && opened.is_empty() {
            return false;
        }
        let cost = |draft: &Draft<'_>| self::cost(draft, model) + prices.paid(draft, model);
        let (domains, cost_before) = (draft.domains(model).len(), cost(draft));
        draft.dismiss(model);
        closed.iter().for_each(|&device| draft.release(model, device));
        for at in opened {
            if let Some(device) = draft.pick(model, first + at, |_| true) {
                draft.hold(model, device);
            }
        }
        routing::route_alone(draft, model);
        let enough = draft.domains(model).len() >= domains.min(problem.models[model].domains_min as usize)
            && draft.models[model].devices.len()
                >= before.devices.len().min(problem.models[model].replicas_min as usize);
        if enough && cost(draft) < cost_before * (1.0 - GAIN_MIN) {
            return true;
        }
        restore(draft, model, before);
        false
    }

    /// A value that no placement of a model is below at these prices, whatever room other models leave it.
    pub fn bound(&mut self, draft: &Draft<'_>, model: usize, prices: &Prices, dual: &mut Dual) -> f64 {
        let problem = draft.problem;
        let Self { instance, facility } = self;
        instance.fill(problem, model, prices, &draft.present);
        let lacking = unavoidable(draft, model);
        instance.replicas_min = instance.replicas_min.saturating_sub(lacking.replicas as usize);
        instance.domains_min = instance.domains_min.saturating_sub(lacking.domains as usize);
        let shortfall = problem.options().shortfall_price;
        instance.shortfall = shortfall as f32;
        open(facility, instance, draft, model);
        facility.search(problem, instance);
        let mut bound = dual.bound(problem, instance, facility, model);
        if Self::spread(instance, facility, draft, model) {
            facility.blocked.clear();
            facility.search(problem, instance);
            bound = bound.max(dual.bound(problem, instance, facility, model));
        }
        bound + f64::from(lacking.replicas + lacking.domains) * shortfall
    }

    /// Lets requests pay for replicas by the time they take, where there are so many that they fill replicas. Whether there
    /// are such groups.
    fn spread(instance: &mut Instance, facility: &Facility, draft: &Draft<'_>, model: usize) -> bool {
        let (problem, table) = (draft.problem, &draft.problem.models[model]);
        let capacity_us = problem.capacity_us();
        let mut loads = vec![0.0; instance.open.len()];
        let first = instance.groups.start;
        let busy_us = |at: usize| problem.run(table, (first + at) as u32).map_or(0.0, |run| run.busy_us);
        for (demand, &by) in table.demand.iter().zip(&facility.by) {
            if let Some(load) = loads.get_mut(by as usize) {
                *load += demand.requests_per_s * busy_us(by as usize) / capacity_us;
            }
        }
        let mut full: Vec<usize> = (0..loads.len()).filter(|&at| loads[at] > 1.0).collect();
        // Where the plan fills them, they are needed, whatever the model would choose if there were no others.
        loads.fill(0.0);
        for flow in draft.models[model].flows.iter().filter(|flow| flow.device != NOBODY) {
            let at = problem.devices[flow.device as usize].group as usize - first;
            loads[at] += flow.requests_per_s * busy_us(at) / capacity_us;
        }
        for group in groups(draft, model) {
            loads[group as usize - first] -= FULL_SHARE;
        }
        full.extend((0..loads.len()).filter(|&at| loads[at] > 0.0));
        full.sort_unstable();
        full.dedup();
        for &at in &full {
            instance.spread(at, busy_us(at) / capacity_us / table.spec.value);
        }
        !full.is_empty()
    }

    /// The groups that a model would choose, by position in the instance.
    fn search(&mut self, draft: &Draft<'_>, model: usize, prices: &Prices) -> Vec<u32> {
        let problem = draft.problem;
        let Self { instance, facility } = self;
        instance.fill(problem, model, prices, &draft.present);
        let first = instance.groups.start as u32;
        open(facility, instance, draft, model);
        let blocked =
            |at: u32| instance.open[at as usize] >= NEVER || draft.pick(model, first + at, |_| true).is_none();
        facility.blocked.extend((0..instance.open.len() as u32).map(blocked));
        facility.search(problem, instance);
        facility.open.clone()
    }
}

/// What no plan could give a model of its minimum, for too few devices could ever hold it.
fn unavoidable(draft: &Draft<'_>, model: usize) -> Shortfall {
    if draft.suffices(model) {
        return Shortfall::default();
    }
    let problem = draft.problem;
    let table = &problem.models[model];
    let (mut devices, mut domains) = (0u32, Vec::new());
    for (at, device) in (0..).zip(&problem.devices) {
        let fits = problem.run(table, device.group).is_some_and(|run| run.bytes <= device.memory_bytes);
        let open = problem.admits(model, at, draft.present.get(model, at as usize));
        if fits && open {
            devices += 1;
            domains.push(device.domain);
        }
    }
    domains.sort_unstable();
    domains.dedup();
    Shortfall {
        replicas: table.replicas_min.saturating_sub(devices),
        domains: table.domains_min.saturating_sub(domains.len() as u32),
    }
}

/// Opens the groups that a model is in; none is blocked.
fn open(facility: &mut Facility, instance: &Instance, draft: &Draft<'_>, model: usize) {
    facility.open.clear();
    facility.open.extend(groups(draft, model).map(|group| group - instance.groups.start as u32));
    facility.open.sort_unstable();
    facility.open.dedup();
    facility.blocked.clear();
}

/// The groups that a model's replicas are in, some perhaps more than once.
fn groups(draft: &Draft<'_>, model: usize) -> impl Iterator<Item = u32> {
    draft.models[model].devices.iter().map(|&device| draft.problem.devices[device as usize].group)
}

/// What a model adds to the objective as it is placed and served, its minimum apart.
pub(crate) fn cost(draft: &Draft<'_>, model: usize) -> f64 {
    let Placed { devices, flows, .. } = &draft.models[model];
    let waiting: f64 = flows.iter().map(|flow| flow.cost * flow.requests_per_s).sum();
    waiting + devices.iter().filter_map(|&device| price(draft, model, device)).sum::<f64>()
}

/// What a model adds to the objective with all that its minimum lacks.
pub(crate) fn whole_cost(draft: &Draft<'_>, model: usize) -> f64 {
    let missing = shortfall(draft, model);
    cost(draft, model) + f64::from(missing.replicas + missing.domains) * draft.problem.options().shortfall_price
}

/// Takes a model off all its devices, and leaves its demand to nobody.
pub(crate) fn clear(draft: &mut Draft<'_>, model: usize) {
    draft.dismiss(model);
    for device in draft.models[model].devices.clone() {
        draft.release(model, device);
    }
    draft.unserve(model);
}

/// Puts a model back to where it was.
pub(crate) fn restore(draft: &mut Draft<'_>, model: usize, before: Placed) {
    draft.dismiss(model);
    for device in draft.models[model].devices.clone() {
        if !before.devices.contains(&device) {
            draft.release(model, device);
        }
    }
    for &device in &before.devices {
        draft.hold(model, device);
    }
    for flow in before.flows.iter().filter(|flow| flow.device != NOBODY) {
        if let Some(busy_us) = draft.busy_us(model, flow.device) {
            draft.free_us[flow.device as usize] -= flow.requests_per_s * busy_us;
        }
    }
    draft.models[model] = before;
}
