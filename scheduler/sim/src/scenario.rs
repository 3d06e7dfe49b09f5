//! What is simulated.

use headland_placement::scenario::Scenario;
use serde::{Deserialize, Serialize};

use crate::faults::Faults;

/// A fleet, a span of time and what befalls it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimScenario {
    /// What everything random follows from.
    pub seed: u64,
    /// PoPs, at the coordinates of real cities.
    pub pops: usize,
    /// So many of them have accelerators.
    pub gpu_pops: usize,
    /// Models.
    pub models: usize,
    /// Places that demand comes from.
    pub places: usize,
    /// How long it goes on.
    pub hours: u32,
    /// Length of a step.
    pub step_s: u32,
    /// How often the plan follows measured demand.
    pub replan_s: u32,
    /// How long a PoP is silent before the control plane takes it for lost.
    pub heartbeat_timeout_s: u32,
    /// What a PoP pulls models at.
    pub pull_bytes_per_s: f64,
    /// How much demand swings between night and day: 0 is not at all, 1 is from nothing to twice the mean.
    pub diurnal_swing: f64,
    /// Coefficient of variation of demand from step to step, as published traces of inference services have it: their
    /// arrivals are well described by Gamma distributions (BurstGPT, arXiv 2401.17644; Azure LLM inference trace 2023).
    pub burstiness: f64,
    /// Requests drawn in each step to measure latency with.
    pub samples_per_step: usize,
    /// What fails.
    pub faults: Faults,
}

impl Default for SimScenario {
    fn default() -> Self {
        Self {
            seed: 1,
            pops: 4_300,
            gpu_pops: 300,
            models: 1_000,
            places: 300,
            hours: 240,
            step_s: 300,
            replan_s: 4 * 3_600,
            heartbeat_timeout_s: 30,
            pull_bytes_per_s: 125e6,
            diurnal_swing: 0.5,
            burstiness: 0.3,
            samples_per_step: 400,
            faults: Faults::default(),
        }
    }
}

impl SimScenario {
    /// The fleet it starts from.
    pub fn fleet(&self) -> Scenario {
        let Self { pops, gpu_pops, models, places, seed, .. } = *self;
        Scenario { pops, gpu_pops, models, places, seed }
    }
}
