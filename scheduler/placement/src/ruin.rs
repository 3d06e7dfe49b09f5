//! Ruin and recreate (Schrimpf et al., 2000): takes a few models off, puts them back in another order, keeps what is better.
//!
//! Where memory is so tight that what came first decides what still fits, no single replica's move helps. Models that lack
//! something are tried first, with those on a device that would have room for them. Fleets too large to try much are
//! also too large to depend on it.

use crate::draft::{Draft, NOBODY, Placed};
use crate::greedy::Greedy;
use crate::improve::{self, Improver};
use crate::prices::Prices;
use crate::rng::Rng;

/// What all trials may take together, in cells of tables.
const WORK_MAX: usize = 8_000_000;
/// Trials of the smallest fleets.
const TRIALS_MAX: usize = 600;
/// Models taken off in one trial.
const RUINED_MAX: usize = 6;

/// Tries to better a draft by seed.
pub(crate) fn ruin(draft: &mut Draft<'_>, improver: &mut Improver, prices: &Prices, rng: &mut Rng) {
    let problem = draft.problem;
    let count = problem.models.len();
    if count == 0 || problem.devices.is_empty() {
        return;
    }
    let points: usize = problem.models.iter().map(|model| model.demand.len() + 1).sum();
    let work = RUINED_MAX * (points / count + 1) * problem.groups.len();
    let mut lacking: Vec<u32> = (0..count as u32).filter(|&model| lacks(draft, model as usize)).collect();
    for trial in 0..(WORK_MAX / work.max(1)).min(TRIALS_MAX) {
        let device = rng.below(problem.devices.len()) as u32;
        let mut ruined: Vec<u32> = (0..count as u32).filter(|&model| draft.holds(model as usize, device)).collect();
        shuffle(&mut ruined, rng);
        ruined.truncate(RUINED_MAX - 2);
        ruined.push(rng.below(count) as u32);
        if !lacking.is_empty() {
            ruined.push(lacking[trial % lacking.len()]);
        }
        ruined.sort_unstable();
        ruined.dedup();
        shuffle(&mut ruined, rng);
        if recreate(draft, improver, &ruined, prices) {
            lacking.retain(|&model| lacks(draft, model as usize));
        }
    }
}

fn shuffle(models: &mut [u32], rng: &mut Rng) {
    for at in (1..models.len()).rev() {
        models.swap(at, rng.below(at + 1));
    }
}

fn lacks(draft: &Draft<'_>, model: usize) -> bool {
    !draft.suffices(model) || draft.models[model].flows.iter().any(|flow| flow.device == NOBODY)
}

/// Takes these models off and puts them back one by one. Whether that was better; if not, all is as it was.
fn recreate(draft: &mut Draft<'_>, improver: &mut Improver, models: &[u32], prices: &Prices) -> bool {
    let before: Vec<Placed> = models.iter().map(|&model| draft.models[model as usize].clone()).collect();
    let cost_before = cost(draft, models);
    models.iter().for_each(|&model| improve::clear(draft, model as usize));
    for &model in models {
        let mut greedy = Greedy::new(draft, &[model], prices);
        greedy.minimum(draft, model as usize);
        greedy.fill(draft, &[model]);
    }
    improver.improve(draft, models, prices);
    models.iter().for_each(|&model| draft.release_idle(model as usize));
    if cost(draft, models) < cost_before * (1.0 - 1e-9) {
        return true;
    }
    models.iter().for_each(|&model| improve::clear(draft, model as usize));
    for (&model, before) in models.iter().zip(before) {
        improve::restore(draft, model as usize, before);
    }
    false
}

fn cost(draft: &Draft<'_>, models: &[u32]) -> f64 {
    models.iter().map(|&model| improve::whole_cost(draft, model as usize)).sum()
}
