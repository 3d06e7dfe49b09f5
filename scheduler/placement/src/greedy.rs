//! The first phase: minimums first, then whatever saves most for its bytes, as long as it saves more than it costs.
//!
//! The saving of a replica only shrinks while others are placed, so a heap of old savings is enough: what comes out on top
//! is weighed again, and placed if it still leads (Minoux's lazy greedy).

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::draft::Draft;

struct Candidate {
    density: f64,
    model: u32,
    group: u32,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        let ids = |candidate: &Self| (candidate.model, candidate.group);
        self.density.total_cmp(&other.density).then_with(|| ids(other).cmp(&ids(self)))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

/// Places everything that is worth its price.
pub(crate) fn greedy(draft: &mut Draft<'_>) {
    minimums(draft);
    let mut heap = BinaryHeap::new();
    for model in 0..draft.problem.models.len() {
        for group in 0..draft.problem.groups.len() {
            heap.extend(weigh(draft, model as u32, group as u32).map(|(candidate, _)| candidate));
        }
    }
    while let Some(top) = heap.pop() {
        let Some((now, device)) = weigh(draft, top.model, top.group) else { continue };
        let leads = heap.peek().is_none_or(|next| next.density <= now.density);
        if !leads || draft.place(now.model as usize, device) {
            heap.push(now);
        }
    }
}

/// What a further replica in a group is worth for its bytes, and the device for it; `None` if it is worth nothing.
fn weigh(draft: &mut Draft<'_>, model: u32, group: u32) -> Option<(Candidate, u32)> {
    let table = &draft.problem.models[model as usize];
    if draft.models[model as usize].devices.len() as u32 >= table.replicas_max {
        return None;
    }
    let device = draft.pick(model as usize, group, |_| true)?;
    let gain = draft.saving(model as usize, device) - price(draft, model as usize, device)?;
    let bytes = draft.problem.run(table, group)?.bytes.max(1) as f64;
    (gain > 0.0).then_some((Candidate { density: gain / bytes, model, group }, device))
}

/// What holding a model on a device costs, and loading it there if it is not.
fn price(draft: &Draft<'_>, model: usize, device: u32) -> Option<f64> {
    let problem = draft.problem;
    let group = problem.devices[device as usize].group;
    let bytes = problem.run(&problem.models[model], group)?.bytes;
    let loading = if draft.present.get(model, device as usize) { 0.0 } else { problem.loading_cost(bytes) };
    Some(problem.holding_cost(group, bytes) + loading)
}

/// Gives each model the replicas and failure domains it has to have, those first that count most.
fn minimums(draft: &mut Draft<'_>) {
    let weight = |model: usize| {
        let table = &draft.problem.models[model];
        table.spec.value * table.demand.iter().map(|point| point.requests_per_s).sum::<f64>()
    };
    let mut order: Vec<(f64, usize)> = (0..draft.problem.models.len()).map(|model| (weight(model), model)).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    for (_, model) in order {
        minimum(draft, model);
    }
}

/// Adds replicas to a model until it has those it has to have, or finds no device.
pub(crate) fn minimum(draft: &mut Draft<'_>, model: usize) {
    let table = &draft.problem.models[model];
    loop {
        let domains = draft.domains(model);
        let lacks_domains = (domains.len() as u32) < table.domains_min;
        let lacks_replicas = (draft.models[model].devices.len() as u32) < table.replicas_min;
        let placed = if lacks_domains {
            let problem = draft.problem;
            best(draft, model, |device| !domains.contains(&problem.devices[device as usize].domain))
        } else {
            None
        };
        let chosen = placed.or_else(|| if lacks_replicas { best(draft, model, |_| true) } else { None });
        match chosen {
            Some(device) if draft.place(model, device) => {}
            _ => return,
        }
    }
}

/// The device where one more replica pays most, or costs least.
fn best(draft: &mut Draft<'_>, model: usize, suits: impl Fn(u32) -> bool) -> Option<u32> {
    let mut best: Option<(f64, u32)> = None;
    for group in 0..draft.problem.groups.len() as u32 {
        let Some(device) = draft.pick(model, group, &suits) else { continue };
        let Some(price) = price(draft, model, device) else { continue };
        let gain = draft.saving(model, device) - price;
        if best.is_none_or(|(most, _)| gain > most) {
            best = Some((gain, device));
        }
    }
    best.map(|(_, device)| device)
}
