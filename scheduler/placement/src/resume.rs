//! What of the plan before still stands: its replicas and flows go into the draft, and what has changed since is named.

use std::sync::Arc;

use crate::bits::Bits;
use crate::certificate::{self, Certificate};
use crate::draft::{Draft, Flow, RATE_EPSILON};
use crate::finish::shortfall;
use crate::input::{ChurnBudget, Loaded};
use crate::plan::{ModelPlan, Plan, Replica};
use crate::prices::Prices;
use crate::problem::{Model, Problem};

/// The share of all replicas that may be lost before bounds are proven anew for who lost any.
const LOST_MAX: f64 = 0.01;

/// What has to be done to a plan.
#[derive(Default)]
pub(crate) struct Changes {
    /// Models to be placed anew as far as they need it.
    pub replan: Vec<u32>,
    /// Models whose demand has drifted a little: they are only routed anew.
    pub reroute: Vec<u32>,
    /// Models that are asked for as they were and lack something, be it because a replica is gone or because they always did: they
    /// keep what they have, and take what there is to be had now.
    pub wanting: Vec<u32>,
    /// Those to be placed anew that fewer ask for than before.
    pub shrunk: Vec<u32>,
    /// Groups in which there is more than there was.
    pub grown: Vec<u32>,
    /// By model: what the plan before proved at `prices`, if that still holds.
    pub bounds: Vec<Option<f64>>,
    /// The prices that bounds were proven at, if they hold for all groups that there are.
    pub prices: Option<Prices>,
}

impl Changes {
    /// Everything is new.
    pub fn all(problem: &Problem<'_>) -> Self {
        let count = problem.models.len();
        Self { replan: (0..count as u32).collect(), bounds: vec![None; count], ..Self::default() }
    }
}

/// A plan before, by positions.
pub(crate) struct Before<'a> {
    plan: &'a Plan,
    /// The models that the input has as well, with where they were to be; `None` stands for a device that is gone.
    models: Vec<(usize, &'a ModelPlan, Vec<Option<u32>>)>,
}

impl<'a> Before<'a> {
    /// Looks up what a plan names.
    pub fn new(problem: &Problem<'_>, plan: &'a Plan) -> Self {
        let device = |replica: &Replica| problem.device(&replica.pop, replica.device);
        let model = |plan: &'a Arc<ModelPlan>| {
            let at = problem.models.binary_search_by(|table| table.spec.key.cmp(&plan.model)).ok()?;
            Some((at, &**plan, plan.replicas.iter().map(device).collect()))
        };
        Self { plan, models: plan.models.iter().filter_map(model).collect() }
    }
}

/// What is loaded or was planned, `model x device`. What names a PoP, device or model that is gone is passed over.
pub(crate) fn present(problem: &Problem<'_>, before: Option<&Before<'_>>) -> Bits {
    let mut present = Bits::new(problem.models.len(), problem.devices.len());
    for Loaded { model, pop, device } in &problem.input.current {
        let model = problem.models.binary_search_by(|table| table.spec.key.cmp(model)).ok();
        if let (Some(model), Some(device)) = (model, problem.device(pop, *device)) {
            present.set(model, device as usize, true);
        }
    }
    for (model, _, devices) in before.into_iter().flat_map(|before| &before.models) {
        devices.iter().flatten().for_each(|&device| present.set(*model, device as usize, true));
    }
    present
}

/// Puts into the draft what still stands of a plan.
pub(crate) fn resume(draft: &mut Draft<'_>, before: &Before<'_>) -> Changes {
    let previous = before.plan;
    let problem = draft.problem;
    let none = Certificate::default();
    let certificate = previous.certificate.as_deref().unwrap_or(&none);
    let known = certificate.world == certificate::world(problem.input) && previous.certificate.is_some();
    let mut changes = Changes { bounds: vec![None; problem.models.len()], ..Changes::default() };
    let mut seen = vec![false; problem.models.len()];
    let mut lost = 0;
    let mut offered = problem.input.churn != ChurnBudget::default();
    for &(at, plan, ref devices) in &before.models {
        let table = &problem.models[at];
        let proof = certificate.models.get(&plan.model);
        let same = known && proof.is_some_and(|proof| proof.spec == certificate::spec(table));
        let whole = hold(draft, at, devices);
        let drift = if same { drift(problem, table, plan) } else { f64::INFINITY };
        // What is loaded beyond the plan could be kept without loading it, which the proof did not know.
        let extra: f64 = draft.differences(at).map(|(device, _)| draft.load_price(at, device)).sum();
        lost += devices.len() - draft.models[at].devices.len();
        // It holds without what is gone too; but where a minimum is gone, a better one can be proven.
        if drift == 0.0 && (whole || draft.suffices(at)) {
            changes.bounds[at] = proof.map(|proof| proof.bound - extra);
        }
        seen[at] = true;
        let satisfied = whole && plan.cost.fallback == 0.0 && draft.suffices(at);
        if drift == 0.0 {
            serve(draft, at, table, plan, devices);
            draft.models[at].touched = !whole || shortfall(draft, at) != plan.shortfall;
            if !satisfied {
                changes.wanting.push(at as u32);
                offered |= draft.models[at].touched || extra > 0.0;
            }
        } else if satisfied && drift <= problem.options().demand_change_min {
            changes.reroute.push(at as u32);
        } else {
            draft.models[at].touched = true;
            changes.replan.push(at as u32);
            let before: f64 = plan.routes.iter().map(|route| route.requests_per_s).sum();
            let now: f64 = table.demand.iter().map(|point| point.requests_per_s).sum();
            if now < before {
                changes.shrunk.push(at as u32);
            }
        }
    }
    let all: usize = before.models.iter().map(|(.., devices)| devices.len()).sum();
    if lost as f64 > LOST_MAX * all as f64 {
        for &(at, _, ref devices) in &before.models {
            if draft.models[at].devices.len() < devices.len() {
                changes.bounds[at] = None;
            }
        }
    }
    changes.replan.extend((0..).zip(&seen).filter(|(_, seen)| !**seen).map(|(at, _)| at));
    if known {
        changes.grown = grown(problem, certificate);
    }
    changes.prices = if known { prices(problem, certificate) } else { None };
    // What could be had with the same fleet and the same demand, the plan before has.
    let same_fleet = known && changes.grown.is_empty() && certificate.pops.len() == problem.input.pops.len();
    let same_models = changes.replan.is_empty() && changes.reroute.is_empty() && certificate.models.len() == seen.len();
    if same_fleet && same_models && !offered {
        changes.wanting.clear();
    }
    changes
}

/// The prices that bounds were proven at. `None` if there are groups of devices that those did not know of.
fn prices(problem: &Problem<'_>, certificate: &Certificate) -> Option<Prices> {
    let mut prices = Prices::default();
    for group in &problem.groups {
        let known = certificate.groups.get(&group.mark(problem.input))?;
        if problem.open_bytes(group) > known.open_bytes {
            return None;
        }
        prices.per_byte.push(known.per_byte);
        prices.per_us.push(known.per_us);
    }
    Some(prices)
}

/// Holds again what a model had. Whether that was possible for all of it.
fn hold(draft: &mut Draft<'_>, at: usize, devices: &[Option<u32>]) -> bool {
    let mut whole = true;
    for device in devices {
        whole &= device.is_some_and(|device| draft.hold(at, device));
    }
    whole && draft.models[at].devices.len() as u32 <= draft.problem.models[at].replicas_max
}

/// How much the demand for a model has changed, as a share.
fn drift(problem: &Problem<'_>, table: &Model<'_>, plan: &ModelPlan) -> f64 {
    let places = &problem.input.places;
    let pairs = || table.demand.iter().zip(&plan.routes);
    let same_places = table.demand.len() == plan.routes.len()
        && pairs().all(|(point, route)| route.place == places[point.place as usize].id);
    if !same_places {
        return f64::INFINITY;
    }
    let moved: f64 = pairs().map(|(point, route)| (point.requests_per_s - route.requests_per_s).abs()).sum();
    if moved == 0.0 {
        return 0.0;
    }
    let total: f64 = plan.routes.iter().map(|route| route.requests_per_s).sum();
    moved / total.max(RATE_EPSILON)
}

/// Takes over a model's flows, for its demand is what it was. Nobody answers what a replica did that is gone.
fn serve(draft: &mut Draft<'_>, at: usize, table: &Model<'_>, plan: &ModelPlan, devices: &[Option<u32>]) {
    let problem = draft.problem;
    let held = |device: &Option<u32>| {
        let device = device.filter(|&device| draft.holds(at, device))?;
        let group = problem.devices[device as usize].group;
        Some((device, group, problem.run(table, group).map_or(0.0, |run| run.busy_us)))
    };
    let replicas: Vec<Option<(u32, u32, f64)>> = devices.iter().map(held).collect();
    draft.models[at].flows.reserve(table.demand.len());
    for (point, (demand, route)) in (0..).zip(table.demand.iter().zip(&plan.routes)) {
        let mut left = demand.requests_per_s;
        for share in route.to.iter().filter(|share| share.share > 0.0) {
            let Some((device, group, busy_us)) = replicas[share.replica as usize] else { continue };
            let requests_per_s = demand.requests_per_s * share.share;
            let cost = problem.request_cost(table, demand.place, group);
            draft.free_us[device as usize] -= requests_per_s * busy_us;
            draft.models[at].flows.push(Flow { point, device, requests_per_s, cost });
            left -= requests_per_s;
        }
        if left > demand.requests_per_s * 1e-9 + RATE_EPSILON {
            draft.serve_nobody(at, point, left);
        }
    }
}

/// Groups with a PoP that is new or not what it was.
fn grown(problem: &Problem<'_>, certificate: &Certificate) -> Vec<u32> {
    let mut grown = Vec::new();
    for (at, pop) in problem.input.pops.iter().enumerate() {
        if certificate.pops.get(&pop.id) != Some(&certificate::pop(pop)) {
            let devices = problem.pop_devices[at]..problem.pop_devices[at + 1];
            grown.extend(devices.map(|device| problem.devices[device as usize].group));
        }
    }
    grown.sort_unstable();
    grown.dedup();
    grown
}
