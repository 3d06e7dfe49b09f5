//! Runs of small fleets in simulated time: equal seeds give equal outcomes, and what fails is told.

use headland_placement::Plan;

use super::*;
use crate::control::Planner;
use crate::faults::Faults;

fn small() -> SimScenario {
    SimScenario {
        pops: 60,
        gpu_pops: 12,
        models: 40,
        places: 30,
        hours: 12,
        samples_per_step: 100,
        faults: Faults { pop_crashes_per_day: 20.0, regions_lost: 0, control_outages: 0, ..Faults::default() },
        ..SimScenario::default()
    }
}

fn run(scenario: &SimScenario) -> Outcome {
    simulate(scenario, &mut Planner).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_outcome_bit_for_bit() {
    let (a, b) = (run(&small()), run(&small()));
    assert_eq!(serde_json::to_string(&a).unwrap(), serde_json::to_string(&b).unwrap());
    assert_ne!(a, run(&SimScenario { seed: 2, ..small() }));
}

#[test]
fn without_faults_every_request_is_answered_by_its_first_candidate() {
    let still = Faults {
        pop_crashes_per_day: 0.0,
        partitions_per_day: 0.0,
        slow_disks_per_day: 0.0,
        regions_lost: 0,
        control_outages: 0,
    };
    let outcome = run(&SimScenario { faults: still, replan_s: 1_000_000, ..small() });
    assert!(outcome.requests > 1_000);
    assert!(outcome.hit_rate() > 0.999, "{outcome}");
    assert_eq!((outcome.first, outcome.plans), (outcome.answered, 1));
    assert_eq!(outcome.moved_bytes, outcome.filled_bytes);
}

#[test]
fn crashes_are_repaired_and_cost_bytes() {
    let outcome = run(&small());
    let crashes = outcome.faults.iter().filter(|fault| matches!(fault.kind, FaultKind::Pop(_))).count();
    assert!(crashes >= 8 && outcome.recoveries.len() >= crashes / 2, "{outcome}");
    assert!(outcome.recoveries.iter().all(|recovery| recovery.took_s >= 29.9), "{:?}", outcome.recoveries);
    assert!(outcome.moved_bytes > outcome.filled_bytes);
    assert!(outcome.hit_rate() > 0.97, "{outcome}");
}

#[test]
fn requests_are_answered_while_nobody_plans() {
    let faults = Faults { pop_crashes_per_day: 0.0, control_outages: 1, ..small().faults };
    let outcome = run(&SimScenario { faults, ..small() });
    assert!(outcome.hit_rate() > 0.99, "{outcome}");
}

/// Plans once and never again.
struct Once(Planner);

impl Controller for Once {
    fn plan(&mut self, seen: &Input, previous: Option<&Plan>) -> Result<Plan, InputError> {
        previous.map_or_else(|| self.0.plan(seen, None), |previous| Ok(previous.clone()))
    }
}

#[test]
fn a_control_plane_that_never_replans_loses_more_requests() {
    let scenario = SimScenario { faults: Faults { pop_crashes_per_day: 80.0, ..small().faults }, ..small() };
    let (planned, once) = (run(&scenario), simulate(&scenario, &mut Once(Planner)).unwrap());
    assert!(planned.hit_rate() > once.hit_rate(), "{planned}{once}");
}

#[test]
fn a_scenario_without_pops_is_refused() {
    assert!(matches!(simulate(&SimScenario { pops: 0, ..small() }, &mut Planner), Err(SimError::Empty)));
}
