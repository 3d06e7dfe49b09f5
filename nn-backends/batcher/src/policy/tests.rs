//! What the policy promises, and what comes of it over time: a small simulation of one queue.

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);
const US: Duration = Duration::from_micros(1);
const ONE: [Flow; 1] = [Flow { served: 0.0, weight: 1.0 }];

fn live(arrived: Instant) -> Pending {
    Pending {
        arrived,
        deadline: None,
        abandoned: false,
        rows: 1,
        length: 1,
        cells: 1,
        kind: Some(0),
        flow: 0,
        priority: 0,
    }
}

fn text(now: Instant, length: usize) -> Pending {
    Pending { length, cells: length, ..live(now) }
}

fn world(now: Instant) -> World {
    World { now, idle: 1, gap: None, last_arrival: Some(now), cost: None }
}

/// Requests come every 100 us, and a run of its own costs one 2 ms more.
fn busy(now: Instant) -> World {
    let cost = Some(Estimate { fixed: 2 * MS, cell_us: 100.0 });
    World { gap: Some(100 * US), cost, ..world(now) }
}

fn batches(rows_max: usize) -> Policy {
    Policy { rows_max, delay_max: 5 * MS, ..Policy::single() }
}

#[test]
fn the_single_policy_runs_the_oldest_alone_and_at_once() {
    let now = Instant::now();
    let decision = decide(&[live(now), live(now)], &ONE, &Policy::single(), &busy(now));
    assert_eq!(decision, Decision { run: vec![0], ..Decision::default() });
}

#[test]
fn the_abandoned_and_the_expired_leave_before_a_batch_forms() {
    let now = Instant::now();
    let queue = [
        Pending { abandoned: true, ..live(now) },
        Pending { deadline: Some(now), ..live(now) },
        Pending { deadline: Some(now + MS), ..live(now) },
    ];
    let decision = decide(&queue, &ONE, &batches(8), &world(now));
    assert_eq!((decision.abandoned, decision.expired, decision.run), (vec![0], vec![1], vec![2]));
}

#[test]
fn a_lone_caller_does_not_wait() {
    let now = Instant::now();
    // It sends the next request when it has the answer to this one: never sooner than a run takes.
    let alone = World { gap: Some(3 * MS), ..busy(now) };
    assert_eq!(decide(&[live(now)], &ONE, &batches(8), &alone).run, [0]);
    let first = World { gap: None, ..busy(now) };
    assert_eq!(decide(&[live(now)], &ONE, &batches(8), &first).run, [0]);
    let unmeasured = World { cost: None, ..busy(now) };
    assert_eq!(decide(&[live(now)], &ONE, &batches(8), &unmeasured).run, [0]);
}

#[test]
fn it_waits_for_those_who_are_coming_while_that_saves_more_than_it_costs() {
    let now = Instant::now();
    let decision = decide(&[live(now), live(now)], &ONE, &batches(8), &busy(now));
    assert_eq!((decision.run.len(), decision.wake_at), (0, Some(now + 400 * US)), "four gaps at most");
    let many: Vec<Pending> = (0..30).map(|_| live(now)).collect();
    assert_eq!(decide(&many, &ONE, &batches(64), &busy(now)).run.len(), 30, "30 waits of 100 us cost 3 ms and save 2");
    let quiet = World { last_arrival: Some(now), ..busy(now + 400 * US) };
    assert_eq!(decide(&[live(now), live(now)], &ONE, &batches(8), &quiet).run, [0, 1], "nobody came");
}

#[test]
fn nobody_waits_longer_than_the_policy_says() {
    let now = Instant::now();
    let old = live(now - 5 * MS);
    assert_eq!(decide(&[old, live(now)], &ONE, &batches(8), &busy(now)).run, [0, 1]);
    let nearly = live(now - 5 * MS + 10 * US);
    assert_eq!(decide(&[nearly], &ONE, &batches(8), &busy(now)).wake_at, Some(now + 10 * US));
}

#[test]
fn a_full_batch_runs_at_once_and_takes_no_more() {
    let now = Instant::now();
    let queue = [live(now); 10];
    assert_eq!(decide(&queue, &ONE, &batches(4), &busy(now)).run, [0, 1, 2, 3]);
    let wide = [Pending { rows: 3, cells: 3, ..live(now) }, Pending { rows: 3, cells: 3, ..live(now) }, live(now)];
    assert_eq!(decide(&wide, &ONE, &batches(4), &busy(now)).run, [0, 2], "what fits beside the first");
    let huge = [Pending { rows: 100, cells: 100, ..live(now) }, live(now)];
    assert_eq!(decide(&huge, &ONE, &batches(4), &busy(now)).run, [0], "whose turn it is runs, however large");
}

#[test]
fn cells_are_bounded_too_with_padding_where_it_is_computed() {
    let now = Instant::now();
    let queue = [text(now, 100), text(now, 90), text(now, 60)];
    let policy = |padding| Policy { cells_max: 210, padding, ..batches(8) };
    assert_eq!(decide(&queue, &ONE, &policy(Padding::Skipped), &world(now)).run, [0, 1]);
    let exact = Policy { cells_max: 195, ..policy(Padding::Computed) };
    assert_eq!(decide(&queue, &ONE, &exact, &world(now)).run, [0], "2 rows of 100 are 200 cells");
}

#[test]
fn lengths_that_would_waste_padding_do_not_meet() {
    let now = Instant::now();
    let queue = [text(now, 16), text(now, 250), text(now, 14), text(now, 240)];
    let computed = Policy { padding: Padding::Computed, ..batches(8) };
    assert_eq!(decide(&queue, &ONE, &computed, &world(now)).run, [0, 2]);
    assert_eq!(decide(&queue, &ONE, &batches(8), &world(now)).run, [0, 1, 2, 3], "where it costs nothing they do");
}

#[test]
fn other_kinds_wait_for_their_own_run() {
    let now = Instant::now();
    let kind = |kind| Pending { kind, ..live(now) };
    let queue = [kind(Some(1)), kind(Some(2)), kind(None), kind(Some(1)), kind(None)];
    assert_eq!(decide(&queue, &ONE, &batches(8), &busy(now)).run, [0, 3]);
    assert_eq!(decide(&queue[2..], &ONE, &batches(8), &busy(now)).run, [0], "and what has no kind is alone");
}

#[test]
fn who_is_about_to_expire_goes_first_and_is_not_held_up_by_a_large_batch() {
    let now = Instant::now();
    let queue = [live(now), Pending { deadline: Some(now + 50 * MS), ..live(now) }];
    assert_eq!(decide(&queue, &ONE, &Policy::single(), &world(now)).run, [1]);
    // Ten rows of 100 us and 2 ms for the run: the eleventh would make it late.
    let tight = Pending { deadline: Some(now + 3 * MS), ..live(now) };
    let queue: Vec<Pending> = std::iter::once(tight).chain((0..20).map(|_| live(now))).collect();
    assert_eq!(decide(&queue, &ONE, &batches(64), &busy(now)).run.len(), 10);
}

#[test]
fn who_has_no_time_for_a_run_goes_where_others_fill_it() {
    let now = Instant::now();
    // A run of eight takes 2.8 ms.
    let until = |time| Pending { deadline: Some(now + time), ..live(now) };
    let many: Vec<Pending> = [until(3 * MS); 5].into_iter().chain([until(50 * MS); 8]).collect();
    let decision = decide(&many, &ONE, &batches(8), &busy(now));
    assert_eq!((decision.late, decision.run), ((0..5).collect(), (5..13).collect()));
    let few = decide(&many[..12], &ONE, &batches(8), &busy(now));
    assert_eq!((few.late.len(), few.run.len()), (0, 8), "there is nobody to run in their place");
    let unknown = decide(&many, &ONE, &batches(8), &world(now));
    assert!(unknown.late.is_empty(), "nothing is known of what a run takes");
    let single = decide(&many, &ONE, &Policy::single(), &busy(now));
    assert_eq!((single.late, single.run), (vec![], vec![0]), "one alone takes 2.1 ms");
}

#[test]
fn nobody_goes_for_the_flood_of_another_flow_or_for_what_is_less_urgent() {
    let now = Instant::now();
    let until = |time| Pending { deadline: Some(now + time), ..live(now) };
    let quiet = Pending { flow: 1, ..until(3 * MS) };
    let queue: Vec<Pending> = std::iter::once(quiet).chain([until(50 * MS); 20]).collect();
    let flows = [ONE[0], ONE[0]];
    assert!(decide(&queue, &flows, &batches(8), &busy(now)).late.is_empty());
    let less_urgent = Pending { priority: 1, ..until(50 * MS) };
    let queue: Vec<Pending> = std::iter::once(until(3 * MS)).chain([less_urgent; 20]).collect();
    assert!(decide(&queue, &ONE, &batches(8), &busy(now)).late.is_empty());
}

#[test]
fn priorities_decide_within_a_flow() {
    let now = Instant::now();
    let queue = [Pending { priority: 1, ..live(now) }, live(now), Pending { priority: 2, ..live(now) }];
    assert_eq!(decide(&queue, &ONE, &batches(2), &world(now)).run, [1, 0]);
}

#[test]
fn a_preferred_number_of_rows_runs_at_once() {
    let now = Instant::now();
    let policy = Policy { preferred: vec![4, 8], ..batches(16) };
    let queue = [live(now); 11];
    assert_eq!(decide(&queue, &ONE, &policy, &busy(now)).run.len(), 8);
    assert_eq!(decide(&queue[..5], &ONE, &policy, &busy(now)).run.len(), 4);
    assert!(decide(&queue[..3], &ONE, &policy, &busy(now)).wake_at.is_some(), "fewer wait for more");
}

#[test]
fn idle_executors_share_the_work_where_that_is_faster() {
    let now = Instant::now();
    let two = World { idle: 2, gap: None, ..busy(now) };
    let queue = [live(now); 60];
    assert_eq!(decide(&queue, &ONE, &batches(64), &two).run.len(), 30);
    assert_eq!(decide(&queue[..20], &ONE, &batches(64), &two).run.len(), 20, "10 rows are less than a run's own cost");
}

#[test]
fn an_empty_queue_asks_for_nothing() {
    assert_eq!(decide(&[], &[], &batches(8), &world(Instant::now())), Decision::default());
}

/// Runs a queue that never empties for `runs` batches and counts whose cells were served.
fn served(queue: &[Pending], weights: &[f64], policy: &Policy, runs: usize) -> Vec<f64> {
    let now = Instant::now();
    let mut flows: Vec<Flow> = weights.iter().map(|&weight| Flow { served: 0.0, weight }).collect();
    for _ in 0..runs {
        for position in decide(queue, &flows, policy, &world(now)).run {
            let flow = &mut flows[queue[position].flow];
            flow.served += queue[position].cells as f64 / flow.weight;
        }
    }
    flows.iter().map(|flow| flow.served * flow.weight).collect()
}

#[test]
fn a_flood_does_not_starve_the_others() {
    let now = Instant::now();
    let mut queue = vec![live(now); 200];
    queue.push(Pending { flow: 1, ..live(now) });
    let first = decide(&queue, &[Flow { served: 0.0, weight: 1.0 }; 2], &batches(4), &world(now)).run;
    assert!(first.contains(&200), "the one is in the very next batch: {first:?}");
    for length in [1, 40] {
        let mut queue = vec![text(now, 10); 50];
        queue.extend([Pending { flow: 1, length, cells: length, ..live(now) }; 3]);
        let served = served(&queue, &[1.0, 1.0], &Policy::single(), 2_000);
        let share = served[0] / (served[0] + served[1]);
        assert!((share - 0.5).abs() < 0.02, "by cells, not by requests: {served:?}");
    }
}

#[test]
fn weights_divide_what_there_is() {
    let now = Instant::now();
    let queue: Vec<Pending> = (0..60).map(|index| Pending { flow: index % 3, ..live(now) }).collect();
    let served = served(&queue, &[1.0, 2.0, 5.0], &batches(4), 1_000);
    let shares = served.iter().map(|cells| cells / served.iter().sum::<f64>());
    for (share, expected) in shares.zip([0.125, 0.25, 0.625]) {
        assert!((share - expected).abs() < 0.02, "{served:?}");
    }
}

proptest! {
    #[test]
    fn every_decision_is_sound(
        requests in prop::collection::vec(
            (0u64..50, prop::option::of(0u64..100), any::<bool>(), 1usize..6, 1usize..40, prop::option::of(0u64..3), 0usize..3, 0u8..3),
            0..40,
        ),
        rows_max in 1usize..10,
        cells_max in 1usize..200,
        delay_ms in 0u64..20,
        elapsed_ms in 0u64..100,
        idle in 1usize..4,
        gap_us in prop::option::of(1u64..5_000),
        cost in prop::option::of((0u64..5_000, 0.0..200.0f64)),
        preferred in any::<bool>(),
        skipped in any::<bool>(),
    ) {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let queue: Vec<Pending> = requests
            .iter()
            .map(|&(arrived, deadline, abandoned, rows, length, kind, flow, priority)| Pending {
                arrived: at(arrived), deadline: deadline.map(at), abandoned, rows, length, cells: rows * length, kind, flow, priority,
            })
            .collect();
        let padding = if skipped { Padding::Skipped } else { Padding::Computed };
        let preferred = if preferred { vec![2, 4] } else { vec![] };
        let policy = Policy { rows_max, cells_max, preferred, delay_max: Duration::from_millis(delay_ms), padding };
        let now = at(elapsed_ms);
        let cost = cost.map(|(fixed, cell_us)| Estimate { fixed: Duration::from_micros(fixed), cell_us });
        let last_arrival = queue.iter().map(|request| request.arrived).max();
        let world = World { now, idle, gap: gap_us.map(Duration::from_micros), last_arrival, cost };
        let decision = decide(&queue, &[Flow { served: 0.0, weight: 1.0 }; 3], &policy, &world);

        let run: Vec<&Pending> = decision.run.iter().map(|&i| &queue[i]).collect();
        let rows: usize = run.iter().map(|request| request.rows).sum();
        let longest = run.iter().map(|request| request.length).max().unwrap_or(0);
        let real: usize = run.iter().map(|request| request.cells).sum();
        let cells = if skipped { real } else { rows * longest };
        prop_assert!(run.len() <= 1 || (rows <= rows_max && cells <= cells_max));
        prop_assert!(cells as f64 <= real as f64 * (1.0 + PADDING_SHARE_MAX));
        prop_assert!(run.len() <= 1 || run.iter().all(|request| request.kind.is_some() && request.kind == run[0].kind));
        prop_assert!(decision.run.is_empty() || decision.wake_at.is_none());
        let alive = |request: &Pending| !request.abandoned && request.deadline.is_none_or(|d| d > now);
        prop_assert!(run.iter().all(|request| alive(request)));
        prop_assert!(decision.expired.iter().all(|&i| queue[i].deadline.is_some_and(|d| d <= now)));
        prop_assert!(decision.late.iter().all(|&i| queue[i].deadline.is_some() && alive(&queue[i])));
        prop_assert!(decision.late.is_empty() || !run.is_empty());
        let Decision { abandoned, expired, late, run, .. } = &decision;
        let mut once = [&abandoned[..], expired, late, run].concat();
        once.sort_unstable();
        let all = once.len();
        once.dedup();
        prop_assert_eq!(once.len(), all);
        // Nobody who could run is left waiting without a time to look again, and nobody waits for a batch to fill past the
        // policy's delay or a deadline.
        prop_assert_eq!(queue.iter().any(alive), !decision.run.is_empty() || decision.wake_at.is_some());
        if let Some(wake) = decision.wake_at {
            prop_assert!(wake > now);
            let oldest = queue.iter().filter(|request| alive(request)).map(|request| request.arrived).min();
            prop_assert!(oldest.is_some_and(|oldest| wake <= oldest + policy.delay_max));
            prop_assert!(queue.iter().filter(|request| alive(request)).all(|r| r.deadline.is_none_or(|d| d > wake)));
        }
    }
}
