//! A draft becomes a plan: devices get their names back, routes their order, replicas their reasons, and costs their sum.

use std::sync::Arc;

use crate::draft::{Draft, Flow, NOBODY, Placed, RATE_EPSILON};
use crate::ids::DeviceIndex;
use crate::nearby::Site;
use crate::plan::{Because, Cost, ModelPlan, Replica, Route, Share, Shortfall};

/// Candidates that a route names, those without a share included.
const CANDIDATES: usize = 3;

/// In the place of a group.
const NOWHERE: (f64, u32) = (f64::INFINITY, u32::MAX);

/// A model as it is placed and served: what all parts of its plan are made from.
struct Finished<'a> {
    draft: &'a Draft<'a>,
    model: usize,
    /// In ascending order.
    devices: Vec<u32>,
    /// By point and device.
    flows: Vec<Flow>,
    shortfall: Shortfall,
    /// By point: what a request costs in the cheapest groups that hold the model, cheapest first, each with the position of its
    /// replicas in `by_group`; [`NOWHERE`] where there are fewer.
    near: Vec<[(f64, u32); CANDIDATES]>,
    /// Positions of replicas, group by group.
    by_group: Vec<Vec<u32>>,
}

/// The plan of one model.
pub(crate) fn model_plan(draft: &Draft<'_>, model: usize) -> Arc<ModelPlan> {
    let Placed { mut devices, flows, .. } = draft.models[model].clone();
    devices.sort_unstable();
    let flows = merged(flows);
    let shortfall = shortfall(draft, model);
    let cost = cost(draft, model, &devices, &flows, shortfall);
    let mut finished = Finished { draft, model, devices, flows, shortfall, near: Vec::new(), by_group: Vec::new() };
    finished.look_around();
    Arc::new(ModelPlan {
        model: draft.problem.models[model].spec.key.clone(),
        replicas: finished.replicas(),
        routes: finished.routes(),
        shortfall,
        cost,
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
    let replicas = draft.models[model].devices.len() as u32;
    Shortfall {
        replicas: table.replicas_min.saturating_sub(replicas),
        domains: table.domains_min - draft.domains_up_to(model, table.domains_min),
    }
}

/// What a model adds to the objective, loads apart: those depend on what was there before.
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
        let place = table.demand[flow.point as usize].place as usize;
        cost.network += table.spec.value * problem.network_to(group as u32)[place] * flow.requests_per_s;
        cost.compute += table.compute_cost[group] * flow.requests_per_s;
    }
    for &device in devices {
        let group = problem.devices[device as usize].group;
        let bytes = problem.run(table, group).map_or(0, |run| run.bytes);
        cost.holding += problem.holding_cost(group, bytes);
    }
    cost
}

impl Finished<'_> {
    /// Finds the cheapest groups of each point.
    fn look_around(&mut self) {
        let problem = self.draft.problem;
        let table = &problem.models[self.model];
        let mut positions: Vec<(u32, u32)> =
            self.devices.iter().zip(0..).map(|(&device, at)| (problem.devices[device as usize].group, at)).collect();
        positions.sort_unstable();
        let runs = || positions.chunk_by(|a, b| a.0 == b.0);
        self.by_group = runs().map(|run| run.iter().map(|&(_, replica)| replica).collect()).collect();
        // By site, and from there on to the next group of the same site.
        let mut first = vec![NOWHERE.1; problem.nearby.sites()];
        let mut groups = Vec::with_capacity(self.by_group.len());
        let mut least = f64::INFINITY;
        for (at, run) in (0..).zip(runs()) {
            let compute = table.compute_cost[run[0].0 as usize];
            least = least.min(compute);
            groups.push((compute, std::mem::replace(&mut first[problem.nearby.site(run[0].0) as usize], at)));
        }
        let nearest = |place: u32| {
            let mut near = [NOWHERE; CANDIDATES];
            // Whether farther sites could be cheap enough.
            let mut visit = |site: &Site| {
                let mut at = first[site.at as usize];
                if at == NOWHERE.1 {
                    return true;
                }
                let network = table.spec.value * site.network_ms;
                while let Some(&(compute, next)) = groups.get(at as usize) {
                    insert(&mut near, (network + compute, at));
                    at = next;
                }
                network + least <= near[CANDIDATES - 1].0
            };
            let (nearest, others) = problem.nearby.from(problem, place);
            if nearest.iter().all(&mut visit) {
                others.iter().for_each(|site| _ = visit(site));
            }
            near
        };
        self.near = table.demand.iter().map(|demand| nearest(demand.place)).collect();
    }

    /// The flows of each point, in the order of points.
    fn by_point(&self) -> impl Iterator<Item = &[Flow]> {
        let mut rest = self.flows.as_slice();
        (0..self.near.len()).map(move |point| {
            let here = rest.partition_point(|flow| flow.point as usize == point);
            let (flows, after) = rest.split_at(here);
            rest = after;
            flows
        })
    }

    fn replica(&self, device: u32) -> u32 {
        self.devices.partition_point(|&other| other < device) as u32
    }

    fn routes(&self) -> Vec<Route> {
        let problem = self.draft.problem;
        let demand = problem.models[self.model].demand.iter();
        let mut served = Vec::new();
        let routes = demand.zip(self.by_point()).zip(&self.near).map(|((demand, flows), near)| {
            served.clear();
            served.extend(flows.iter().filter(|flow| flow.device != NOBODY));
            served.sort_by(|a: &Flow, b: &Flow| a.cost.total_cmp(&b.cost).then(a.device.cmp(&b.device)));
            Route {
                place: problem.input.places[demand.place as usize].id.clone(),
                requests_per_s: demand.requests_per_s,
                to: self.shares(demand.requests_per_s, &served, flows.len() == 1, near),
            }
        });
        routes.collect()
    }

    /// Who serves a point, the cheapest first, and who else could.
    fn shares(&self, requests_per_s: f64, served: &[Flow], alone: bool, near: &[(f64, u32)]) -> Vec<Share> {
        let share = |flow: &Flow| if alone { 1.0 } else { (flow.requests_per_s / requests_per_s).min(1.0) };
        let mut to = Vec::with_capacity(served.len().max(CANDIDATES));
        to.extend(served.iter().map(|flow| Share { replica: self.replica(flow.device), share: share(flow) }));
        let others = known(near).flat_map(|(_, at)| &self.by_group[at as usize]);
        for &replica in others {
            if to.len() >= CANDIDATES {
                break;
            }
            if !to.iter().any(|share| share.replica == replica) {
                to.push(Share { replica, share: 0.0 });
            }
        }
        to
    }

    fn replicas(&self) -> Vec<Replica> {
        let problem = self.draft.problem;
        let table = &problem.models[self.model];
        let nobody = problem.fallback_cost(table);
        let mut work = vec![Work::default(); self.devices.len()];
        for (flows, near) in self.by_point().zip(&self.near) {
            for flow in flows.iter().filter(|flow| flow.device != NOBODY) {
                let replica = self.replica(flow.device);
                let others = |&(_, at): &(f64, u32)| self.by_group[at as usize].iter().any(|&other| other != replica);
                let next = known(near).find(others).map_or(nobody, |(cost, _)| cost.min(nobody));
                let work = &mut work[replica as usize];
                work.saves += (next - flow.cost).max(0.0) * flow.requests_per_s;
                work.requests_per_s += flow.requests_per_s;
                if flow.requests_per_s > work.most.0 {
                    work.most = (flow.requests_per_s, table.demand[flow.point as usize].place);
                }
            }
        }
        let alone = self.alone_in_domain();
        let replica = |((&device, work), alone): ((&u32, Work), bool)| {
            let entry = &problem.devices[device as usize];
            Replica {
                pop: problem.input.pops[entry.pop as usize].id.clone(),
                device: DeviceIndex(entry.index),
                requests_per_s: work.requests_per_s,
                because: self.because(device, &work, alone),
            }
        };
        self.devices.iter().zip(work).zip(alone).map(replica).collect()
    }

    /// For each replica, whether the model has no other in its failure domain.
    fn alone_in_domain(&self) -> Vec<bool> {
        let domain = |&device: &u32| self.draft.problem.devices[device as usize].domain;
        let mut domains: Vec<u32> = self.devices.iter().map(domain).collect();
        domains.sort_unstable();
        let count = |of: u32| domains.partition_point(|&d| d <= of) - domains.partition_point(|&d| d < of);
        self.devices.iter().map(|device| count(domain(device)) == 1).collect()
    }

    fn because(&self, device: u32, work: &Work, alone: bool) -> Because {
        let problem = self.draft.problem;
        let table = &problem.models[self.model];
        let group = problem.devices[device as usize].group;
        let bytes = problem.run(table, group).map_or(0, |run| run.bytes);
        let tight = self.devices.len() as u32 <= table.replicas_min || self.shortfall.replicas > 0;
        if work.saves > RATE_EPSILON && work.saves >= problem.holding_cost(group, bytes) {
            let place = problem.input.places[work.most.1 as usize].id.clone();
            Because::Demand { saves: work.saves, place }
        } else if tight && alone && table.domains_min > 1 {
            Because::FailureDomains
        } else if tight {
            Because::Minimum
        } else {
            Because::Kept
        }
    }
}

/// Puts a group among a point's nearest, if it is one of them.
fn insert(near: &mut [(f64, u32); CANDIDATES], group: (f64, u32)) {
    if group.0 > near[CANDIDATES - 1].0 {
        return;
    }
    let before = |a: (f64, u32), b: (f64, u32)| a.0 < b.0 || (a.0 == b.0 && a.1 < b.1);
    let mut slot = CANDIDATES;
    while slot > 0 && before(group, near[slot - 1]) {
        slot -= 1;
        if slot + 1 < CANDIDATES {
            near[slot + 1] = near[slot];
        }
        near[slot] = group;
    }
}

/// Those of a point's nearest groups that there are.
fn known(near: &[(f64, u32)]) -> impl Iterator<Item = (f64, u32)> {
    near.iter().copied().take_while(|near| *near != NOWHERE)
}

/// What a replica does.
#[derive(Clone, Copy, Default)]
struct Work {
    saves: f64,
    requests_per_s: f64,
    /// The most requests from one place, and that place.
    most: (f64, u32),
}

#[cfg(test)]
mod tests {
    use crate::problem::Problem;
    use crate::scenario::Scenario;
    use crate::solve;

    #[test]
    fn routes_name_the_cheapest_replicas_as_the_next_to_ask() {
        // More sites than are put in order, and models with few replicas far apart.
        let input = Scenario { pops: 400, gpu_pops: 40, models: 60, places: 90, seed: 5 }.input();
        let (plan, _) = solve(&input, None).unwrap();
        let problem = Problem::new(&input).unwrap();
        let mut spares = 0;
        for (table, plan) in problem.models.iter().zip(&plan.models) {
            for (point, route) in table.demand.iter().zip(&plan.routes) {
                let cost = |replica: u32| {
                    let replica = &plan.replicas[replica as usize];
                    let device = problem.device(&replica.pop, replica.device).unwrap();
                    problem.request_cost(table, point.place, problem.devices[device as usize].group)
                };
                let others =
                    (0..plan.replicas.len() as u32).filter(|at| !route.to.iter().any(|share| share.replica == *at));
                let cheapest = others.map(cost).fold(f64::INFINITY, f64::min);
                for spare in route.to.iter().filter(|share| share.share == 0.0) {
                    assert!(cost(spare.replica) <= cheapest, "{} from {}", plan.model, route.place);
                    spares += 1;
                }
            }
        }
        assert!(spares > 1_000, "{spares}");
    }
}
