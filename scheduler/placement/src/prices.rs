//! Prices for time where it is scarce: Lagrangian multipliers, which raise the bound.
//!
//! Where a plan leaves requests unserved, their model shows what time is worth on the devices it could be on: the multipliers
//! of the transport problem from its demand to its replicas, with the time that other models leave. Models that take
//! such time for less are moved away, and the bound charges all of them. The prices come from one plan and one choice of
//! replicas, so they may be off; a bound holds at any prices, and the best of a few scales of them is kept.

use crate::draft::{Draft, NOBODY, Placed};
use crate::dual::Dual;
use crate::improve::{self, Improver};
use crate::input::PopState;
use crate::problem::Problem;
use crate::routing;

/// Shares of the prices that are tried, after none at all.
const SCALES: [f64; 2] = [1.0, 0.9];
/// A share of the objective that is worth another try.
const GAIN_MIN: f64 = 1e-4;
/// Models that pay less than this share of the objective for time are not looked at again.
const PAID_MIN: f64 = 1e-6;
/// Models that are asked what time is worth.
const MODELS_MAX: usize = 8;
/// Groups that such a model may be in; one that is in more has room.
const SITES_MAX: usize = 24;
/// Times that all groups of a model are looked through.
const SWEEPS_MAX: usize = 100;
/// What no price has to change a request's cost by any more.
const CHANGE_MIN_MS: f64 = 0.1;

/// What a byte and a microsecond cost in each group beyond their price, because others want them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Prices {
    pub per_byte: Vec<f64>,
    pub per_us: Vec<f64>,
}

impl Prices {
    pub fn none(groups: usize) -> Self {
        Self { per_byte: vec![0.0; groups], per_us: vec![0.0; groups] }
    }

    /// What a model pays for time, as it is served.
    pub fn paid(&self, draft: &Draft<'_>, model: usize) -> f64 {
        let flows = draft.models[model].flows.iter().filter(|flow| flow.device != NOBODY);
        let paid = flows.map(|flow| match self.per_us[draft.problem.devices[flow.device as usize].group as usize] {
            0.0 => 0.0,
            price => price * flow.requests_per_s * draft.busy_us(model, flow.device).unwrap_or(0.0),
        });
        paid.sum()
    }

    /// What all memory and time of the fleet cost: as much as all plans together can pay.
    pub fn rent(&self, problem: &Problem<'_>) -> f64 {
        let open = problem.devices.iter().filter(|device| device.state != PopState::Draining);
        let rent = open.map(|device| {
            let group = device.group as usize;
            self.per_byte[group] * device.memory_bytes as f64 + self.per_us[group] * problem.capacity_us()
        });
        rent.sum()
    }
}

/// Bounds of all models at some prices.
pub(crate) struct Priced {
    pub prices: Prices,
    pub bounds: Vec<f64>,
}

impl Priced {
    fn value(&self, problem: &Problem<'_>) -> f64 {
        self.bounds.iter().sum::<f64>() - self.prices.rent(problem)
    }
}

/// Bounds without prices, and with prices if that leaves more than `gap_max` of the plan's objective open.
pub(crate) fn bounds(draft: &Draft<'_>, improver: &mut Improver, dual: &mut Dual, gap_max: f64) -> Priced {
    let problem = draft.problem;
    let none = Prices::none(problem.groups.len());
    let bounds = (0..problem.models.len()).map(|model| improver.bound(draft, model, &none, dual)).collect();
    let mut best = Priced { prices: none, bounds };
    let costs: Vec<f64> = (0..problem.models.len()).map(|model| improve::whole_cost(draft, model)).collect();
    let (total, proven) = (costs.iter().sum::<f64>(), best.value(problem));
    if total - proven <= gap_max * total {
        return best;
    }
    let worth = learned(draft, &unserved(draft));
    let free = best.bounds.clone();
    for scale in SCALES {
        let mut prices = worth.clone();
        prices.per_us.iter_mut().for_each(|price| *price *= scale);
        let bound = |(model, &free): (usize, &f64)| match prices.paid(draft, model) > PAID_MIN * total {
            true => improver.bound(draft, model, &prices, dual).max(free),
            false => free,
        };
        let bounds = free.iter().enumerate().map(bound).collect();
        let priced = Priced { prices, bounds };
        if priced.value(problem) > best.value(problem) {
            best = priced;
        }
    }
    best
}

/// Moves models that take time where others lack it. Whether that gained anything; if not, all is as it was.
pub(crate) fn relieve(draft: &mut Draft<'_>, improver: &mut Improver) -> bool {
    let lacking = unserved(draft);
    let prices = learned(draft, &lacking);
    let paid = |model: u32| (prices.paid(draft, model as usize), model);
    let mut payers: Vec<(f64, u32)> =
        (0..draft.models.len() as u32).map(paid).filter(|(paid, _)| *paid > 0.0).collect();
    payers.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let payers: Vec<u32> = payers.into_iter().map(|(_, model)| model).collect();
    if payers.is_empty() {
        return false;
    }
    let before = draft.models.clone();
    let cost = |draft: &Draft<'_>| (0..draft.models.len()).map(|model| improve::whole_cost(draft, model)).sum::<f64>();
    let cost_before = cost(draft);
    let mut moved = improver.improve(draft, &payers, &prices);
    moved.extend(lacking.iter().map(|&model| model as u32));
    moved.sort_unstable();
    moved.dedup();
    routing::route(draft, &moved);
    let better = cost(draft) < cost_before * (1.0 - GAIN_MIN);
    if !better {
        (0..before.len()).for_each(|model| improve::clear(draft, model));
        before.into_iter().enumerate().for_each(|(model, before)| improve::restore(draft, model, before));
    }
    better
}

/// The models that lose most by requests that nobody answers.
fn unserved(draft: &Draft<'_>) -> Vec<usize> {
    let lost = |placed: &Placed| {
        let flows = placed.flows.iter().filter(|flow| flow.device == NOBODY);
        flows.map(|flow| flow.cost * flow.requests_per_s).sum::<f64>()
    };
    let mut lacking: Vec<(f64, usize)> =
        draft.models.iter().map(lost).zip(0..).filter(|(lost, _)| *lost > 0.0).collect();
    lacking.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    lacking.truncate(MODELS_MAX);
    lacking.into_iter().map(|(_, model)| model).collect()
}

/// What these models show time to be worth.
fn learned(draft: &Draft<'_>, models: &[usize]) -> Prices {
    let mut prices = Prices::none(draft.problem.groups.len());
    models.iter().for_each(|&model| learn(draft, model, &mut prices.per_us));
    prices
}

/// A group that a model is in.
struct Site {
    group: u32,
    busy_us: f64,
    /// The time that other models leave it.
    left_us: f64,
    price: f64,
    /// What a request of each point costs here.
    costs: Vec<f64>,
}

/// Raises prices to what a model alone shows time to be worth where it is: the multipliers of its transport problem with the
/// time that others leave it, by coordinate ascent. The price of a group is such that just as many points want to be
/// served there as can be, given the prices of the others.
fn learn(draft: &Draft<'_>, model: usize, prices: &mut [f64]) {
    let problem = draft.problem;
    let table = &problem.models[model];
    let fallback = problem.fallback_cost(table);
    let mut sites = sites(draft, model);
    if sites.len() > SITES_MAX {
        return;
    }
    // Prices creep from where they start, so they start near where they will end: at what it is worth to be served at all.
    sites.iter_mut().for_each(|site| site.price = fallback / site.busy_us);
    let mut wanted: Vec<(f64, f64)> = Vec::new();
    for _ in 0..SWEEPS_MAX {
        let mut changed = 0.0f64;
        for at in 0..sites.len() {
            wanted.clear();
            for (point, demand) in table.demand.iter().enumerate() {
                let others = sites.iter().enumerate().filter(|&(other, _)| other != at);
                let cost = |site: &Site| site.costs[point] + site.busy_us * site.price;
                let next = others.map(|(_, site)| cost(site)).fold(fallback, f64::min);
                let worth = (next - sites[at].costs[point]) / sites[at].busy_us;
                if worth > 0.0 {
                    wanted.push((worth, demand.requests_per_s * sites[at].busy_us));
                }
            }
            wanted.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
            let mut left_us = sites[at].left_us;
            let turned_away = wanted.iter().find(|(_, busy_us)| {
                left_us -= busy_us;
                left_us < 0.0
            });
            let price = turned_away.map_or(0.0, |(worth, _)| *worth);
            changed = changed.max((price - sites[at].price).abs() * sites[at].busy_us);
            sites[at].price = price;
        }
        if changed < CHANGE_MIN_MS {
            break;
        }
    }
    for Site { group, price, .. } in sites {
        let known = &mut prices[group as usize];
        *known = known.max(price);
    }
}

/// The groups that a model is in.
fn sites(draft: &Draft<'_>, model: usize) -> Vec<Site> {
    let problem = draft.problem;
    let table = &problem.models[model];
    let group = |device: u32| problem.devices[device as usize].group;
    let mut groups: Vec<u32> = draft.models[model].devices.iter().map(|&device| group(device)).collect();
    groups.sort_unstable();
    groups.dedup();
    let site = |group: u32| {
        let run = problem.run(table, group).filter(|run| run.busy_us > 0.0)?;
        let suitable = |&&device: &&u32| problem.devices[device as usize].memory_bytes >= run.bytes;
        let devices = problem.groups[group as usize].devices.iter().filter(suitable);
        let left_us = devices.map(|&device| draft.free_us[device as usize]).sum();
        let costs = table.demand.iter().map(|point| problem.request_cost(table, point.place, group)).collect();
        Some(Site { group, busy_us: run.busy_us, left_us, price: 0.0, costs })
    };
    let mut sites: Vec<Site> = groups.into_iter().filter_map(site).collect();
    for flow in draft.models[model].flows.iter().filter(|flow| flow.device != NOBODY) {
        if let Some(site) = sites.iter_mut().find(|site| site.group == group(flow.device)) {
            site.left_us += flow.requests_per_s * site.busy_us;
        }
    }
    sites
}
