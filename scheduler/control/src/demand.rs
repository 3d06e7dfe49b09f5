//! What is asked for, and where: requests a second for each PoP and model, smoothed, so that a plan does not follow every gust.

use std::collections::BTreeMap;

use headland_fleet::{Heartbeat, ModelKey};
use headland_package::{PopId, RegionName};

/// Half of what was known counts after so long.
pub const HALF_LIFE_MS: f64 = 60_000.0;
/// Below so many requests a second, a model is not asked for.
pub const RATE_MIN: f64 = 1e-3;
/// The most models of one PoP whose demand is kept.
const MODELS_MAX: usize = 10_000;
/// A PoP's demand counts for so long after it fell silent: its callers go elsewhere, and ask for the same.
const SILENT_MS_MAX: u64 = 5 * 60_000;

/// Smoothed demand.
#[derive(Debug, Default)]
pub struct DemandBook {
    pops: BTreeMap<PopId, PopDemand>,
}

#[derive(Debug)]
struct PopDemand {
    region: RegionName,
    heard_ms: u64,
    /// Requests a second.
    rates: BTreeMap<ModelKey, f64>,
}

impl DemandBook {
    /// Takes in what a heartbeat says of its window, and whether that may change what is asked for.
    pub(crate) fn note(&mut self, heartbeat: &Heartbeat, now_ms: u64) -> bool {
        let region = &heartbeat.place.region;
        let fresh = || PopDemand { region: region.clone(), heard_ms: now_ms, rates: BTreeMap::new() };
        let pop = self.pops.entry(heartbeat.pop.clone()).or_insert_with(fresh);
        let window_ms = heartbeat.window_ms as f64;
        (pop.region, pop.heard_ms) = (region.clone(), now_ms);
        if heartbeat.window_ms == 0 {
            return false;
        }
        let had_none = pop.rates.is_empty();
        let kept = 0.5_f64.powf(window_ms / HALF_LIFE_MS);
        pop.rates.values_mut().for_each(|rate| *rate *= kept);
        for demand in &heartbeat.demand {
            let rate = demand.requests as f64 * 1_000.0 / window_ms;
            if pop.rates.len() < MODELS_MAX || pop.rates.contains_key(&demand.key) {
                *pop.rates.entry(demand.key.clone()).or_default() += rate * (1.0 - kept);
            }
        }
        pop.rates.retain(|_, rate| *rate >= RATE_MIN);
        !(had_none && pop.rates.is_empty())
    }

    /// PoPs whose demand counts.
    pub(crate) fn pops(&self) -> usize {
        self.pops.len()
    }

    pub(crate) fn forget_old(&mut self, now_ms: u64) {
        self.pops.retain(|_, pop| now_ms.saturating_sub(pop.heard_ms) < SILENT_MS_MAX);
    }

    /// Requests a second for each model in each region.
    pub fn by_region(&self) -> BTreeMap<(RegionName, ModelKey), f64> {
        let mut sums = BTreeMap::new();
        for pop in self.pops.values() {
            for (model, rate) in &pop.rates {
                *sums.entry((pop.region.clone(), model.clone())).or_default() += rate;
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{asked, heartbeat};

    #[test]
    fn demand_follows_what_is_asked_and_fades_when_nothing_is() {
        let mut book = DemandBook::default();
        let key = |book: &DemandBook| book.by_region().into_values().next().unwrap_or_default();
        for second in 0..300 {
            book.note(
                &Heartbeat { demand: vec![asked("m", 20)], window_ms: 2_000, ..heartbeat("a", "eu") },
                second * 2_000,
            );
        }
        assert!((key(&book) - 10.0).abs() < 0.1, "{book:?}");
        for second in 300..330 {
            book.note(&Heartbeat { window_ms: 2_000, ..heartbeat("a", "eu") }, second * 2_000);
        }
        assert!((key(&book) - 5.0).abs() < 0.1, "half of it after a half-life: {book:?}");
        book.forget_old(330 * 2_000 + SILENT_MS_MAX);
        assert_eq!(book.by_region(), BTreeMap::new());
    }

    #[test]
    fn regions_sum_up_their_pops() {
        let mut book = DemandBook::default();
        for (pop, region) in [("a", "eu"), ("b", "eu"), ("c", "us")] {
            let said = Heartbeat { demand: vec![asked("m", 600)], window_ms: 60_000, ..heartbeat(pop, region) };
            book.note(&said, 0);
        }
        let rates: Vec<(String, f64)> =
            book.by_region().into_iter().map(|((region, _), rate)| (region.to_string(), rate)).collect();
        assert_eq!(rates, [("eu".to_owned(), 10.0), ("us".to_owned(), 5.0)]);
    }
}
