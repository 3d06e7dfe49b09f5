//! Where a model failed to load, it is not tried again at once, but later and later; and a device that had less room than it
//! said is believed no more than what it was seen to hold. A load that does not end is a failure too.

use std::collections::BTreeMap;

use headland_fleet::{Heartbeat, ModelKey, ModelStanding};
use headland_package::PopId;

use crate::view::FORGOTTEN_AFTER_MS;

/// How long a PoP is not tried after the first failure.
pub const FIRST_MS: u64 = 30_000;
/// The longest it is not tried.
pub const LONGEST_MS: u64 = 30 * 60_000;
/// How long a PoP may say that it loads a model before that counts as failed: a model of 20 GiB comes in this time at 6 MB/s.
pub const LOADING_MS_MAX: u64 = 60 * 60_000;

/// What failed where.
#[derive(Debug, Default)]
pub struct Backoff {
    failed: BTreeMap<(PopId, ModelKey), Failed>,
    /// Since when each PoP says that it loads what it loads.
    loading: BTreeMap<PopId, BTreeMap<ModelKey, u64>>,
    /// Counts what was begun to be held back.
    begun: u64,
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
        let before = self.loading.remove(&heartbeat.pop).unwrap_or_default();
        let mut loading = BTreeMap::new();
        for model in &heartbeat.models {
            let at = (heartbeat.pop.clone(), model.key.clone());
            match &model.standing {
                ModelStanding::Ready { .. } => drop(self.failed.remove(&at)),
                ModelStanding::Failed { reason, .. } => self.hold(at, reason, FIRST_MS, now_ms),
                ModelStanding::Loading => {
                    let since_ms = before.get(&model.key).copied().unwrap_or(now_ms);
                    loading.insert(model.key.clone(), since_ms);
                    if now_ms.saturating_sub(since_ms) >= LOADING_MS_MAX {
                        let minutes = LOADING_MS_MAX / 60_000;
                        let reason = format!("it has been loading there for more than {minutes} minutes");
                        self.hold(at, &reason, LONGEST_MS, now_ms);
                    }
                }
                ModelStanding::Stored => {}
            }
        }
        if !loading.is_empty() {
            self.loading.insert(heartbeat.pop.clone(), loading);
        }
    }

    /// Holds a model back at a PoP. The same failure is told with every heartbeat; it counts anew once it may have been tried anew.
    fn hold(&mut self, at: (PopId, ModelKey), reason: &str, first_ms: u64, now_ms: u64) {
        let first = || Failed { times: 0, until_ms: 0, reason: reason.to_owned() };
        let failed = self.failed.entry(at).or_insert_with(first);
        if now_ms >= failed.until_ms {
            let wait = first_ms.saturating_mul(1 << failed.times.min(16)).min(LONGEST_MS);
            let (times, until_ms) = (failed.times.saturating_add(1), now_ms.saturating_add(wait));
            *failed = Failed { times, until_ms, reason: reason.to_owned() };
            self.begun += 1;
        }
    }

    /// How often something was held back, and how much is now.
    pub fn count(&self, now_ms: u64) -> (u64, usize) {
        (self.begun, self.held(now_ms).count())
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
        let is_old = |since_ms: &u64| now_ms.saturating_sub(*since_ms) >= FORGOTTEN_AFTER_MS;
        self.loading.retain(|_, models| !models.values().all(is_old));
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

    #[test]
    fn a_load_that_does_not_end_counts_as_failed_for_as_long_as_it_goes_on() {
        let (mut backoff, pop) = (Backoff::default(), "a".parse().unwrap());
        backoff.note(&says(ModelStanding::Loading), 0);
        backoff.note(&says(ModelStanding::Loading), LOADING_MS_MAX - 1);
        assert!(!backoff.holds(&pop, &key("m"), LOADING_MS_MAX - 1));
        for now in [LOADING_MS_MAX, LOADING_MS_MAX + LONGEST_MS] {
            backoff.note(&says(ModelStanding::Loading), now);
            assert!(backoff.holds(&pop, &key("m"), now + LONGEST_MS - 1), "at {now}");
        }
        let reason = backoff.held_of(&key("m"), LOADING_MS_MAX)[0].reason.clone();
        assert_eq!(reason, "it has been loading there for more than 60 minutes");
        // It stopped to load, and begins anew: that is another load.
        let now = LOADING_MS_MAX + 2 * LONGEST_MS;
        backoff.note(&says(ModelStanding::Stored), now);
        backoff.note(&says(ModelStanding::Loading), now + 1);
        assert!(!backoff.holds(&pop, &key("m"), now + 1));
    }
}
