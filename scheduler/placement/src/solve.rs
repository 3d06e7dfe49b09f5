//! The whole solve: tables, phases, plan, report.

use std::sync::Arc;

use crate::certificate::{self, Certificate, KnownGroup, Proof};
use crate::draft::Draft;
use crate::dual::Dual;
use crate::evict;
use crate::finish;
use crate::greedy::{self, Greedy};
use crate::improve::Improver;
use crate::input::{Effort, Input};
use crate::plan::{ModelPlan, Plan};
use crate::prices::{self, Priced, Prices};
use crate::problem::{Group, InputError, Problem};
use crate::report::Report;
use crate::resume::{self, Before, Changes};
use crate::rng::Rng;
use crate::routing;
use crate::ruin::ruin;

mod reporting;

/// Prices are looked for when a plan from nothing could be better by more than this share, for all the bound knows.
const GAP_MAX: f64 = 0.015;

/// Plans which device holds which model and where demand goes.
///
/// What `previous` planned and what the input says is loaded stays where nothing is gained by moving it. Models that
/// nothing has happened to since are not looked at: with the same input, the plan stays as it is.
///
/// # Errors
/// If the input contradicts itself. An input that cannot be satisfied is no error: what counts most is placed, and the
/// report says what is missing.
pub fn solve(input: &Input, previous: Option<&Plan>) -> Result<(Plan, Report), InputError> {
    let problem = Problem::new(input)?;
    let before = previous.map(|previous| Before::new(&problem, previous));
    let mut draft = Draft::new(&problem, resume::present(&problem, before.as_ref()));
    let mut changes = match &before {
        Some(before) => resume::resume(&mut draft, before),
        None => Changes::all(&problem),
    };
    let mut search = Search { prices: Prices::none(problem.groups.len()), ..Search::default() };
    match previous {
        Some(_) => search.repair(&mut draft, &changes),
        None => search.place(&mut draft),
    }
    let priced = search.bounds(&draft, &mut changes);
    let models = (0..problem.models.len()).map(|model| plan_of(&draft, previous, &changes, model)).collect();
    let plan = Plan { models, certificate: Some(Arc::new(certificate(&draft, &priced))) };
    let report = reporting::report(&draft, &plan, &priced);
    Ok((plan, report))
}

/// The tables of the phases.
#[derive(Default)]
struct Search {
    prices: Prices,
    improver: Improver,
    dual: Dual,
}

impl Search {
    /// From nothing: minimums, the greedy fill, rounds of local search, and some ruin.
    fn place(&mut self, draft: &mut Draft<'_>) {
        let all: Vec<u32> = (0..draft.models.len() as u32).collect();
        all.iter().for_each(|&model| draft.unserve(model as usize));
        let models = &greedy::by_weight(draft, &all);
        self.fill(draft, models);
        if draft.problem.options().effort == Effort::Greedy {
            return;
        }
        self.improver.improve(draft, models, &self.prices);
        Greedy::new(draft, models, &self.prices).fill(draft, models);
        routing::route(draft, models);
        let improved = self.improver.improve(draft, models, &self.prices);
        routing::route(draft, &improved);
        models.iter().for_each(|&model| draft.release_idle(model as usize));
        let moved = evict::make_room(draft, &self.prices);
        routing::route(draft, &moved);
        while prices::relieve(draft, &mut self.improver) {}
        let rng = &mut Rng::new(draft.problem.options().seed);
        ruin(draft, &mut self.improver, &self.prices, rng);
    }

    /// From a plan that stands: replicas stay where they are, those that are needed now are added, and those that have
    /// become useless go. Nothing here makes a model dearer that nothing has happened to but that there is more to be had.
    fn repair(&mut self, draft: &mut Draft<'_>, changes: &Changes) {
        for &model in changes.reroute.iter().chain(&changes.replan) {
            routing::route_alone(draft, model as usize);
        }
        routing::serve_unserved(draft, &changes.wanting, false);
        let needy: Vec<u32> = changes.replan.iter().chain(&changes.wanting).copied().collect();
        self.fill(draft, &greedy::by_weight(draft, &needy));
        self.improver.trim(draft, &changes.shrunk, &self.prices);
        routing::route(draft, &greedy::by_weight(draft, &changes.replan));
        greedy::offer(draft, &changes.grown, &self.prices);
        routing::serve_unserved(draft, &changes.wanting, true);
    }

    /// Minimums first, then whatever pays.
    fn fill(&mut self, draft: &mut Draft<'_>, models: &[u32]) {
        if models.is_empty() {
            return;
        }
        let mut greedy = Greedy::new(draft, models, &self.prices);
        models.iter().for_each(|&model| greedy.minimum(draft, model as usize));
        greedy.fill(draft, models);
    }

    /// What no placement of each model can be below. A model that nothing has happened to has its bound from before.
    fn bounds(&mut self, draft: &Draft<'_>, changes: &mut Changes) -> Priced {
        let Some(prices) = changes.prices.take() else {
            return prices::bounds(draft, &mut self.improver, &mut self.dual, GAP_MAX);
        };
        // Where requests have become unserved, more can be proven than what held before.
        let is_kept = |model: usize| !draft.models[model].touched || draft.models[model].is_served();
        let bound = |(model, known): (usize, &Option<f64>)| {
            let kept = known.filter(|_| is_kept(model));
            kept.unwrap_or_else(|| self.improver.bound(draft, model, &prices, &mut self.dual))
        };
        let bounds = changes.bounds.iter().enumerate().map(bound).collect();
        Priced { prices, bounds }
    }
}

/// The plan of a model: the one before, where nothing was touched.
fn plan_of(draft: &Draft<'_>, previous: Option<&Plan>, changes: &Changes, model: usize) -> Arc<ModelPlan> {
    let key = &draft.problem.models[model].spec.key;
    let before = previous.filter(|_| !draft.models[model].touched && !changes.replan.contains(&(model as u32)));
    let before = before.and_then(|plan| {
        let at = plan.models.binary_search_by(|plan| plan.model.cmp(key)).ok()?;
        Some(plan.models[at].clone())
    });
    before.unwrap_or_else(|| finish::model_plan(draft, model))
}

/// What the next solve is to know. Then nothing of this plan has to be loaded, so its loads are taken off the bounds.
fn certificate(draft: &Draft<'_>, priced: &Priced) -> Certificate {
    let (problem, input) = (draft.problem, draft.problem.input);
    let proof = |(model, bound): (usize, &f64)| {
        let table = &problem.models[model];
        let loads = draft.differences(model).filter(|&(_, held)| held);
        let loads: f64 = loads.map(|(device, _)| draft.load_price(model, device)).sum();
        (table.spec.key.clone(), Proof { spec: certificate::spec(table), bound: bound - loads })
    };
    let Prices { per_byte, per_us } = &priced.prices;
    let group = |((group, &per_byte), &per_us): ((&Group, &f64), &f64)| {
        (group.mark(input), KnownGroup { open_bytes: problem.open_bytes(group), per_byte, per_us })
    };
    let groups = problem.groups.iter().zip(per_byte).zip(per_us).map(group).collect();
    Certificate {
        world: certificate::world(input),
        pops: input.pops.iter().map(|pop| (pop.id.clone(), certificate::pop(pop))).collect(),
        models: priced.bounds.iter().enumerate().map(proof).collect(),
        groups,
    }
}

#[cfg(test)]
mod tests;
