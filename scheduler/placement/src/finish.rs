//! A draft becomes a plan: devices get their names back, routes their order, replicas their reasons, and costs their sum.

use std::sync::Arc;

use crate::draft::{Draft, Flow, NOBODY, Placed, RATE_EPSILON};
use crate::ids::DeviceIndex;
use crate::plan::{Because, Cost, ModelPlan, Replica, Route, Share, Shortfall};

/// Candidates that a route names, those without a share included.
const CANDIDATES: usize = 3;

/// The plan of one model.
pub(crate) fn model_plan(draft: &Draft<'_>, model: usize) -> Arc<ModelPlan> {
    let problem = draft.problem;
    let table = &problem.models[model];
    let Placed { mut devices, flows } = draft.models[model].clone();
    devices.sort_unstable();
    let flows = merged(flows);
    let shortfall = shortfall(draft, model);
    let replicas = replicas(draft, model, &devices, &flows, shortfall);
    Arc::new(ModelPlan {
        model: table.spec.key.clone(),
        replicas,
        routes: routes(draft, model, &devices, &flows),
        shortfall,
        cost: cost(draft, model, &devices, &flows, shortfall),
    })
}

/// Flows by point and device, each pair once.
fn merged(mut flows: Vec<Flow>) -> Vec<Flow> {
    flows.sort_unstable_by_key(|flow| (flow.point, flow.device));
    flows.dedup_by(|next, kept| {
        let same = (next.point, next.device) == (kept.point, kept.device);
        if same {
            kept.requests_per_s += next.requests_per_s;
        }
        same
    });
    flows
}

/// What the minimum of a model still lacks.
pub(crate) fn shortfall(draft: &Draft<'_>, model: usize) -> Shortfall {
    let table = &draft.problem.models[model];
    let (replicas, domains) = (draft.models[model].devices.len() as u32, draft.domains(model).len() as u32);
    Shortfall {
        replicas: table.replicas_min.saturating_sub(replicas),
        domains: table.domains_min.saturating_sub(domains),
    }
}

/// What a model adds to the objective.
pub(crate) fn cost(draft: &Draft<'_>, model: usize, devices: &[u32], flows: &[Flow], shortfall: Shortfall) -> Cost {
    let problem = draft.problem;
    let table = &problem.models[model];
    let missing = f64::from(shortfall.replicas + shortfall.domains);
    let mut cost = Cost { shortfall: missing * problem.options().shortfall_price, ..Cost::default() };
    for flow in flows {
        if flow.device == NOBODY {
            cost.fallback += problem.fallback_cost(table) * flow.requests_per_s;
            continue;
        }
        let group = problem.devices[flow.device as usize].group as usize;
        let row = problem.network_row(table.demand[flow.point as usize].place);
        cost.network += table.spec.value * row[group] * flow.requests_per_s;
        cost.compute += table.compute_cost[group] * flow.requests_per_s;
    }
    for &device in devices {
        let group = problem.devices[device as usize].group;
        let bytes = problem.run(table, group).map_or(0, |run| run.bytes);
        cost.holding += problem.holding_cost(group, bytes);
        if !draft.present.get(model, device as usize) {
            cost.loading += problem.loading_cost(bytes);
        }
    }
    cost
}

fn routes(draft: &Draft<'_>, model: usize, devices: &[u32], flows: &[Flow]) -> Vec<Route> {
    let problem = draft.problem;
    let table = &problem.models[model];
    let groups: Vec<u32> = devices.iter().map(|&device| problem.devices[device as usize].group).collect();
    let mut routes = Vec::with_capacity(table.demand.len());
    let mut rest = flows;
    let mut near: Vec<(f64, u32)> = Vec::new();
    for (point, demand) in table.demand.iter().enumerate() {
        let here = rest.partition_point(|flow| flow.point as usize == point);
        let (flows, after) = rest.split_at(here);
        rest = after;
        let cost = |replica: u32| problem.request_cost(table, demand.place, groups[replica as usize]);
        let mut to: Vec<Share> = Vec::with_capacity(CANDIDATES);
        for flow in flows.iter().filter(|flow| flow.device != NOBODY) {
            let share = if flows.len() == 1 { 1.0 } else { flow.requests_per_s / demand.requests_per_s };
            let replica = devices.partition_point(|&device| device < flow.device) as u32;
            to.push(Share { replica, share: share.min(1.0) });
        }
        if to.len() < CANDIDATES {
            nearest(&mut near, devices.len(), cost, CANDIDATES);
            let shared = to.len();
            for &(_, replica) in near.iter() {
                if to.len() < CANDIDATES && !to[..shared].iter().any(|share| share.replica == replica) {
                    to.push(Share { replica, share: 0.0 });
                }
            }
        }
        to.sort_by(|a, b| {
            let idle = |share: &Share| share.share == 0.0;
            idle(a).cmp(&idle(b)).then(cost(a.replica).total_cmp(&cost(b.replica))).then(a.replica.cmp(&b.replica))
        });
        let place = problem.input.places[demand.place as usize].id.clone();
        routes.push(Route { place, requests_per_s: demand.requests_per_s, to });
    }
    routes
}

/// The cheapest replicas, cheapest first.
fn nearest(near: &mut Vec<(f64, u32)>, replicas: usize, cost: impl Fn(u32) -> f64, count: usize) {
    near.clear();
    for replica in 0..replicas as u32 {
        let cost = cost(replica);
        if near.len() == count && near[count - 1].0 <= cost {
            continue;
        }
        let at = near.partition_point(|&(other, _)| other <= cost);
        near.insert(at, (cost, replica));
        near.truncate(count);
    }
}

fn replicas(draft: &Draft<'_>, model: usize, devices: &[u32], flows: &[Flow], shortfall: Shortfall) -> Vec<Replica> {
    let problem = draft.problem;
    let table = &problem.models[model];
    let mut saves = vec![0.0; devices.len()];
    let mut rates = vec![0.0; devices.len()];
    let mut most = vec![(0.0, 0); devices.len()];
    let groups: Vec<u32> = devices.iter().map(|&device| problem.devices[device as usize].group).collect();
    let mut near = Vec::new();
    let mut near_point = u32::MAX;
    for flow in flows.iter().filter(|flow| flow.device != NOBODY) {
        let place = table.demand[flow.point as usize].place;
        if near_point != flow.point {
            near_point = flow.point;
            let cost = |replica: u32| problem.request_cost(table, place, groups[replica as usize]);
            nearest(&mut near, devices.len(), cost, 2);
        }
        let replica = devices.partition_point(|&device| device < flow.device);
        let next = near.iter().find(|&&(_, other)| other as usize != replica).map(|&(cost, _)| cost);
        let next = next.unwrap_or(f64::INFINITY).min(problem.fallback_cost(table));
        let here = problem.request_cost(table, place, groups[replica]);
        saves[replica] += (next - here).max(0.0) * flow.requests_per_s;
        rates[replica] += flow.requests_per_s;
        if flow.requests_per_s > most[replica].0 {
            most[replica] = (flow.requests_per_s, place);
        }
    }
    let needed = devices.len() as u32 <= table.replicas_min || shortfall.replicas > 0;
    let domains = draft.domains(model).len() as u32;
    let alone = |replica: usize| {
        let domain = |device: u32| problem.devices[device as usize].domain;
        !devices.iter().enumerate().any(|(at, &d)| at != replica && domain(d) == domain(devices[replica]))
    };
    let because = |replica: usize, device: u32| {
        let group = groups[replica];
        let bytes = problem.run(table, group).map_or(0, |run| run.bytes);
        let pays = saves[replica] > RATE_EPSILON && saves[replica] >= problem.holding_cost(group, bytes);
        if pays {
            let place = problem.input.places[most[replica].1 as usize].id.clone();
            Because::Demand { saves: saves[replica], place }
        } else if domains <= table.domains_min && table.domains_min > 1 && alone(replica) {
            Because::FailureDomains
        } else if needed || !draft.present.get(model, device as usize) {
            Because::Minimum
        } else {
            Because::Kept
        }
    };
    let replica = |(at, &device): (usize, &u32)| {
        let entry = &problem.devices[device as usize];
        Replica {
            pop: problem.input.pops[entry.pop as usize].id.clone(),
            device: DeviceIndex(entry.index),
            requests_per_s: rates[at],
            because: because(at, device),
        }
    };
    devices.iter().enumerate().map(replica).collect()
}
