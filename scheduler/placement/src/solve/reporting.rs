//! What is said about a plan: cost, utilisation, moves, and what is missing.

use super::Draft;
use crate::draft::{NOBODY, RATE_EPSILON};
use crate::finish;
use crate::ids::DeviceIndex;
use crate::input::{DeviceKind, Loaded, PopState};
use crate::plan::{Cost, Plan, Shortfall};
use crate::prices::Priced;
use crate::problem::{Model, Problem};
use crate::report::{Missing, Moves, Report, Unplaced, Utilisation};

/// What sums of a bound and of a plan may differ by, as a share.
const ROUNDING: f64 = 1e-6;

/// The report on a plan that was made of this draft.
pub(super) fn report(draft: &Draft<'_>, plan: &Plan, priced: &Priced) -> Report {
    let moves = moves(draft);
    let cost = Cost { loading: draft.problem.loading_cost(moves.load_bytes), ..plan.cost() };
    let total = cost.total();
    // Rounding must not let a bound lie above a plan that is best. More than rounding would be a mistake, and stays visible.
    let proven = priced.bounds.iter().sum::<f64>() - priced.prices.rent(draft.problem);
    let lower_bound = if proven <= total * (1.0 + ROUNDING) { proven.clamp(0.0, total) } else { proven };
    Report {
        cost,
        lower_bound,
        gap: if total > 0.0 { (total - lower_bound) / total } else { 0.0 },
        utilisation: utilisation(draft),
        unplaced: unplaced(draft),
        moves,
    }
}

fn utilisation(draft: &Draft<'_>) -> Vec<Utilisation> {
    let problem = draft.problem;
    let empty = |class: &crate::input::DeviceClass| Utilisation {
        class: class.name.clone(),
        devices: 0,
        memory_bytes: 0,
        memory_used_bytes: 0,
        busy_mean: 0.0,
        busy_max: 0.0,
    };
    let mut classes: Vec<_> = problem.input.device_classes.iter().map(empty).collect();
    for (at, device) in problem.devices.iter().enumerate() {
        if device.state == PopState::Draining {
            continue;
        }
        let class = &mut classes[problem.groups[device.group as usize].class as usize];
        let busy = ((problem.capacity_us() - draft.free_us[at]) / 1e6).max(0.0);
        class.devices += 1;
        class.memory_bytes += device.memory_bytes;
        class.memory_used_bytes += device.memory_bytes - draft.free_bytes[at];
        class.busy_mean += busy;
        class.busy_max = class.busy_max.max(busy);
    }
    for class in &mut classes {
        class.busy_mean /= f64::from(class.devices.max(1));
    }
    classes
}

/// What is to be loaded and given up. What was on a PoP that is gone cannot be given up any more.
fn moves(draft: &Draft<'_>) -> Moves {
    let problem = draft.problem;
    let mut moves = Moves::default();
    for (model, table) in problem.models.iter().enumerate() {
        let loaded = |device: u32| {
            let device = &problem.devices[device as usize];
            let pop = problem.input.pops[device.pop as usize].id.clone();
            Loaded { model: table.spec.key.clone(), pop, device: DeviceIndex(device.index) }
        };
        for (device, held) in draft.differences(model) {
            if held {
                let group = problem.devices[device as usize].group;
                moves.load_bytes += problem.run(table, group).map_or(0, |run| run.bytes);
                moves.loads.push(loaded(device));
            } else {
                moves.unloads.push(loaded(device));
            }
        }
    }
    moves
}

/// What is missing, model by model; what counts most first.
fn unplaced(draft: &Draft<'_>) -> Vec<Unplaced> {
    let mut unplaced: Vec<Unplaced> = (0..draft.models.len()).filter_map(|model| unplaced_of(draft, model)).collect();
    unplaced.sort_by(|a, b| b.cost.total_cmp(&a.cost).then_with(|| a.model.cmp(&b.model)));
    unplaced
}

fn unplaced_of(draft: &Draft<'_>, model: usize) -> Option<Unplaced> {
    let table = &draft.problem.models[model];
    let shortfall = finish::shortfall(draft, model);
    let lost = draft.models[model].flows.iter().filter(|flow| flow.device == NOBODY);
    let requests_per_s: f64 = lost.map(|flow| flow.requests_per_s).sum();
    if shortfall.is_none() && requests_per_s <= RATE_EPSILON {
        return None;
    }
    let missing = f64::from(shortfall.replicas + shortfall.domains);
    Some(Unplaced {
        model: table.spec.key.clone(),
        replicas: shortfall.replicas,
        domains: shortfall.domains,
        requests_per_s,
        cost: missing * draft.problem.options().shortfall_price + requests_per_s * draft.problem.fallback_cost(table),
        why: why(draft, model, shortfall),
    })
}

/// The first thing that stands in the way, from what no capacity could mend to what more of it would.
fn why(draft: &Draft<'_>, model: usize, shortfall: Shortfall) -> Missing {
    let problem = draft.problem;
    let table = &problem.models[model];
    let spec = table.spec;
    let regions = match (&spec.residency, &spec.policy_regions) {
        (None, None) => Vec::new(),
        (Some(regions), None) | (None, Some(regions)) => regions.clone(),
        (Some(residency), Some(policy)) => residency.iter().filter(|region| policy.contains(region)).cloned().collect(),
    };
    let restricted = spec.residency.is_some() || spec.policy_regions.is_some();
    if restricted && regions.is_empty() {
        return Missing::NoRegionAllowed;
    }
    if restricted && !problem.input.pops.iter().any(|pop| regions.contains(&pop.region)) {
        return Missing::NoPopInRegions { regions };
    }
    let mut usable: Vec<u32> = usable(problem, table).collect();
    let suitable = !usable.is_empty();
    usable.retain(|&device| problem.admits(model, device, false));
    if suitable && usable.is_empty() {
        let excluded = table.excluded.pops.iter().map(|&pop| problem.input.pops[pop as usize].id.clone());
        return Missing::Excluded { pops: excluded.collect() };
    }
    if usable.is_empty() {
        let kinds = [DeviceKind::Cpu, DeviceKind::Gpu];
        let runs_on = |kind: &DeviceKind| {
            let required = spec.accelerator == crate::Accelerator::Required;
            spec.memory.bytes_on(*kind).is_some() && (*kind == DeviceKind::Gpu || !required)
        };
        return Missing::NoDevice { kinds: kinds.into_iter().filter(runs_on).collect(), regions };
    }
    let need =
        |device: u32| problem.run(table, problem.devices[device as usize].group).map_or(u64::MAX, |run| run.bytes);
    let kind = |device: u32| problem.groups[problem.devices[device as usize].group as usize].kind;
    let pop = |device: u32| problem.input.pops[problem.devices[device as usize].pop as usize].id.clone();
    let memory = |device: u32| problem.devices[device as usize].memory_bytes;
    // The device whose memory comes closest: by what is lacking there, not by its size, for kinds need different amounts.
    let closest = |bytes: &dyn Fn(u32) -> u64, devices: &[u32]| {
        devices.iter().copied().min_by_key(|&device| (need(device).saturating_sub(bytes(device)), device))
    };
    if let Some(device) = closest(&memory, &usable)
        && memory(device) < need(device)
    {
        let (needs_bytes, largest_bytes) = (need(device), memory(device));
        return Missing::TooLarge { needs_bytes, kind: kind(device), regions, largest_bytes, pop: pop(device) };
    }
    usable.retain(|&device| memory(device) >= need(device));
    let mut domains: Vec<u32> = usable.iter().map(|&device| problem.devices[device as usize].domain).collect();
    domains.sort_unstable();
    domains.dedup();
    if shortfall.domains > 0 && (domains.len() as u32) < table.domains_min {
        return Missing::TooFewDomains { domains: domains.len() as u32 };
    }
    if shortfall.is_none() && draft.models[model].devices.len() as u32 >= table.replicas_max {
        return Missing::ReplicaLimit { max: table.replicas_max };
    }
    usable.retain(|&device| !draft.holds(model, device));
    let free = |device: u32| draft.free_bytes[device as usize];
    match closest(&free, &usable) {
        Some(device) if free(device) < need(device) => {
            let (needs_bytes, free_bytes) = (need(device), free(device));
            Missing::NoMemory { needs_bytes, kind: kind(device), regions, free_bytes, pop: pop(device) }
        }
        Some(device) if draft.budget_is_spent(need(device)) => Missing::ChurnBudget,
        Some(_)
            if usable.iter().any(|&device| free(device) >= need(device) && draft.free_us[device as usize] > 1.0) =>
        {
            Missing::NotWorthIt
        }
        _ => Missing::Busy { regions },
    }
}

/// Devices that may take a model as far as kind, region and the state of their PoP go.
fn usable<'a>(problem: &'a Problem<'_>, table: &'a Model<'_>) -> impl Iterator<Item = u32> + 'a {
    let open = |device: u32| problem.devices[device as usize].state == PopState::Active;
    (0..problem.devices.len() as u32)
        .filter(move |&device| open(device) && problem.run(table, problem.devices[device as usize].group).is_some())
}
