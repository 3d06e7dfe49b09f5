//! What a plan is to be like: how full devices may be, and what the parts of the objective weigh.

use serde::{Deserialize, Serialize};

/// The weights of a solve.
///
/// The objective is **milliseconds that requests wait, in each second**: requests per second, times milliseconds each, times
/// the model's value. Memory held, loads and what is missing are priced in the same unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Decides between equals. The same input, previous plan and seed give the same plan.
    pub seed: u64,
    /// The share of a device's time that may be planned for. The rest keeps queues short: at 0.7 a request waits about as
    /// long as a run takes.
    pub utilisation_max: f64,
    /// What a request counts that no replica is planned for.
    pub fallback_ms: f64,
    /// What a CPU adds to each request of a model that prefers an accelerator.
    pub preferred_penalty_ms: f64,
    /// What loading a GiB costs once, spread over the time a plan is expected to hold.
    pub load_price_per_gib: f64,
    /// What each replica counts that a model's minimum asks for and the plan lacks, and each missing failure domain.
    pub shortfall_price: f64,
    /// How much is done for a better plan.
    pub effort: Effort,
    /// A model whose demand has changed by less than this share is not planned anew.
    pub demand_change_min: f64,
}

/// How much is done for a better plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effort {
    /// The first phase alone: what it is worth to do more is measured against it.
    Greedy,
    /// All phases.
    #[default]
    Full,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            utilisation_max: 0.7,
            fallback_ms: 2_000.0,
            preferred_penalty_ms: 0.0,
            load_price_per_gib: 0.5,
            shortfall_price: 10_000.0,
            effort: Effort::Full,
            demand_change_min: 0.05,
        }
    }
}

impl Options {
    /// How long a request waits for its turn on a device that is as full as it may be, as a share of a run: the mean of an
    /// M/D/1 queue (Pollaczek and Khinchine), `u / (2 (1 - u))`.
    pub fn waiting_share(&self) -> f64 {
        self.utilisation_max / (2.0 * (1.0 - self.utilisation_max))
    }
}
