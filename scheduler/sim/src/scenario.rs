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
    /// How often the control plane hears how demand has moved.
    pub demand_s: u32,
    /// What a PoP pulls models at, over the network.
    pub pull_bytes_per_s: f64,
    /// What it loads them at, from its disk.
    pub load_bytes_per_s: f64,
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
            demand_s: 4 * 3_600,
            pull_bytes_per_s: 125e6,
            load_bytes_per_s: 1e9,
            diurnal_swing: 0.5,
            burstiness: 0.3,
            samples_per_step: 400,
            faults: Faults::default(),
        }
    }
}

/// A scenario that makes no run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ScenarioError {
    /// There is nothing to simulate.
    #[error("a run needs at least one PoP, model, place and hour, and steps and demand of at least a second")]
    Empty,
    /// There is too much.
    #[error("{what} is {given}, and may be at most {most}")]
    TooMuch {
        /// Which number.
        what: &'static str,
        /// How large it is.
        given: usize,
        /// How large it may be.
        most: usize,
    },
    /// A number is none that could be meant.
    #[error("{0} must be a number from 0 to ten thousand")]
    Number(&'static str),
    /// A rate of bytes is none that anything arrives at.
    #[error("{0} must be at least one byte a second, and at most a petabyte")]
    Rate(&'static str),
}

impl SimScenario {
    /// Scenarios that go by a name.
    pub const NAMES: [&str; 3] = ["world", "day", "small"];

    /// A scenario of [`Self::NAMES`]: the standard fleet for ten days or for one, or a small one for half a day.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "world" => Some(Self::default()),
            "day" => Some(Self { hours: 24, ..Self::default() }),
            "small" => Some(Self {
                pops: 60,
                gpu_pops: 12,
                models: 40,
                places: 30,
                hours: 12,
                samples_per_step: 100,
                faults: Faults { pop_crashes_per_day: 20.0, regions_lost: 0, control_outages: 0, ..Faults::default() },
                ..Self::default()
            }),
            _ => None,
        }
    }

    /// Whether it makes a run that ends.
    ///
    /// # Errors
    /// [`ScenarioError`].
    pub fn check(&self) -> Result<(), ScenarioError> {
        let sizes = [self.pops, self.models, self.places];
        if sizes.contains(&0) || [self.hours, self.step_s, self.demand_s].contains(&0) {
            return Err(ScenarioError::Empty);
        }
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let most = [
            ("pops", self.pops, 20_000),
            ("gpu_pops", self.gpu_pops, self.pops),
            ("models", self.models, 10_000),
            ("places", self.places, 1_000),
            ("hours", count(self.hours), 366 * 24),
            ("samples_per_step", self.samples_per_step, 1_000_000),
            ("faults.regions_lost", count(self.faults.regions_lost), 10_000),
            ("faults.control_outages", count(self.faults.control_outages), 10_000),
        ];
        for (what, given, most) in most {
            if given > most {
                return Err(ScenarioError::TooMuch { what, given, most });
            }
        }
        let faults = &self.faults;
        let numbers = [
            ("diurnal_swing", self.diurnal_swing),
            ("burstiness", self.burstiness),
            ("faults.pop_crashes_per_day", faults.pop_crashes_per_day),
            ("faults.partitions_per_day", faults.partitions_per_day),
            ("faults.slow_disks_per_day", faults.slow_disks_per_day),
        ];
        if let Some((what, _)) = numbers.into_iter().find(|(_, number)| !(0.0..=1e4).contains(number)) {
            return Err(ScenarioError::Number(what));
        }
        let rates = [("pull_bytes_per_s", self.pull_bytes_per_s), ("load_bytes_per_s", self.load_bytes_per_s)];
        let wrong = rates.into_iter().find(|(_, rate)| !(1.0..=1e15).contains(rate));
        wrong.map_or(Ok(()), |(what, _)| Err(ScenarioError::Rate(what)))
    }

    /// The fleet it starts from.
    pub fn fleet(&self) -> Scenario {
        let Self { pops, gpu_pops, models, places, seed, .. } = *self;
        Scenario { pops, gpu_pops, models, places, seed }
    }
}
