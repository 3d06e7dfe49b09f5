//! What PoPs are to hold and where requests go, in small fleets that say how they are.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::backoff::Backoff;
use crate::input::{Current, Settings, input};
use crate::rollout::meant;
use crate::testing::{add, books, heartbeat, intend, key, record, rule, trust};
use crate::view::LOST_AFTER_MS;
use headland_fleet::{Heartbeat, Intent, ModelReport, PolicyRule, RoundTrip};

/// A fleet to ask, at one moment.
struct Fleet {
    view: FleetView,
    backoff: Backoff,
    books: Books,
    now_ms: u64,
    said: u64,
}

impl Fleet {
    fn new(pops: &[(&str, &str)], books: Books) -> Self {
        let mut fleet = Fleet { view: FleetView::default(), backoff: Backoff::default(), books, now_ms: 0, said: 0 };
        for (pop, region) in pops {
            fleet.says(pop, region, &[]);
        }
        fleet
    }

    /// What `pop` says of models.
    fn says(&mut self, pop: &str, region: &str, models: &[(&str, ModelStanding)]) {
        let report =
            |(name, standing): &(&str, ModelStanding)| ModelReport { key: key(name), standing: standing.clone() };
        self.said += 1;
        let sequence = self.said;
        let models = models.iter().map(report).collect();
        let said = Heartbeat { sequence, models, ..heartbeat(pop, region) };
        self.backoff.note(&said, self.now_ms);
        self.view.hear(said, self.now_ms);
    }

    fn input(&self) -> Input {
        let current: Current =
            meant(&self.books).into_iter().map(|(name, version)| (name, BTreeSet::from([version]))).collect();
        input(&self.view, &self.books, &self.backoff, &current, &Settings::default(), self.now_ms)
    }

    fn scene<T>(&self, look: impl FnOnce(&Scene<'_>) -> T) -> T {
        let input = self.input();
        let (plan, _) = headland_placement::solve(&input, None).unwrap();
        look(&Scene::new(&self.view, &self.books, &input, &plan, self.now_ms))
    }

    /// Who is to hold `m`, and how.
    fn holders(&self) -> Vec<(String, Keep)> {
        let holdings = self.scene(|scene| scene.holdings());
        let held = holdings.iter().filter_map(|(pop, held)| Some((pop.to_string(), *held.get(&key("m"))?)));
        held.collect()
    }

    fn candidates(&self, region: &str) -> Vec<(String, f64)> {
        let routes = self.scene(|scene| scene.routes(&BTreeMap::new(), Term { era: 1, epoch: 1 }));
        let at = (region.parse().unwrap(), Routes::part_of(&key("m").name));
        let routed = routes.get(&at).and_then(|routes| routes.models.first());
        let candidates = routed.map_or(&[][..], |routed| &routed.candidates);
        candidates.iter().map(|candidate| (candidate.source.pop.to_string(), candidate.share)).collect()
    }
}

fn ready() -> ModelStanding {
    ModelStanding::Ready { device: "cpu".to_owned(), memory_bytes: 1 << 30, cost: None }
}

#[test]
fn what_is_planned_is_held_and_stays_where_it_is() {
    let mut fleet = Fleet::new(&[("a", "eu"), ("b", "us")], books(&[("m", "1")]));
    let holders = fleet.holders();
    let [(pop, Keep::Loaded)] = holders.as_slice() else { panic!("it is to be loaded: {holders:?}") };
    let other = if pop == "a" { "b" } else { "a" };
    fleet.says(other, if other == "a" { "eu" } else { "us" }, &[("m", ready())]);
    assert_eq!(fleet.holders(), [(other.to_owned(), Keep::Loaded)], "it is there already, so nothing moves");
}

#[test]
fn a_pop_that_drains_keeps_a_model_until_it_answers_elsewhere() {
    let mut fleet = Fleet::new(&[("a", "eu"), ("b", "eu")], books(&[("m", "1")]));
    fleet.says("a", "eu", &[("m", ready())]);
    intend(&mut fleet.books, "a", Intent::Draining);
    let both = [("a".to_owned(), Keep::Loaded), ("b".to_owned(), Keep::Loaded)];
    assert_eq!(fleet.holders(), both);
    assert_eq!(fleet.candidates("eu"), [("a".to_owned(), 1.0)], "only it answers yet");
    fleet.now_ms = 1;
    fleet.says("b", "eu", &[("m", ready())]);
    assert_eq!(fleet.holders(), [("b".to_owned(), Keep::Loaded)]);
}

#[test]
fn where_a_load_failed_it_is_not_tried_again_for_a_while() {
    let mut fleet = Fleet::new(&[("a", "eu"), ("b", "eu")], books(&[("m", "1"), ("n", "1")]));
    let failed = || ModelStanding::Failed { reason: "no disk".to_owned(), no_memory: false };
    fleet.says("a", "eu", &[("m", failed()), ("n", ready())]);
    assert_eq!(fleet.holders(), [("b".to_owned(), Keep::Loaded)]);
    let others = fleet.scene(|scene| scene.holdings());
    assert!(others[&"a".parse().unwrap()].contains_key(&key("n")), "others stay where they are");
    fleet.says("b", "eu", &[("m", failed())]);
    assert_eq!(fleet.holders(), [], "there is nowhere left to try now");
    fleet.now_ms = crate::backoff::FIRST_MS;
    fleet.says("a", "eu", &[]);
    fleet.says("b", "eu", &[]);
    assert_eq!(fleet.holders().len(), 1, "it is tried again");
}

#[test]
fn a_lost_pop_holds_nothing_and_is_asked_only_while_nobody_answers() {
    let mut fleet = Fleet::new(&[("a", "eu"), ("b", "eu")], books(&[("m", "1")]));
    fleet.says("a", "eu", &[("m", ready())]);
    fleet.now_ms = LOST_AFTER_MS;
    fleet.says("b", "eu", &[("m", ModelStanding::Loading)]);
    assert_eq!(fleet.holders(), [("b".to_owned(), Keep::Loaded)]);
    let loading = [("b".to_owned(), 1.0), ("a".to_owned(), 0.0)];
    assert_eq!(
        fleet.candidates("eu"),
        loading,
        "one will answer when it is loaded, the other may only be cut off from here"
    );
    fleet.says("b", "eu", &[("m", ready())]);
    assert_eq!(fleet.candidates("eu"), [("b".to_owned(), 1.0)]);
    fleet.now_ms += LOST_AFTER_MS;
    fleet.says("c", "eu", &[]);
    assert_eq!(fleet.candidates("eu"), [("a".to_owned(), 1.0), ("b".to_owned(), 0.0)]);
}

#[test]
fn the_files_of_a_model_that_nobody_asks_for_wait_in_one_place() {
    let mut books = Books::default();
    let mut idle = record("m", "1");
    idle.needs.min_replicas = 0;
    idle.needs.regions = vec!["us".parse().unwrap()];
    add(&mut books, &idle);
    let mut fleet = Fleet::new(&[("a", "eu"), ("b", "us"), ("c", "us")], books);
    assert_eq!(fleet.holders(), [("b".to_owned(), Keep::Stored)], "of equals the first, where it may be");
    fleet.now_ms = 1;
    fleet.says("c", "us", &[("m", ModelStanding::Stored)]);
    assert_eq!(fleet.holders(), [("c".to_owned(), Keep::Stored)], "they lie there already");
    assert_eq!(fleet.candidates("eu"), [("c".to_owned(), 1.0)], "the first request has it loaded there");
}

#[test]
fn what_says_the_same_is_not_written_again_but_by_another_leader() {
    let mut fleet = Fleet::new(&[("a", "eu"), ("b", "us")], books(&[("m", "1"), ("n", "1")]));
    fleet.says("a", "eu", &[("m", ready())]);
    let term = Term { era: 1, epoch: 3 };
    let (desired, routes) =
        fleet.scene(|scene| (scene.desired(&BTreeMap::new(), term), scene.routes(&BTreeMap::new(), term)));
    assert!(desired.values().all(|it| (it.epoch, it.generation) == (3, 1)));
    let again = fleet.scene(|scene| (scene.desired(&desired, term), scene.routes(&routes, term)));
    assert_eq!(again, (desired.clone(), routes.clone()));
    let next = fleet.scene(|scene| scene.desired(&desired, Term { epoch: 4, ..term }));
    assert!(next.values().all(|it| (it.epoch, it.generation) == (4, 2)), "its word is behind the new leader's fence");
}

#[test]
fn members_that_have_the_files_are_named_the_nearest_first_and_controls_last() {
    let mut fleet = Fleet::new(&[("far", "us"), ("near", "eu")], books(&[("m", "1")]));
    fleet.says("far", "us", &[("m", ready())]);
    fleet.says("near", "eu", &[("m", ModelStanding::Stored)]);
    let control = Heartbeat { storage_only: true, ..heartbeat("control", "eu") };
    fleet.view.hear(control, 0);
    fleet.view.hear(heartbeat("new", "eu"), 0);
    let sources = fleet.scene(|scene| scene.sources_of("new", &key("m")));
    let names: Vec<(String, bool)> = sources.into_iter().map(|it| (it.pop.to_string(), it.control)).collect();
    let expected = [("near", false), ("far", false), ("control", true)].map(|(pop, control)| (pop.to_owned(), control));
    assert_eq!(names, expected);
}

#[test]
fn whoever_is_about_to_stop_is_asked_last_and_gives_up_what_it_holds_once_that_answers_elsewhere() {
    let mut fleet = Fleet::new(&[("a", "eu"), ("b", "eu")], books(&[("m", "1")]));
    fleet.says("a", "eu", &[("m", ready())]);
    let report = |standing| vec![ModelReport { key: key("m"), standing }];
    let leaving = Heartbeat { sequence: 9, leaving: true, models: report(ready()), ..heartbeat("a", "eu") };
    fleet.view.hear(leaving, 0);
    assert_eq!(fleet.holders().len(), 2, "it goes on until the other one answers");
    assert_eq!(fleet.candidates("eu"), [("a".to_owned(), 1.0)]);
    fleet.said = 9;
    fleet.says("b", "eu", &[("m", ready())]);
    assert_eq!(fleet.holders(), [("b".to_owned(), Keep::Loaded)]);
    assert_eq!(fleet.candidates("eu"), [("b".to_owned(), 1.0), ("a".to_owned(), 0.0)]);
}

#[test]
fn round_trips_that_were_measured_go_before_the_map() {
    let mut fleet = Fleet::new(&[("far", "us"), ("near", "asia")], books(&[("m", "1")]));
    fleet.says("far", "us", &[("m", ready())]);
    fleet.says("near", "asia", &[("m", ready())]);
    let trip = |pop: &str, ms| RoundTrip { pop: pop.parse().unwrap(), ms };
    let round_trips = vec![trip("far", 80.0), trip("near", 9.0), trip("nobody", 1.0), trip("far", f64::NAN)];
    fleet.view.hear(Heartbeat { round_trips, ..heartbeat("new", "eu") }, 0);
    let names = |fleet: &Fleet| fleet.candidates("eu").into_iter().map(|(pop, _)| pop).collect::<Vec<_>>();
    assert_eq!(names(&fleet), ["near", "far"]);
    let input = fleet.input();
    let measured = |from: &str, to: &str| {
        let found = input.latency.measured.iter().find(|it| it.from.as_str() == from && it.to.as_str() == to);
        found.map(|it| it.round_trip_ms)
    };
    assert_eq!([measured("eu", "asia"), measured("us", "eu"), measured("asia", "us")], [Some(9.0), Some(80.0), None]);
}

#[test]
fn another_region_is_never_nearer_than_ones_own() {
    let mut fleet = Fleet::new(&[("there", "us"), ("here", "eu")], books(&[("m", "1")]));
    fleet.says("there", "us", &[("m", ready())]);
    fleet.says("here", "eu", &[("m", ready())]);
    // As two processes of one machine measure it.
    let round_trips = vec![RoundTrip { pop: "there".parse().unwrap(), ms: 0.1 }];
    fleet.view.hear(Heartbeat { round_trips, ..heartbeat("new", "eu") }, 0);
    let input = fleet.input();
    assert!(input.latency.measured.iter().all(|it| it.round_trip_ms >= input.latency.local_ms), "{input:?}");
}

#[test]
fn a_model_is_planned_for_only_where_the_policy_lets_it_run() {
    let pops = [("a", "eu"), ("b", "us")];
    let within = |region: &str| PolicyRule { regions: Some([region.to_owned()].into()), ..rule("models/*") };
    for (pop, region) in pops {
        let mut fleet = Fleet::new(&pops, books(&[("m", "1")]));
        trust(&mut fleet.books, vec![within(region)]);
        assert_eq!(fleet.holders(), [(pop.to_owned(), Keep::Loaded)], "only {region} is allowed");
    }
    for rules in [vec![within("asia")], vec![PolicyRule { admits: false, ..rule("models/m") }], Vec::new()] {
        let mut fleet = Fleet::new(&pops, books(&[("m", "1")]));
        trust(&mut fleet.books, rules);
        assert_eq!(fleet.holders(), [], "it would be refused wherever it came");
        let input = fleet.input();
        let (_, report) = headland_placement::solve(&input, None).unwrap();
        assert_eq!(report.unplaced.len(), 1, "and that is said");
    }
    let mut fleet = Fleet::new(&pops, books(&[("m", "1")]));
    trust(&mut fleet.books, vec![PolicyRule { accelerators: Some(["cuda".to_owned()].into()), ..rule("models/*") }]);
    assert_eq!(fleet.holders(), [], "it may run on GPUs alone, and there is none");
}
