//! Who is served by whom, once it is settled what is where.
//!
//! First those who would lose most by going elsewhere choose, then those who were turned away look for a device where
//! somebody loses less by leaving than they gain by coming.

use crate::draft::{Draft, Flow, NOBODY, RATE_EPSILON};
use crate::problem::Problem;

mod exchange;

/// Microseconds of a second below which a device is full.
const FULL_US: f64 = 1e-3;

/// A place's requests for a model, and what each microsecond of the best device is worth to them.
struct Claim {
    worth: f64,
    model: u32,
    point: u32,
    /// The best of the model's choices, if there is one.
    best: Option<u32>,
}

/// A model's replicas in one group.
struct Choice {
    group: u32,
    busy_us: f64,
    devices: Vec<u32>,
}

/// Routes the demand for these models anew over what is held.
pub(crate) fn route(draft: &mut Draft<'_>, models: &[u32]) {
    let mut claims = Vec::new();
    let mut choices: Vec<Vec<Choice>> = Vec::new();
    choices.resize_with(draft.problem.models.len(), Vec::new);
    for &model in models {
        draft.dismiss(model as usize);
        choices[model as usize] = choices_of(draft, model as usize);
        claims_of(draft.problem, model, &choices[model as usize], &mut claims);
    }
    let refused = assign(draft, claims, |model| &choices[model as usize]);
    exchange::exchange(draft, refused);
}

/// Routes the demand for one model anew, others staying where they are.
pub(crate) fn route_alone(draft: &mut Draft<'_>, model: usize) {
    draft.dismiss(model);
    let choices = choices_of(draft, model);
    let mut claims = Vec::new();
    claims_of(draft.problem, model as u32, &choices, &mut claims);
    assign(draft, claims, |_| &choices);
}

/// Lets requests for these models that nobody answers be answered by replicas that have time left; with `displacing`, in the
/// place of those who lose less by leaving. All others stay.
pub(crate) fn serve_unserved(draft: &mut Draft<'_>, models: &[u32], displacing: bool) {
    let mut unserved = Vec::new();
    for &model in models {
        let flows = draft.models[model as usize].flows.iter().filter(|flow| flow.device == NOBODY);
        unserved.extend(flows.map(|flow| (model, flow.point)));
    }
    match displacing {
        true => exchange::exchange(draft, unserved),
        false => exchange::settle(draft, &unserved),
    }
}

/// Serves all claims, those first that would lose most. Who did not get the best comes back, as models and points.
fn assign<'c>(draft: &mut Draft<'_>, mut claims: Vec<Claim>, choices: impl Fn(u32) -> &'c [Choice]) -> Vec<(u32, u32)> {
    claims.sort_unstable_by(|a, b| b.worth.total_cmp(&a.worth).then(a.model.cmp(&b.model)).then(a.point.cmp(&b.point)));
    claims.retain(|claim| !serve(draft, choices(claim.model), claim));
    claims.into_iter().map(|claim| (claim.model, claim.point)).collect()
}

fn choices_of(draft: &Draft<'_>, model: usize) -> Vec<Choice> {
    let problem = draft.problem;
    let group = |device: u32| problem.devices[device as usize].group;
    let mut devices = draft.models[model].devices.clone();
    devices.sort_unstable_by_key(|&device| (group(device), device));
    let runs = devices.chunk_by(|&a, &b| group(a) == group(b));
    let choice = |run: &[u32]| {
        let busy_us = problem.run(&problem.models[model], group(run[0])).map_or(0.0, |run| run.busy_us);
        Choice { group: group(run[0]), busy_us, devices: run.to_vec() }
    };
    runs.map(choice).collect()
}

fn claims_of(problem: &Problem<'_>, model: u32, choices: &[Choice], claims: &mut Vec<Claim>) {
    let table = &problem.models[model as usize];
    let nobody = problem.fallback_cost(table);
    let mut points = vec![(nobody, nobody, None); table.demand.len()];
    for (at, choice) in (0..).zip(choices) {
        let (column, compute) = (problem.network_to(choice.group), table.compute_cost[choice.group as usize]);
        for ((best, next, by), demand) in points.iter_mut().zip(&table.demand) {
            let cost = table.spec.value * column[demand.place as usize] + compute;
            if cost < *best {
                (*next, *best, *by) = (*best, cost, Some(at));
            } else if cost < *next {
                *next = cost;
            }
        }
    }
    claims.extend((0..).zip(points).map(|(point, (best, next, by))| {
        let busy_us = by.map_or(1.0, |at: u32| choices[at as usize].busy_us.max(FULL_US));
        Claim { worth: (next - best) / busy_us, model, point, best: by }
    }));
}

/// Serves one claim by the cheapest replicas that have time left. Whether that is the best of all.
fn serve(draft: &mut Draft<'_>, choices: &[Choice], claim: &Claim) -> bool {
    let (problem, model, point) = (draft.problem, claim.model as usize, claim.point);
    let table = &problem.models[model];
    let demand = table.demand[point as usize];
    let fallback = problem.fallback_cost(table);
    let mut left = demand.requests_per_s;
    let mut full: Vec<u32> = Vec::new();
    let mut choice = claim.best.map(|at| &choices[at as usize]);
    while let Some(Choice { group, busy_us, devices }) = choice {
        let cost = problem.request_cost(table, demand.place, *group);
        while let Some(device) = least_busy(draft, devices) {
            left -= draft.serve(model, Flow { point, device, requests_per_s: left, cost }, *busy_us);
            if left <= RATE_EPSILON {
                return full.is_empty();
            }
        }
        full.push(*group);
        let mut best = fallback;
        choice = None;
        for other in choices.iter().filter(|other| !full.contains(&other.group)) {
            let cost = problem.request_cost(table, demand.place, other.group);
            if cost < best {
                (best, choice) = (cost, Some(other));
            }
        }
    }
    draft.serve_nobody(model, point, left);
    full.is_empty()
}

/// The device with most time left, if any has some.
fn least_busy(draft: &Draft<'_>, devices: &[u32]) -> Option<u32> {
    let free = |device: u32| draft.free_us[device as usize];
    let most = devices.iter().copied().max_by(|&a, &b| free(a).total_cmp(&free(b)).then(b.cmp(&a)));
    most.filter(|&device| free(device) > FULL_US)
}
