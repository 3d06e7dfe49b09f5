//! What happened between two heartbeats, from counters that only grow.

use std::collections::BTreeMap;
use std::sync::Arc;

use headland_batcher::{Failure, Model};
use headland_fleet::{Cost, Demand, ModelKey};

/// A model's counters at one moment. They begin anew when it is loaded anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests that were answered.
    pub answered: u64,
    /// Requests that failed, by bad input or by our own fault.
    pub failed: u64,
    /// Requests that were turned away because there was too much to do.
    pub shed: u64,
    /// From request to answer, over all answered ones, in microseconds.
    pub latency_us: u64,
    /// Time that its executors computed, in microseconds. 0 for a model that is elsewhere.
    pub busy_us: u64,
    /// Of all requests, those that other PoPs passed on.
    pub from_peers: u64,
}

/// The counters of models, as they stand now.
pub fn counters(models: &[Arc<Model>]) -> BTreeMap<ModelKey, Counters> {
    let of = |model: &Arc<Model>| {
        let (info, stats) = (model.info(), model.stats());
        let key = ModelKey { name: info.name.clone(), version: info.version.clone() };
        // A version that takes no more what the one before took fails too: what is bad input is told by comparing the two.
        let failed = [Failure::Backend, Failure::Other].map(|category| stats.failure(category)).iter().sum();
        let shed = stats.failure(Failure::Rejected);
        let counters = Counters {
            answered: stats.success(),
            failed,
            shed,
            latency_us: stats.request_us(),
            busy_us: model.busy_us(),
            from_peers: stats.from_peers(),
        };
        (key, counters)
    };
    models.iter().map(of).collect()
}

/// Requests a cost is measured over at least.
const MEASURED_MIN: u64 = 20;

/// What grew from `before` to `now`.
fn since(before: Option<&Counters>, now: &Counters) -> Counters {
    // Fewer than before: it was loaded anew, and counts from nothing.
    let before = before.filter(|before| before.answered <= now.answered && before.failed <= now.failed);
    let before = before.copied().unwrap_or_default();
    Counters {
        answered: now.answered.saturating_sub(before.answered),
        failed: now.failed.saturating_sub(before.failed),
        shed: now.shed.saturating_sub(before.shed),
        latency_us: now.latency_us.saturating_sub(before.latency_us),
        busy_us: now.busy_us.saturating_sub(before.busy_us),
        from_peers: now.from_peers.saturating_sub(before.from_peers),
    }
}

/// Remembers counters from one heartbeat to the next.
#[derive(Debug, Default)]
pub struct Meter {
    demand: BTreeMap<ModelKey, Counters>,
    /// Summed up until they are enough to measure by.
    cost: BTreeMap<ModelKey, (Counters, Counters)>,
    costs: BTreeMap<ModelKey, Cost>,
}

impl Meter {
    /// What this PoP's own callers asked for since the last call. `local` are models here, `routed` those elsewhere that
    /// requests from here were sent to.
    pub fn demand(
        &mut self,
        local: &BTreeMap<ModelKey, Counters>,
        routed: &BTreeMap<ModelKey, Counters>,
    ) -> Vec<Demand> {
        let mut own: BTreeMap<ModelKey, Counters> = BTreeMap::new();
        for (key, counters) in local.iter().chain(routed) {
            let sum = own.entry(key.clone()).or_default();
            *sum = Counters {
                answered: sum.answered.saturating_add(counters.answered),
                failed: sum.failed.saturating_add(counters.failed),
                shed: sum.shed.saturating_add(counters.shed),
                latency_us: sum.latency_us.saturating_add(counters.latency_us),
                busy_us: 0,
                from_peers: sum.from_peers.saturating_add(counters.from_peers),
            };
        }
        let mut demand = Vec::new();
        for (key, now) in &own {
            let grown = since(self.demand.get(key), now);
            let all = grown.answered.saturating_add(grown.failed).saturating_add(grown.shed);
            let requests = all.saturating_sub(grown.from_peers);
            if requests > 0 {
                let latency_us = grown.latency_us as f64 / grown.answered.max(1) as f64;
                let (failures, shed) = (grown.failed.min(requests), grown.shed.min(requests));
                demand.push(Demand { key: key.clone(), requests, failures, shed, latency_us });
            }
        }
        self.demand = own;
        demand
    }

    /// What requests of the models here cost, as far as enough were measured.
    pub fn costs(&mut self, local: &BTreeMap<ModelKey, Counters>) -> &BTreeMap<ModelKey, Cost> {
        self.cost.retain(|key, _| local.contains_key(key));
        self.costs.retain(|key, _| local.contains_key(key));
        for (key, now) in local {
            let (start, _) = self.cost.entry(key.clone()).or_insert((*now, *now));
            let grown = since(Some(start), now);
            if now.answered < start.answered {
                *start = *now;
            } else if grown.answered >= MEASURED_MIN {
                let of = |sum: u64| sum as f64 / grown.answered as f64;
                let (request_us, latency_us) = (of(grown.busy_us), of(grown.latency_us));
                self.costs.insert(key.clone(), Cost { request_us, latency_us, failures: grown.failed });
                *start = *now;
            }
        }
        &self.costs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ModelKey {
        ModelKey { name: "m".parse().unwrap(), version: "1".parse().unwrap() }
    }

    fn at(answered: u64, from_peers: u64) -> BTreeMap<ModelKey, Counters> {
        let counters = Counters {
            answered,
            from_peers,
            latency_us: answered * 1_000,
            busy_us: answered * 300,
            ..Counters::default()
        };
        BTreeMap::from([(key(), counters)])
    }

    #[test]
    fn demand_is_what_callers_here_asked_for_wherever_it_was_answered() {
        let (mut meter, none) = (Meter::default(), BTreeMap::new());
        let requests = |demand: Vec<Demand>| demand.iter().map(|it| it.requests).collect::<Vec<_>>();
        assert_eq!(requests(meter.demand(&at(10, 4), &none)), [6], "four of them came from other PoPs");
        assert_eq!(requests(meter.demand(&at(10, 4), &none)), [0; 0]);
        assert_eq!(requests(meter.demand(&at(12, 4), &at(5, 0))), [7]);
        assert_eq!(requests(meter.demand(&at(3, 0), &none)), [3], "it was loaded anew");
    }

    #[test]
    fn a_cost_is_told_once_enough_was_measured() {
        let mut meter = Meter::default();
        assert!(meter.costs(&at(100, 0)).is_empty());
        assert!(meter.costs(&at(100 + MEASURED_MIN - 1, 0)).is_empty());
        let cost = *meter.costs(&at(100 + MEASURED_MIN, 0)).get(&key()).unwrap();
        assert_eq!((cost.request_us, cost.latency_us), (300.0, 1_000.0));
        assert_eq!(meter.costs(&at(1, 0)).len(), 1, "what was measured stays until there is better");
        assert!(meter.costs(&BTreeMap::new()).is_empty());
    }
}
