//! The whole solve: tables, phases, plan, report.

use std::collections::HashMap;

use crate::bits::Bits;
use crate::draft::Draft;
use crate::finish;
use crate::greedy::greedy;
use crate::ids::PopId;
use crate::input::{Input, Loaded};
use crate::plan::Plan;
use crate::problem::{InputError, Problem};
use crate::report::Report;

mod reporting;

/// Plans which device holds which model and where demand goes.
///
/// What `previous` planned and what the input says is loaded stays where nothing is gained by moving it.
///
/// # Errors
/// If the input contradicts itself. An input that cannot be satisfied is no error: what counts most is placed, and the
/// report says what is missing.
pub fn solve(input: &Input, previous: Option<&Plan>) -> Result<(Plan, Report), InputError> {
    let problem = Problem::new(input)?;
    let present = present(&problem, previous);
    let mut draft = Draft::new(&problem, present);
    greedy(&mut draft);
    let models = (0..problem.models.len()).map(|model| finish::model_plan(&draft, model)).collect();
    let plan = Plan { models, certificate: None };
    let report = reporting::report(&draft, previous, &plan);
    Ok((plan, report))
}

/// What is loaded or was planned, `model x device`. What names a PoP, device or model that is gone is passed over.
fn present(problem: &Problem<'_>, previous: Option<&Plan>) -> Bits {
    let pops: HashMap<&PopId, u32> = problem.input.pops.iter().map(|pop| &pop.id).zip(0..).collect();
    let mut present = Bits::new(problem.models.len(), problem.devices.len());
    let mut mark = |loaded: &Loaded| {
        let model = problem.models.binary_search_by(|model| model.spec.key.cmp(&loaded.model)).ok()?;
        let device = problem.device_at(*pops.get(&loaded.pop)?, loaded.device.0)?;
        present.set(model, device as usize, true);
        Some(())
    };
    for loaded in &problem.input.current {
        mark(loaded);
    }
    for loaded in previous.into_iter().flat_map(Plan::replicas) {
        mark(&loaded);
    }
    present
}

#[cfg(test)]
mod tests;
