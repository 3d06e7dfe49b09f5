//! A new version goes out in waves: one PoP, a share of them, all. Each wave is watched against the version it replaces, and
//! the first sign of harm takes the new one back everywhere.
//!
//! Pure. What a PoP's callers mean by a bare name is the alias `stable` there, and that is all a wave moves.

use std::collections::{BTreeMap, BTreeSet};

use headland_fleet::{Demand, Document, ModelKey};
use headland_package::{ModelName, ModelVersion, PopId, Sha256Digest};
use serde::{Deserialize, Serialize};

use crate::books::Books;

/// The alias that a bare name means.
pub const STABLE: &str = "stable";
/// The part of the PoPs that each wave takes in, in percent; the first takes one in any case.
pub const WAVES_PERCENT: [u32; 3] = [0, 25, 100];
/// How long a wave is watched before the next one, unless it gets too few requests to judge by.
pub const WATCH_MS: u64 = 60_000;
/// How long a wave is watched that gets too few requests.
pub const WATCH_MS_MAX: u64 = 10 * 60_000;
/// Requests from which on a wave can be judged.
pub const REQUESTS_MIN: u64 = 50;
/// The part of the requests that may fail beyond those that failed with the old version, in percent.
pub const FAILURES_PERCENT_MAX: f64 = 2.0;
/// How much slower than the old version the new one may be, in percent.
pub const SLOWER_PERCENT_MAX: f64 = 50.0;
/// A difference in latency below so many microseconds is no reason to take a version back.
pub const SLOWER_US_MIN: f64 = 5_000.0;
/// Heartbeats with a measured latency that it takes to judge by it: one of a machine that was busy for a moment tells little.
pub const LATENCIES_MIN: u32 = 5;

/// How a version takes the place of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// The model.
    pub name: ModelName,
    /// The version before.
    pub from: Option<ModelVersion>,
    /// The version that is to be.
    pub to: ModelVersion,
    /// How far it came: the position in [`WAVES_PERCENT`].
    pub wave: usize,
    /// What became of it.
    pub state: RolloutState,
}

impl Document for Rollout {
    const WHAT: &'static str = "rollout";
}

/// What became of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum RolloutState {
    /// It goes on by itself.
    Running,
    /// It stands where it is until it is resumed.
    Paused,
    /// The new version serves everywhere.
    Done,
    /// The old version serves everywhere again.
    Back {
        /// Why.
        reason: String,
    },
}

/// What a wave's PoPs and the others have seen since the wave began.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    since_ms: u64,
    seen: BTreeMap<ModelVersion, Seen>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Seen {
    requests: u64,
    failures: u64,
    /// Latencies at the PoPs that ran it, and how many were told.
    latency_sum_us: f64,
    latencies: u32,
}

impl Evidence {
    /// Nothing yet, from `now_ms` on.
    pub fn since(now_ms: u64) -> Self {
        Evidence { since_ms: now_ms, seen: BTreeMap::new() }
    }

    /// Takes in what a PoP's callers saw of a version.
    pub fn note(&mut self, demand: &Demand) {
        let seen = self.seen.entry(demand.key.version.clone()).or_default();
        seen.requests = seen.requests.saturating_add(demand.requests);
        seen.failures = seen.failures.saturating_add(demand.failures);
    }

    /// Takes in how long a version took where it ran. What its callers waited for it says less: the few replicas of a new version
    /// are further away.
    pub fn ran(&mut self, version: &ModelVersion, latency_us: f64) {
        let seen = self.seen.entry(version.clone()).or_default();
        (seen.latency_sum_us, seen.latencies) = (seen.latency_sum_us + latency_us, seen.latencies.saturating_add(1));
    }

    fn of(&self, version: &ModelVersion) -> Seen {
        self.seen.get(version).copied().unwrap_or_default()
    }
}

impl Seen {
    /// On average, where enough was told.
    fn latency_us(self) -> Option<f64> {
        (self.latencies >= LATENCIES_MIN).then(|| self.latency_sum_us / f64::from(self.latencies))
    }

    fn failures_percent(self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.failures as f64 * 100.0 / self.requests as f64 }
    }
}

impl Rollout {
    /// The rollout that a change of the current version asks for: `None` if there is nothing to do.
    pub fn begin(known: Option<&Rollout>, name: &ModelName, current: &ModelVersion, books: &Books) -> Option<Rollout> {
        let at_once = |from| Rollout {
            name: name.clone(),
            from,
            to: current.clone(),
            wave: WAVES_PERCENT.len() - 1,
            state: RolloutState::Done,
        };
        let Some(known) = known else { return Some(at_once(None)) };
        if known.to == *current {
            return None;
        }
        let serves = known.settled().clone();
        let is_there = |version: &ModelVersion| {
            books.models.values().any(|kept| kept.record.key.name == *name && kept.record.key.version == *version)
        };
        // Back to what serves, or from what is not there any more: there is nothing to be careful about.
        if serves == *current || !is_there(&serves) {
            return Some(at_once(Some(serves)));
        }
        Some(Rollout {
            name: name.clone(),
            from: Some(serves),
            to: current.clone(),
            wave: 0,
            state: RolloutState::Running,
        })
    }

    /// The version that serves where no wave has come.
    pub fn settled(&self) -> &ModelVersion {
        match (&self.state, &self.from) {
            (RolloutState::Done, _) | (_, None) => &self.to,
            (_, Some(from)) => from,
        }
    }

    /// Both versions of one that is under way.
    pub fn versions(&self) -> impl Iterator<Item = &ModelVersion> {
        let new = matches!(self.state, RolloutState::Running | RolloutState::Paused).then_some(&self.to);
        std::iter::once(self.settled()).chain(new.filter(|to| *to != self.settled()))
    }

    /// The PoPs, of these, whose callers mean the new version by the bare name, while not all of them do: those that the waves so
    /// far have come to. Waves come in an order drawn from the version's name, so that it is not the same PoP that goes first
    /// every time.
    pub fn taken(&self, pops: &[&PopId]) -> BTreeSet<PopId> {
        if !matches!(self.state, RolloutState::Running | RolloutState::Paused) {
            return BTreeSet::new();
        }
        let percent = WAVES_PERCENT.get(self.wave).copied().unwrap_or(100) as usize;
        let taken = (pops.len() * percent).div_ceil(100).max(1);
        let place = |pop: &PopId| *Sha256Digest::of(format!("{} {} {pop}", self.name, self.to).as_bytes()).as_bytes();
        let mut order: Vec<_> = pops.iter().map(|pop| (place(pop), *pop)).collect();
        order.sort_unstable();
        order.into_iter().take(taken).map(|(_, pop)| pop.clone()).collect()
    }

    /// What is to become of it, from what was seen since its wave began: `None` if it stays as it is.
    pub fn step(&self, evidence: &Evidence, now_ms: u64) -> Option<Rollout> {
        let (RolloutState::Running, Some(from)) = (&self.state, &self.from) else { return None };
        let (old, new) = (evidence.of(from), evidence.of(&self.to));
        if let Some(reason) = harm(old, new) {
            return Some(Rollout { state: RolloutState::Back { reason }, ..self.clone() });
        }
        let watched_ms = now_ms.saturating_sub(evidence.since_ms);
        let enough = watched_ms >= WATCH_MS && new.requests >= REQUESTS_MIN;
        if !enough && watched_ms < WATCH_MS_MAX {
            return None;
        }
        let last = self.wave + 1 >= WAVES_PERCENT.len();
        Some(match last {
            true => Rollout { state: RolloutState::Done, ..self.clone() },
            false => Rollout { wave: self.wave + 1, ..self.clone() },
        })
    }
}

/// Why the new version is worse than the old one, if it is.
fn harm(old: Seen, new: Seen) -> Option<String> {
    if new.requests < REQUESTS_MIN {
        return None;
    }
    let (was, is) = (old.failures_percent(), new.failures_percent());
    if is > was + FAILURES_PERCENT_MAX {
        return Some(format!(
            "{is:.1} % of {} requests failed, and {was:.1} % of {} before",
            new.requests, old.requests
        ));
    }
    let (was_us, is_us) = (old.latency_us()?, new.latency_us()?);
    if is_us > was_us * (1.0 + SLOWER_PERCENT_MAX / 100.0) && is_us - was_us >= SLOWER_US_MIN {
        let (is, was) = (is_us / 1_000.0, was_us / 1_000.0);
        return Some(format!("requests took {is:.1} ms on average, and {was:.1} ms before"));
    }
    None
}

/// The version of each model that people mean when they name none: what `stable` stands for, or else the highest.
pub fn meant(books: &Books) -> BTreeMap<ModelName, ModelVersion> {
    let mut meant: BTreeMap<ModelName, ModelVersion> = BTreeMap::new();
    for kept in books.models.values() {
        let ModelKey { name, version } = &kept.record.key;
        let highest = meant.entry(name.clone()).or_insert_with(|| version.clone());
        *highest = (*highest).clone().max(version.clone());
    }
    for kept in books.aliases.values() {
        let stable = kept.record.aliases.get(STABLE);
        let is_there = |version: &&ModelVersion| {
            books
                .models
                .values()
                .any(|model| model.record.key.name == kept.record.name && model.record.key.version == **version)
        };
        if let (Some(stable), Some(meant)) = (stable.filter(is_there), meant.get_mut(&kept.record.name)) {
            *meant = stable.clone();
        }
    }
    meant
}

#[cfg(test)]
mod tests;
