//! Runs of small fleets in simulated time: equal seeds give equal outcomes, and what fails is told.

use super::*;
use crate::faults::Faults;

fn small() -> SimScenario {
    SimScenario::named("small").unwrap()
}

fn run(scenario: &SimScenario) -> Outcome {
    simulate(scenario, |_| ()).unwrap()
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
    let outcome = run(&SimScenario { faults: still, demand_s: 1_000_000, ..small() });
    assert!(outcome.requests > 1_000);
    assert!(outcome.hit_rate() > 0.999, "{outcome}");
    assert_eq!(outcome.first, outcome.answered);
    assert_eq!(outcome.moved_bytes, outcome.filled_bytes);
}

#[test]
fn crashes_are_repaired_and_cost_bytes() {
    let outcome = run(&small());
    let crashes = outcome.faults.iter().filter(|fault| matches!(fault.kind, FaultKind::Pop(_))).count();
    assert!(crashes >= 8 && outcome.recoveries.len() >= crashes / 2, "{outcome}");
    assert!(outcome.recoveries.iter().all(|recovery| recovery.took_s >= 10.0), "{:?}", outcome.recoveries);
    assert!(outcome.moved_bytes > outcome.filled_bytes);
    assert!(outcome.hit_rate() > 0.97, "{outcome}");
}

#[test]
fn requests_are_answered_while_nobody_plans() {
    let faults = Faults { pop_crashes_per_day: 0.0, control_outages: 1, ..small().faults };
    let outcome = run(&SimScenario { faults, ..small() });
    assert!(outcome.hit_rate() > 0.99, "{outcome}");
}

#[test]
fn a_scenario_without_pops_is_refused() {
    assert!(matches!(
        simulate(&SimScenario { pops: 0, ..small() }, |_| ()),
        Err(SimError::Scenario(ScenarioError::Empty))
    ));
}
