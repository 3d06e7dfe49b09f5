//! Waves, what lets them go on, and what takes a version back.

use super::*;
use crate::testing::{asked, books, key};

fn version(text: &str) -> ModelVersion {
    text.parse().unwrap()
}

fn running(wave: usize) -> Rollout {
    Rollout { name: key("m").name, from: Some(version("1")), to: version("2"), wave, state: RolloutState::Running }
}

/// What callers saw: requests, failures and latency of a version.
fn seen(of: &[(&str, u64, u64, f64)], since_ms: u64) -> Evidence {
    let mut evidence = Evidence::since(since_ms);
    for (of, requests, failures, latency_us) in of {
        let key = ModelKey { version: version(of), ..key("m") };
        (0..LATENCIES_MIN).for_each(|_| evidence.ran(&key.version, *latency_us));
        evidence.note(&Demand { key, failures: *failures, ..asked("m", *requests) });
    }
    evidence
}

fn pops(count: usize) -> Vec<PopId> {
    (0..count).map(|index| format!("pop-{index}").parse().unwrap()).collect()
}

#[test]
fn waves_take_one_pop_and_then_a_share_and_then_all_and_never_let_one_go() {
    let pops = pops(40);
    let pops: Vec<&PopId> = pops.iter().collect();
    let at = |wave: usize| running(wave).taken(&pops);
    assert_eq!([at(0).len(), at(1).len(), at(2).len()], [1, 10, 40]);
    assert!(at(1).is_superset(&at(0)));
    let other = Rollout { to: version("3"), ..running(0) };
    assert_ne!(other.taken(&pops), at(0), "another version begins at another PoP");
}

#[test]
fn a_wave_goes_on_once_it_was_watched_for_long_enough() {
    let well = |since| seen(&[("1", 500, 2, 1_000.0), ("2", 100, 0, 1_100.0)], since);
    assert_eq!(running(0).step(&well(0), WATCH_MS - 1), None);
    assert_eq!(running(0).step(&well(0), WATCH_MS), Some(running(1)));
    let done = running(2).step(&well(0), WATCH_MS).unwrap();
    assert_eq!(done.state, RolloutState::Done);
    let few = seen(&[("2", 3, 0, 1_000.0)], 0);
    assert_eq!(running(0).step(&few, WATCH_MS_MAX - 1), None, "too few to judge by");
    assert_eq!(running(0).step(&few, WATCH_MS_MAX), Some(running(1)));
    let paused = Rollout { state: RolloutState::Paused, ..running(0) };
    assert_eq!(paused.step(&well(0), WATCH_MS_MAX), None);
}

#[test]
fn failures_and_slowness_take_a_version_back_at_once_and_everywhere() {
    let pops = pops(4);
    for (evidence, expected) in [
        (
            seen(&[("1", 1_000, 10, 1_000.0), ("2", 50, 2, 1_000.0)], 0),
            "4.0 % of 50 requests failed, and 1.0 % of 1000 before",
        ),
        (
            seen(&[("1", 50, 0, 10_000.0), ("2", 50, 0, 16_000.0)], 0),
            "requests took 16.0 ms on average, and 10.0 ms before",
        ),
    ] {
        let back = running(1).step(&evidence, 1).unwrap();
        assert_eq!(back.state, RolloutState::Back { reason: expected.to_owned() });
        assert_eq!((back.taken(&pops.iter().collect::<Vec<_>>()).len(), back.settled()), (0, &version("1")));
    }
    for fine in [
        seen(&[("1", 1_000, 10, 1_000.0), ("2", 49, 49, 9e9)], 0),
        seen(&[("1", 50, 0, 100.0), ("2", 50, 0, 4_900.0)], 0),
    ] {
        assert_eq!(running(0).step(&fine, 1), None, "too few, or too small a difference: {fine:?}");
    }
}

#[test]
fn a_change_of_the_current_version_begins_a_rollout_and_a_first_version_needs_none() {
    let name = key("m").name;
    let books = books(&[("m", "1"), ("m", "2"), ("m", "3")]);
    let begin = |known: Option<&Rollout>, to: &str| Rollout::begin(known, &name, &version(to), &books);
    let first = begin(None, "1").unwrap();
    assert_eq!((first.state.clone(), first.to.clone()), (RolloutState::Done, version("1")));
    assert_eq!(begin(Some(&first), "1"), None);
    assert_eq!(begin(Some(&first), "2"), Some(running(0)));
    let back = Rollout { state: RolloutState::Back { reason: String::new() }, ..running(1) };
    assert_eq!(begin(Some(&back), "2"), None, "it is not tried again by itself");
    assert_eq!(begin(Some(&back), "1").unwrap().state, RolloutState::Done, "it serves already");
    let next = begin(Some(&back), "3").unwrap();
    assert_eq!((next.from, next.state), (Some(version("1")), RolloutState::Running));
    let gone = Rollout { to: version("0"), from: None, state: RolloutState::Done, ..running(0) };
    assert_eq!(begin(Some(&gone), "2").unwrap().state, RolloutState::Done, "what served is not there any more");
}

#[test]
fn people_mean_stable_or_else_the_highest_version() {
    let mut books = books(&[("m", "9"), ("m", "10"), ("n", "1")]);
    assert_eq!(meant(&books)[&key("m").name], version("10"));
    crate::testing::alias(&mut books, "m", "stable", "9");
    assert_eq!(meant(&books)[&key("m").name], version("9"));
    crate::testing::alias(&mut books, "m", "stable", "8");
    assert_eq!(meant(&books)[&key("m").name], version("10"), "there is no 8");
}
