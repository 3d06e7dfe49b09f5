//! Makes room for models that lack something: others give up a device where they lose less than is gained.
//!
//! Phases before only add where there is room. Where memory has run out, whoever came late lacks replicas or leaves requests
//! unserved, though others could move aside. Here each such model, the dearest lack first, looks for a device whose
//! residents lose least by leaving; they are taken off and placed anew, and all is kept if it costs less together.

use crate::draft::{Draft, NOBODY, Placed};
use crate::finish::shortfall;
use crate::greedy::{Greedy, price};
use crate::improve;
use crate::prices::Prices;
use crate::routing;

/// What all trials may take together, in cells of tables: devices are weighed for all points of the model that lacks
/// something, and groups for all points of those who make room. Fleets short of everything would take forever otherwise.
const WORK_MAX: usize = 200_000_000;
/// Devices whose residents are weighed, those that gain most first.
const WEIGHED_MAX: usize = 256;
/// Devices that are tried before a model is given up for this round.
const TRIES: usize = 4;
/// Rounds over all that lack something: who made room may lack something then.
const ROUNDS: usize = 4;
/// Residents that one model may send away at once.
const VICTIMS_MAX: usize = 24;

/// A device that a model might take.
struct Site {
    device: u32,
    gain: f64,
    victims: Vec<u32>,
}

/// Makes room where it pays. The models that were moved come back.
pub(crate) fn make_room(draft: &mut Draft<'_>, prices: &Prices) -> Vec<u32> {
    let problem = draft.problem;
    let mut moved = Vec::new();
    let mut left = WORK_MAX;
    for _ in 0..ROUNDS {
        let mut lacking: Vec<(f64, u32)> =
            (0..problem.models.len() as u32).map(|model| (lack(draft, model as usize), model)).collect();
        lacking.retain(|(lack, _)| *lack > 0.0);
        lacking.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let before = moved.len();
        for (_, model) in lacking {
            while lack(draft, model as usize) > 0.0 {
                let Some(taken) = take_one(draft, model as usize, prices, &mut left) else { break };
                moved.extend(taken);
            }
        }
        if moved.len() == before {
            break;
        }
    }
    moved.sort_unstable();
    moved.dedup();
    moved
}

/// What a model's missing replicas, failure domains and capacity cost.
fn lack(draft: &Draft<'_>, model: usize) -> f64 {
    let lost = draft.models[model].flows.iter().filter(|flow| flow.device == NOBODY);
    missing(draft, model) + lost.map(|flow| flow.cost * flow.requests_per_s).sum::<f64>()
}

fn missing(draft: &Draft<'_>, model: usize) -> f64 {
    let missing = shortfall(draft, model);
    f64::from(missing.replicas + missing.domains) * draft.problem.options().shortfall_price
}

/// Gives a model one more replica in the place of others. Who was moved comes back.
fn take_one(draft: &mut Draft<'_>, model: usize, prices: &Prices, left: &mut usize) -> Option<Vec<u32>> {
    let points = draft.problem.models[model].demand.len();
    *left = left.checked_sub((points + 1) * draft.problem.devices.len())?;
    for site in sites(draft, model).into_iter().take(TRIES) {
        let points: usize = site.victims.iter().map(|&victim| draft.problem.models[victim as usize].demand.len()).sum();
        *left = left.checked_sub((points + 1) * draft.problem.groups.len())?;
        if take(draft, model, &site, prices) {
            let mut moved = site.victims;
            moved.push(model as u32);
            return Some(moved);
        }
    }
    None
}

/// Where a model would gain most, less what those lose who would have to leave.
fn sites(draft: &mut Draft<'_>, model: usize) -> Vec<Site> {
    let problem = draft.problem;
    let table = &problem.models[model];
    if draft.models[model].devices.len() as u32 >= table.replicas_max {
        return Vec::new();
    }
    let (missing, domains) = (shortfall(draft, model), draft.domains(model));
    let each = problem.options().shortfall_price;
    let mut gains: Vec<(f64, u32)> = Vec::new();
    for group in table.groups.clone() {
        let Some(run) = problem.run(table, group as u32) else { continue };
        for &device in &problem.groups[group].devices {
            let entry = &problem.devices[device as usize];
            let present = draft.present.get(model, device as usize);
            let suits = entry.memory_bytes >= run.bytes && problem.admits(model, device, present);
            if !suits || draft.holds(model, device) || (!present && draft.budget_is_spent(run.bytes)) {
                continue;
            }
            let replica = if missing.replicas > 0 { each } else { 0.0 };
            let domain = if missing.domains > 0 && !domains.contains(&entry.domain) { each } else { 0.0 };
            let Some(price) = price(draft, model, device) else { continue };
            let gain = draft.saving(model, device) + replica + domain - price;
            if gain > 0.0 {
                gains.push((gain, device));
            }
        }
    }
    gains.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    gains.truncate(WEIGHED_MAX);
    let mut sites: Vec<Site> =
        gains.into_iter().filter_map(|(gain, device)| site(draft, model, device, gain)).collect();
    sites.sort_by(|a, b| b.gain.total_cmp(&a.gain).then(a.device.cmp(&b.device)));
    sites
}

/// A device with the residents who lose least for the bytes they free.
fn site(draft: &Draft<'_>, model: usize, device: u32, gain: f64) -> Option<Site> {
    let problem = draft.problem;
    let group = problem.devices[device as usize].group;
    let needed = problem.run(&problem.models[model], group)?.bytes;
    let mut free = draft.free_bytes[device as usize];
    let mut residents: Vec<(f64, u64, u32)> = Vec::new();
    if free < needed {
        for resident in 0..problem.models.len() {
            if draft.holds(resident, device)
                && let Some(run) = problem.run(&problem.models[resident], group)
            {
                residents.push((loss(draft, resident, device), run.bytes, resident as u32));
            }
        }
    }
    let density = |&(loss, bytes, _): &(f64, u64, u32)| loss / bytes.max(1) as f64;
    residents.sort_unstable_by(|a, b| density(a).total_cmp(&density(b)).then(a.2.cmp(&b.2)));
    let mut leaving = 0;
    while free < needed {
        free += residents.get(leaving)?.1;
        leaving += 1;
    }
    residents.truncate(leaving);
    // Some of the first may stay after all, now that larger ones leave.
    residents.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.2.cmp(&b.2)));
    residents.retain(|&(_, bytes, _)| {
        let stays = free - bytes >= needed;
        free -= if stays { bytes } else { 0 };
        !stays
    });
    let lost: f64 = residents.iter().map(|(loss, ..)| loss).sum();
    let victims: Vec<u32> = residents.iter().map(|&(.., resident)| resident).collect();
    (gain > lost && victims.len() <= VICTIMS_MAX).then_some(Site { device, gain: gain - lost, victims })
}

/// What a resident loses at most by leaving a device, if it finds no other: the price it saves is taken off.
fn loss(draft: &Draft<'_>, model: usize, device: u32) -> f64 {
    let problem = draft.problem;
    let nobody = problem.fallback_cost(&problem.models[model]);
    let mut loss = 0.0;
    for flow in draft.models[model].flows.iter().filter(|flow| flow.device == device) {
        let open = |&(_, other): &(f64, u32)| other != device && draft.free_us[other as usize] > 0.0;
        let next = draft.options(model, flow.point).filter(open).map(|(cost, _)| cost).fold(nobody, f64::min);
        loss += (next - flow.cost) * flow.requests_per_s;
    }
    let saved = price(draft, model, device).unwrap_or(0.0);
    (loss - saved).max(0.0)
}

/// Puts a model on a device in the place of others, which are placed anew. Whether that was better; if not, all is as it was.
fn take(draft: &mut Draft<'_>, model: usize, site: &Site, prices: &Prices) -> bool {
    let all: Vec<u32> = std::iter::once(model as u32).chain(site.victims.iter().copied()).collect();
    let before: Vec<Placed> = all.iter().map(|&model| draft.models[model as usize].clone()).collect();
    let cost_before = cost(draft, &all);
    for &victim in &site.victims {
        draft.dismiss(victim as usize);
        draft.release(victim as usize, site.device);
    }
    if draft.hold(model, site.device) {
        routing::route_alone(draft, model);
        site.victims.iter().for_each(|&victim| routing::route_alone(draft, victim as usize));
        for &victim in &site.victims {
            let mut greedy = Greedy::new(draft, &[victim], prices);
            greedy.minimum(draft, victim as usize);
            greedy.fill(draft, &[victim]);
        }
        if cost(draft, &all) < cost_before * (1.0 - 1e-9) {
            return true;
        }
    }
    all.iter().for_each(|&model| improve::clear(draft, model as usize));
    all.iter().zip(before).for_each(|(&model, before)| improve::restore(draft, model as usize, before));
    false
}

fn cost(draft: &Draft<'_>, models: &[u32]) -> f64 {
    models.iter().map(|&model| improve::whole_cost(draft, model as usize)).sum()
}
