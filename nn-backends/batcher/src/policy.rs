//! Which waiting requests run next. Pure: the queue and the time come in, a decision goes out.

use std::time::{Duration, Instant};

/// How a model's requests are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The most requests in one batch.
    pub batch_max: usize,
    /// The longest a request may wait for others to join it.
    pub delay_max: Duration,
}

impl Policy {
    /// Every request runs alone, at once.
    pub const SINGLE: Policy = Policy { batch_max: 1, delay_max: Duration::ZERO };
}

/// What the policy needs to know of a waiting request.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    /// When it entered the queue.
    pub arrived: Instant,
    /// When its caller stops waiting.
    pub deadline: Option<Instant>,
    /// Whether its caller has gone away already.
    pub abandoned: bool,
}

/// What an idle executor does now. Positions are in queue order and ascending.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Decision {
    /// Requests nobody waits for any more: they leave the queue unanswered.
    pub abandoned: Vec<usize>,
    /// Requests whose deadline has passed: they leave the queue and are told.
    pub expired: Vec<usize>,
    /// Requests to run together now. When it is empty, look again at `wake_at` or on the next arrival.
    pub run: Vec<usize>,
    /// When a batch that is still filling must run at the latest.
    pub wake_at: Option<Instant>,
}

/// Decides over `pending`, the queue in order of arrival.
///
/// First come, first served. A batch runs when it is full, when its oldest member has waited `delay_max`, or at once when
/// a member's deadline would pass before that; requests that are dead (abandoned or past their deadline) never enter one.
/// Reads no further into the queue than it must.
pub fn decide(pending: impl IntoIterator<Item = Pending>, policy: &Policy, now: Instant) -> Decision {
    let mut decision = Decision::default();
    let mut oldest = None;
    let mut earliest_deadline: Option<Instant> = None;
    for (position, request) in pending.into_iter().enumerate() {
        if request.abandoned {
            decision.abandoned.push(position);
        } else if request.deadline.is_some_and(|deadline| deadline <= now) {
            decision.expired.push(position);
        } else {
            oldest.get_or_insert(request.arrived);
            earliest_deadline = earliest_deadline.into_iter().chain(request.deadline).min();
            decision.run.push(position);
            if decision.run.len() >= policy.batch_max {
                return decision;
            }
        }
    }
    if let Some(oldest) = oldest {
        let due = oldest + policy.delay_max;
        if due > now && earliest_deadline.is_none_or(|deadline| deadline > due) {
            decision.run.clear();
            decision.wake_at = Some(due);
        }
    }
    decision
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn live(arrived: Instant) -> Pending {
        Pending { arrived, deadline: None, abandoned: false }
    }

    #[test]
    fn the_single_policy_runs_the_oldest_alone_and_at_once() {
        let now = Instant::now();
        let decision = decide([live(now), live(now)], &Policy::SINGLE, now);
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
        let decision = decide(queue, &Policy::SINGLE, now);
        assert_eq!((decision.abandoned, decision.expired, decision.run), (vec![0], vec![1], vec![2]));
    }

    #[test]
    fn a_filling_batch_waits_for_its_oldest_members_delay_and_no_longer() {
        let now = Instant::now();
        let policy = Policy { batch_max: 4, delay_max: 2 * MS };
        let waiting = decide([live(now), live(now + MS)], &policy, now + MS);
        assert_eq!((waiting.run.len(), waiting.wake_at), (0, Some(now + 2 * MS)));
        let due = decide([live(now), live(now + MS)], &policy, now + 2 * MS);
        assert_eq!((due.run, due.wake_at), (vec![0, 1], None));
    }

    #[test]
    fn a_batch_that_would_outlast_a_members_deadline_runs_at_once() {
        let now = Instant::now();
        let policy = Policy { batch_max: 4, delay_max: 2 * MS };
        let with_deadline =
            |deadline| decide([live(now), Pending { deadline: Some(deadline), ..live(now) }], &policy, now);
        assert_eq!(with_deadline(now + MS), Decision { run: vec![0, 1], ..Decision::default() });
        assert_eq!(with_deadline(now + 2 * MS).run, [0, 1], "at the end of the delay it would be too late");
        assert_eq!(with_deadline(now + 3 * MS), Decision { wake_at: Some(now + 2 * MS), ..Decision::default() });
    }

    #[test]
    fn an_empty_queue_asks_for_nothing() {
        assert_eq!(decide([], &Policy::SINGLE, Instant::now()), Decision::default());
    }

    proptest! {
        #[test]
        fn every_decision_is_sound(
            requests in prop::collection::vec((0u64..50, prop::option::of(0u64..100), any::<bool>()), 0..40),
            batch_max in 1usize..10,
            delay_ms in 0u64..20,
            elapsed_ms in 0u64..100,
        ) {
            let start = Instant::now();
            let at = |ms: u64| start + Duration::from_millis(ms);
            let queue: Vec<Pending> = requests
                .iter()
                .map(|&(arrived, deadline, abandoned)| Pending {
                    arrived: at(arrived),
                    deadline: deadline.map(at),
                    abandoned,
                })
                .collect();
            let policy = Policy { batch_max, delay_max: Duration::from_millis(delay_ms) };
            let now = at(elapsed_ms);
            let decision = decide(queue.iter().copied(), &policy, now);

            prop_assert!(decision.run.len() <= batch_max);
            prop_assert!(decision.run.is_empty() || decision.wake_at.is_none());
            prop_assert!(decision.run.iter().all(|&i| !queue[i].abandoned && queue[i].deadline.is_none_or(|d| d > now)));
            prop_assert!(decision.expired.iter().all(|&i| queue[i].deadline.is_some_and(|d| d <= now)));
            // Nobody who could run is left waiting without a time to look again.
            let runnable = queue.iter().any(|r| !r.abandoned && r.deadline.is_none_or(|d| d > now));
            prop_assert_eq!(runnable, !decision.run.is_empty() || decision.wake_at.is_some());
            prop_assert!(decision.wake_at.is_none_or(|at| at > now));
            // Nobody expires for a batch to fill.
            let in_time = |at| queue.iter().all(|r| r.abandoned || r.deadline.is_none_or(|d| d <= now || d > at));
            prop_assert!(decision.wake_at.is_none_or(in_time));
        }
    }
}
