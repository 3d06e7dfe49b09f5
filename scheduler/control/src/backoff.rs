//! Where a model failed to load, it is not tried again at once, but later and later; and a device that had less room than it
//! said is believed no more than what it was seen to hold.

use std::collections::BTreeMap;

use headland_fleet::{Heartbeat, ModelKey, ModelStanding};
use headland_package::PopId;

/// How long a PoP is not tried after the first failure.
pub const FIRST_MS: u64 = 30_000;
/// The longest it is not tried.
pub const LONGEST_MS: u64 = 30 * 60_000;

/// What failed where.
#[derive(Debug, Default)]
pub struct Backoff {
    failed: BTreeMap<(PopId, ModelKey), Failed>,
}

#[derive(Clone, Debug)]
struct Failed {
    /// How often, without a success in between.
    times: u32,
    until_ms: u64,
    reason: String,
}

/// A model that is not tried at a PoP for a while.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Held {
    /// The PoP.
    pub pop: PopId,
    /// Why it failed there, the last time it was tried.
    pub reason: String,
    /// When it may be tried again, in milliseconds from now.
    pub again_ms: u64,
}

impl Backoff {
    /// Takes in what a PoP says came of its models.
    pub fn note(&mut self, heartbeat: &Heartbeat, now_ms: u64) {
        for model in &heartbeat.models {
            let at = (heartbeat.pop.clone(), model.key.clone());
            match &model.standing {
                ModelStanding::Ready { .. } => drop(self.failed.remove(&at)),
                ModelStanding::Failed { reason, .. } => {
                    let first = || Failed { times: 0, until_ms: 0, reason: reason.clone() };
                    let failed = self.failed.entry(at).or_insert_with(first);
                    // The same failure is told with every heartbeat; it counts anew once it may have been tried anew.
                    if now_ms >= failed.until_ms {
                        let wait = FIRST_MS.saturating_mul(1 << failed.times.min(16)).min(LONGEST_MS);
                        let (times, until_ms) = (failed.times.saturating_add(1), now_ms.saturating_add(wait));
                        *failed = Failed { times, until_ms, reason: reason.clone() };
                    }
                }
                ModelStanding::Loading | ModelStanding::Stored => {}
            }
        }
    }

    /// Whether `model` is not to be tried at `pop` now.
    pub fn holds(&self, pop: &PopId, model: &ModelKey, now_ms: u64) -> bool {
        self.failed.get(&(pop.clone(), model.clone())).is_some_and(|failed| now_ms < failed.until_ms)
    }

    /// Every pair that is not to be tried now.
    pub fn held(&self, now_ms: u64) -> impl Iterator<Item = (&PopId, &ModelKey)> {
        let held = self.failed.iter().filter(move |(_, failed)| now_ms < failed.until_ms);
        held.map(|((pop, model), _)| (pop, model))
    }

    /// Where `model` is not tried now, and why.
    pub fn held_of(&self, model: &ModelKey, now_ms: u64) -> Vec<Held> {
        let held = self.failed.iter().filter(|((_, key), failed)| key == model && now_ms < failed.until_ms);
        let held = held.map(|((pop, _), failed)| Held {
            pop: pop.clone(),
            reason: failed.reason.clone(),
            again_ms: failed.until_ms.saturating_sub(now_ms),
        });
        held.collect()
    }

    /// Forgets what failed long ago.
    pub fn forget_old(&mut self, now_ms: u64) {
        self.failed.retain(|_, failed| now_ms < failed.until_ms.saturating_add(LONGEST_MS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{heartbeat, key};
    use headland_fleet::ModelReport;

    fn says(standing: ModelStanding) -> Heartbeat {
        Heartbeat { models: vec![ModelReport { key: key("m"), standing }], ..heartbeat("a", "eu") }
    }

    #[test]
    fn a_failure_is_tried_again_later_and_later_until_it_succeeds() {
        let (mut backoff, pop) = (Backoff::default(), "a".parse().unwrap());
        let failed = || says(ModelStanding::Failed { reason: "no".to_owned(), no_memory: false });
        let mut now = 0;
        for wait in [FIRST_MS, 2 * FIRST_MS, 4 * FIRST_MS] {
            backoff.note(&failed(), now);
            backoff.note(&failed(), now + wait - 1);
            assert!(backoff.holds(&pop, &key("m"), now + wait - 1));
            assert!(!backoff.holds(&pop, &key("m"), now + wait));
            now += wait;
        }
        let held = Held { pop: pop.clone(), reason: "no".to_owned(), again_ms: 4 * FIRST_MS };
        assert_eq!(backoff.held_of(&key("m"), now - 4 * FIRST_MS), [held]);
        backoff.note(&says(ModelStanding::Ready { device: "cpu".to_owned(), memory_bytes: 1, cost: None }), now);
        backoff.note(&failed(), now);
        assert!(!backoff.holds(&pop, &key("m"), now + FIRST_MS), "it counts from the beginning");
        backoff.forget_old(now + FIRST_MS + LONGEST_MS);
        assert_eq!(backoff.held(now).count(), 0);
    }
}
