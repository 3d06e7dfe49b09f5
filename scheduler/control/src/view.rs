//! What the fleet looks like from here: the last heartbeat of every PoP, and which of them are still there.
//!
//! Kept in memory by every control plane, the leader or not, so that a standby that takes over knows the fleet at once. Pure:
//! whoever calls says what time it is.

use std::collections::BTreeMap;

use headland_fleet::{HEARTBEAT_EVERY_MS, Heartbeat};
use headland_package::PopId;

use crate::demand::DemandBook;

/// A PoP that was silent for so long gets no new models.
pub const LATE_AFTER_MS: u64 = 5 * HEARTBEAT_EVERY_MS / 2;
/// A PoP that was silent for so long is gone, and what it held is placed elsewhere.
pub const LOST_AFTER_MS: u64 = 5 * HEARTBEAT_EVERY_MS;
/// A PoP that was silent for so long is forgotten.
pub const FORGOTTEN_AFTER_MS: u64 = 24 * 3600 * 1000;
/// The most PoPs of a fleet.
pub const POPS_MAX: usize = 20_000;

/// The fleet as heard.
#[derive(Debug, Default)]
pub struct FleetView {
    pops: BTreeMap<PopId, PopView>,
    demand: DemandBook,
    /// Counts what was heard that was not known.
    news: u64,
}

/// A PoP as heard.
#[derive(Debug)]
pub struct PopView {
    /// What it said last.
    pub heartbeat: Heartbeat,
    /// When it said so.
    pub heard_ms: u64,
    /// Another of the same name, and when it was heard.
    pub rival: Option<Rival>,
}

/// A second PoP of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival {
    /// Its incarnation.
    pub incarnation: u64,
    /// Where its peer plane listens.
    pub address: String,
    /// When it was heard.
    pub heard_ms: u64,
}

/// Whether a PoP is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Liveness {
    /// It speaks.
    Live,
    /// It has been silent for a while.
    Late,
    /// It has been silent for too long.
    Lost,
}

/// What a heartbeat told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A PoP that was not known, or that was lost, is there.
    Joined,
    /// A known PoP started again.
    Restarted,
    /// How a known PoP is.
    Again,
    /// An old one, or one that is known not to be listened to: it changes nothing.
    Stale,
    /// One of a second PoP that goes by the name of a live one. It is not listened to.
    Rival(Rival),
    /// There are as many PoPs as there may be.
    TooMany,
}

impl FleetView {
    /// Takes in a heartbeat.
    pub fn hear(&mut self, heartbeat: Heartbeat, now_ms: u64) -> Heard {
        let full = self.pops.len() >= POPS_MAX;
        let heard = match self.pops.get_mut(&heartbeat.pop) {
            None if full => return Heard::TooMany,
            None => Heard::Joined,
            Some(known) => match known.judge(&heartbeat, now_ms) {
                Heard::Stale => return Heard::Stale,
                Heard::Rival(rival) => {
                    let before = known.rival.replace(rival.clone());
                    let is_known = before.is_some_and(|before| before.incarnation == rival.incarnation);
                    return if is_known { Heard::Stale } else { Heard::Rival(rival) };
                }
                heard => heard,
            },
        };
        let asks = self.demand.note(&heartbeat, now_ms);
        let before = self.pops.get(&heartbeat.pop);
        let says_the_same = before.is_some_and(|known| {
            known.liveness(now_ms) == Liveness::Live && known.rival.is_none() && same(&known.heartbeat, &heartbeat)
        });
        self.news += u64::from(asks || !says_the_same);
        self.pops.insert(heartbeat.pop.clone(), PopView { heartbeat, heard_ms: now_ms, rival: None });
        heard
    }

    /// Forgets those that were silent for [`FORGOTTEN_AFTER_MS`].
    pub fn forget_old(&mut self, now_ms: u64) {
        self.pops.retain(|_, pop| now_ms.saturating_sub(pop.heard_ms) < FORGOTTEN_AFTER_MS);
        self.demand.forget_old(now_ms);
    }

    /// Every PoP, by name.
    pub fn pops(&self) -> impl Iterator<Item = (&PopId, &PopView)> {
        self.pops.iter()
    }

    /// One PoP.
    pub fn pop(&self, id: &PopId) -> Option<&PopView> {
        self.pops.get(id)
    }

    /// The latest era that any PoP has heard of, no later than `latest`: one that lies must not lift it beyond what can be, for no
    /// store could be made anew after it.
    pub fn era(&self, latest: u64) -> u64 {
        self.pops.values().map(|pop| pop.heartbeat.era).filter(|era| *era <= latest).max().unwrap_or(0)
    }

    /// Grows with everything that was heard and was not known.
    pub fn news(&self) -> u64 {
        self.news
    }

    /// How many are late, and how many lost.
    pub fn silent(&self, now_ms: u64) -> (usize, usize) {
        let count = |which| self.pops.values().filter(|pop| pop.liveness(now_ms) == which).count();
        (count(Liveness::Late), count(Liveness::Lost))
    }

    /// What is asked for, and where.
    pub fn demand(&self) -> &DemandBook {
        &self.demand
    }
}

impl PopView {
    /// Whether it is there.
    pub fn liveness(&self, now_ms: u64) -> Liveness {
        match now_ms.saturating_sub(self.heard_ms) {
            silent if silent >= LOST_AFTER_MS => Liveness::Lost,
            silent if silent >= LATE_AFTER_MS => Liveness::Late,
            _ => Liveness::Live,
        }
    }

    fn judge(&self, new: &Heartbeat, now_ms: u64) -> Heard {
        let old = &self.heartbeat;
        if new.incarnation == old.incarnation {
            return match (new.sequence > old.sequence, self.liveness(now_ms)) {
                (false, _) => Heard::Stale,
                (true, Liveness::Lost) => Heard::Joined,
                (true, _) => Heard::Again,
            };
        }
        // Two cannot listen at one address: it is the same machine, started again.
        if new.address == old.address || self.liveness(now_ms) != Liveness::Live {
            return Heard::Restarted;
        }
        Heard::Rival(Rival { incarnation: new.incarnation, address: new.address.clone(), heard_ms: now_ms })
    }
}

/// Whether two heartbeats say the same of how a PoP is: what was asked of it is not looked at.
fn same(a: &Heartbeat, b: &Heartbeat) -> bool {
    let Heartbeat { sequence: _, demand: _, window_ms: _, pop, incarnation, place, address, listen, .. } = a;
    let Heartbeat { devices, era, epoch, generation, models, apps, .. } = a;
    let Heartbeat { round_trips, corrupt_sources, leaving, storage_only, .. } = a;
    (pop, incarnation, place, address, listen) == (&b.pop, &b.incarnation, &b.place, &b.address, &b.listen)
        && (devices, era, epoch, generation) == (&b.devices, &b.era, &b.epoch, &b.generation)
        && (models, apps, round_trips) == (&b.models, &b.apps, &b.round_trips)
        && (corrupt_sources, leaving, storage_only) == (&b.corrupt_sources, &b.leaving, &b.storage_only)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::heartbeat;

    fn said(pop: &str, incarnation: u64, sequence: u64, address: &str) -> Heartbeat {
        Heartbeat { incarnation, sequence, address: address.to_owned(), ..heartbeat(pop, "eu") }
    }

    #[test]
    fn a_pop_that_falls_silent_is_late_and_then_lost_and_may_come_back() {
        let mut view = FleetView::default();
        assert_eq!(view.hear(said("a", 1, 1, "a:1"), 0), Heard::Joined);
        assert_eq!(view.hear(said("a", 1, 2, "a:1"), 2_000), Heard::Again);
        assert_eq!(view.hear(said("a", 1, 2, "a:1"), 2_001), Heard::Stale);
        let pop = "a".parse().unwrap();
        let liveness = |view: &FleetView, now| view.pop(&pop).unwrap().liveness(now);
        assert_eq!(
            [6_999, 7_000, 12_000].map(|now| liveness(&view, now)),
            [Liveness::Live, Liveness::Late, Liveness::Lost]
        );
        assert_eq!(view.hear(said("a", 1, 3, "a:1"), 20_000), Heard::Joined);
        assert_eq!(liveness(&view, 20_000), Liveness::Live);
        view.forget_old(20_000 + FORGOTTEN_AFTER_MS);
        assert!(view.pop(&pop).is_none());
    }

    #[test]
    fn a_second_pop_of_one_name_is_told_from_a_restart() {
        let mut view = FleetView::default();
        let pop: PopId = "a".parse().unwrap();
        view.hear(said("a", 1, 9, "a:1"), 0);
        assert_eq!(view.hear(said("a", 2, 1, "a:1"), 500), Heard::Restarted, "it listens where the first did");
        let rival = Rival { incarnation: 3, address: "b:1".to_owned(), heard_ms: 1_000 };
        assert_eq!(view.hear(said("a", 3, 1, "b:1"), 1_000), Heard::Rival(rival.clone()));
        assert_eq!(view.hear(said("a", 3, 2, "b:1"), 1_000), Heard::Stale, "it is told once");
        assert_eq!(view.pop(&pop).unwrap().heartbeat.incarnation, 2);
        assert_eq!(view.pop(&pop).unwrap().rival, Some(rival));
        assert_eq!(view.hear(said("a", 3, 9, "b:1"), 9_000), Heard::Restarted, "the first is silent, so it moved");
        assert_eq!(view.pop(&pop).unwrap().rival, None);
    }

    #[test]
    fn what_is_known_is_no_news_and_an_era_that_cannot_be_does_not_count() {
        let mut view = FleetView::default();
        let era = |era, pop, sequence| Heartbeat { era, ..said(pop, 1, sequence, "x:1") };
        view.hear(era(5, "a", 1), 0);
        view.hear(era(u64::MAX, "liar", 1), 0);
        assert_eq!((view.era(1_000), view.era(u64::MAX)), (5, u64::MAX));
        let news = view.news();
        view.hear(era(5, "a", 2), 2_000);
        assert_eq!((view.news(), view.silent(2_000)), (news, (0, 0)));
        let mut fuller = era(5, "a", 3);
        fuller.devices[0].used_bytes += 1;
        view.hear(fuller.clone(), 4_000);
        assert_eq!(view.news(), news + 1);
        assert_eq!(
            (view.silent(8_000), view.silent(12_000)),
            ((1, 0), (1, 1)),
            "one is late and then lost, then the other"
        );
        view.hear(Heartbeat { sequence: 4, ..fuller.clone() }, 14_000);
        assert_eq!(view.news(), news + 2, "it was lost");
        view.hear(Heartbeat { sequence: 5, demand: vec![crate::testing::asked("m", 9)], ..fuller.clone() }, 14_100);
        view.hear(Heartbeat { sequence: 6, ..fuller }, 14_200);
        assert_eq!(view.news(), news + 4, "what is asked for fades");
    }
}
