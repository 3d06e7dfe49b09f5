//! Who decides: the seam between the simulation and a control plane.

use headland_placement::{InputError, Plan, check, solve};

/// Plans from what can be seen of the fleet. The real control loop's pure parts can stand here instead of [`Planner`].
pub trait Controller {
    /// The plan from now on, given what is known and the plan before.
    ///
    /// # Errors
    /// If what is known contradicts itself.
    fn plan(&mut self, seen: &headland_placement::Input, previous: Option<&Plan>) -> Result<Plan, InputError>;
}

/// Solves, holds the plan against the checker, and keeps the one before if it does not hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct Planner;

impl Controller for Planner {
    fn plan(&mut self, seen: &headland_placement::Input, previous: Option<&Plan>) -> Result<Plan, InputError> {
        let (plan, _) = solve(seen, previous)?;
        match (check(seen, previous, &plan), previous) {
            (Err(_), Some(previous)) => Ok(previous.clone()),
            _ => Ok(plan),
        }
    }
}
