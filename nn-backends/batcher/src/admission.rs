//! Whether a request is let into the queue, by how long it would wait there. Pure.
//!
//! There is one queue in front of executors whose cost is measured, so the wait can be computed: what waits already, over
//! what the executors get done. CoDel and gradient limits infer from delays that have happened what is known here before
//! they do, and refuse only when they have: a burst past the capacity would wait first and be told late. A request that
//! would be answered after its deadline is refused at once, in microseconds, and told when to come back.
//!
//! The wait is that of the request's own flow: the flood of one app keeps no other out.

use std::time::Duration;

use crate::policy::{Estimate, Policy};

/// The longest a request without a deadline may have to wait in the queue.
pub const QUEUE_DELAY_MAX: Duration = Duration::from_secs(10);

/// The share of the time until its deadline that a request's predicted answer may take. Predictions err; whoever is let in
/// is to be answered in time.
const TIME_SHARE: f64 = 0.8;

/// No wait is said to be longer.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// What stands before a new request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backlog {
    /// Waiting rows and cells, of all flows.
    pub rows: usize,
    pub cells: usize,
    /// Waiting requests.
    pub requests: usize,
    /// Those of the request's own flow.
    pub own_rows: usize,
    pub own_cells: usize,
    pub own_requests: usize,
    /// The own flow's weight over those of all flows that want something, itself included.
    pub share: f64,
    /// Time that the runs under way still take, all together.
    pub running: Duration,
    /// Executors.
    pub executors: usize,
    /// Executors with nothing to do.
    pub idle: usize,
}

/// A new request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Its cells, of all its parts.
    pub cells: usize,
    /// Parts that can run side by side.
    pub parts: usize,
}

impl Size {
    /// No request is smaller: one that is not admitted with this size is not with any.
    pub const LEAST: Size = Size { cells: 0, parts: 1 };
}

/// The time a new request of this `size` would wait, when it cannot be answered within `left`.
///
/// # Errors
/// That time.
pub(crate) fn admit(
    backlog: &Backlog,
    size: Size,
    left: Option<Duration>,
    policy: &Policy,
    cost: Option<Estimate>,
) -> Result<(), Duration> {
    // Whoever finds an idle executor is let in whatever the estimate: or a wrong one would never be corrected.
    let Some(cost) = cost.filter(|_| backlog.requests > 0 || backlog.idle == 0) else { return Ok(()) };
    let Backlog { rows, cells, requests, own_rows, own_cells, own_requests, .. } = *backlog;
    let all = Ahead::of(rows, cells, requests, policy, cost);
    let own = Ahead::of(own_rows, own_cells, own_requests, policy, cost).slowed(backlog.share);
    let executors = backlog.executors.max(1) as f64;
    let wait = |ahead: &Ahead| (ahead.before + backlog.running.as_secs_f64()) / executors;
    let first = if wait(&own) < wait(&all) { own } else { all };
    let told = Duration::try_from_secs_f64(wait(&first)).unwrap_or(WAIT_MAX).min(WAIT_MAX);
    let Some(left) = left else { return if told <= QUEUE_DELAY_MAX { Ok(()) } else { Err(told) } };
    let cells = size.cells / size.parts.clamp(1, backlog.executors.max(1));
    let run = cost.run(first.with.saturating_add(cells).min(first.with_max.max(cells)));
    match wait(&first) + run.as_secs_f64() <= left.as_secs_f64() * TIME_SHARE {
        true => Ok(()),
        false => Err(told),
    }
}

/// What a new request finds before it.
struct Ahead {
    /// Seconds of runs that start before its own, one after the other.
    before: f64,
    /// Cells it shares its own run with.
    with: usize,
    /// Cells that run holds.
    with_max: usize,
}

impl Ahead {
    fn of(rows: usize, cells: usize, requests: usize, policy: &Policy, cost: Estimate) -> Self {
        let seconds = |runs: f64, cells: f64| cost.fixed.as_secs_f64() * runs + cost.cell_us * cells / 1e6;
        if !policy.shares() {
            return Ahead { before: seconds(requests as f64, cells as f64), with: 0, with_max: 0 };
        }
        let runs = (rows as f64 / policy.rows_max as f64).max(cells as f64 / policy.cells_max as f64);
        let full = runs.floor();
        if full < 1.0 {
            return Ahead { before: 0.0, with: cells, with_max: usize::MAX };
        }
        // Requests come so fast that its own run, too, is full when it starts. One that is larger than a run is one run.
        let each = cells as f64 / runs;
        let before = seconds(full.min(requests as f64), each * full);
        Ahead { before, with: each as usize, with_max: each as usize }
    }

    /// Where only a `share` of all runs is for these.
    fn slowed(self, share: f64) -> Self {
        Ahead { before: self.before / share.clamp(0.001, 1.0), ..self }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const COST: Option<Estimate> = Some(Estimate { fixed: Duration::from_millis(2), cell_us: 1000.0 });

    const ONE: Size = Size { cells: 1, parts: 1 };

    fn batched() -> Policy {
        Policy { rows_max: 8, ..Policy::single() }
    }

    fn backlog(rows: usize) -> Backlog {
        Backlog {
            rows,
            cells: rows,
            requests: rows,
            own_rows: rows,
            own_cells: rows,
            own_requests: rows,
            share: 1.0,
            executors: 1,
            ..Backlog::default()
        }
    }

    #[test]
    fn a_wait_past_the_deadline_is_refused_and_told() {
        // 16 rows: two runs of 10 ms, and its own, which will be as full.
        assert_eq!(admit(&backlog(16), ONE, Some(38 * MS), &batched(), COST), Ok(()));
        assert_eq!(admit(&backlog(16), ONE, Some(37 * MS), &batched(), COST), Err(20 * MS));
        assert_eq!(admit(&backlog(16), ONE, Some(38 * MS), &Policy::single(), COST), Err(48 * MS));
        let halved = Backlog { executors: 2, ..backlog(16) };
        assert_eq!(admit(&halved, ONE, Some(25 * MS), &batched(), COST), Ok(()));
        // Three share a run with it: 6 ms.
        assert_eq!(admit(&backlog(3), ONE, Some(8 * MS), &batched(), COST), Ok(()));
        assert_eq!(admit(&backlog(3), ONE, Some(7 * MS), &batched(), COST), Err(Duration::ZERO));
    }

    #[test]
    fn without_a_deadline_the_queues_own_limit_counts() {
        assert_eq!(admit(&backlog(7_000), ONE, None, &batched(), COST), Ok(()));
        assert!(admit(&backlog(10_000), ONE, None, &batched(), COST).is_err());
        let huge = Size { cells: 1_000_000, parts: 1 };
        assert_eq!(admit(&backlog(1), huge, None, &batched(), COST), Ok(()), "it is the wait that is bounded");
    }

    #[test]
    fn an_idle_executor_and_an_unknown_cost_let_everybody_in() {
        let idle = Backlog { idle: 1, ..backlog(0) };
        assert_eq!(admit(&idle, Size { cells: 1_000_000, parts: 1 }, Some(MS), &batched(), COST), Ok(()));
        assert_eq!(admit(&backlog(16), ONE, Some(MS), &batched(), None), Ok(()));
    }

    #[test]
    fn parts_that_run_side_by_side_are_answered_sooner() {
        let two = Backlog { executors: 2, ..backlog(1) };
        let parts = |parts| admit(&two, Size { cells: 40, parts }, Some(40 * MS), &batched(), COST);
        assert_eq!((parts(1).is_err(), parts(4)), (true, Ok(())));
    }

    #[test]
    fn a_flood_of_others_does_not_keep_a_flow_out() {
        let flooded = Backlog { own_rows: 1, own_cells: 1, own_requests: 1, share: 0.5, ..backlog(1_000) };
        assert_eq!(admit(&flooded, ONE, Some(20 * MS), &batched(), COST), Ok(()));
        let own = Backlog { share: 0.5, ..backlog(1_000) };
        assert!(admit(&own, ONE, Some(20 * MS), &batched(), COST).is_err());
    }

    proptest! {
        #[test]
        fn whoever_the_least_size_does_not_help_no_size_helps(
            rows in 0usize..5_000,
            own_share in 0.0..1.0,
            share in 0.01..1.0,
            (executors, idle) in (1usize..5, 0usize..2),
            (running, left) in (0u64..500, prop::option::of(0u64..2_000)),
            rows_max in 1usize..65,
            (cells, parts) in (0usize..100_000, 1usize..100),
        ) {
            let own = (rows as f64 * own_share) as usize;
            let backlog = Backlog {
                own_rows: own,
                own_cells: own,
                own_requests: own,
                share,
                executors,
                idle: idle.min(executors),
                running: Duration::from_millis(running),
                ..backlog(rows)
            };
            let policy = Policy { rows_max, ..Policy::single() };
            let left = left.map(Duration::from_millis);
            if admit(&backlog, Size::LEAST, left, &policy, COST).is_err() {
                let size = Size { cells, parts };
                prop_assert!(admit(&backlog, size, left, &policy, COST).is_err());
            }
        }
    }
}
