//! What a solve says about its plan: how good it is, how full devices are, what is missing and what would help.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{DeviceClassName, ModelKey};
use crate::input::Loaded;
use crate::plan::Cost;

mod missing;

pub use missing::{Missing, Unplaced};

/// How good a plan is, and what it changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The objective in its parts.
    pub cost: Cost,
    /// No plan for this input has a smaller objective.
    pub lower_bound: f64,
    /// By how much of the objective the best plan could be better at most: `(objective - bound) / objective`.
    pub gap: f64,
    /// How full the devices of each class are.
    pub utilisation: Vec<Utilisation>,
    /// What could not be placed, and what would help; what counts most comes first.
    pub unplaced: Vec<Unplaced>,
    /// What has to change.
    pub moves: Moves,
}

/// How full the devices of a class are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Utilisation {
    /// The class.
    pub class: DeviceClassName,
    /// Devices that may hold models.
    pub devices: u32,
    /// Their memory.
    pub memory_bytes: u64,
    /// What of it is planned.
    pub memory_used_bytes: u64,
    /// The share of all their time that is planned, 0 to 1.
    pub busy_mean: f64,
    /// The share of the busiest one's time, at most [`crate::Options::utilisation_max`].
    pub busy_max: f64,
}

/// What a plan changes against what is loaded or was planned before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moves {
    /// To be loaded.
    pub loads: Vec<Loaded>,
    /// To be given up.
    pub unloads: Vec<Loaded>,
    /// Bytes of what is to be loaded.
    pub load_bytes: u64,
}

impl Report {
    /// What is missing for a model.
    pub fn unplaced_of(&self, key: &ModelKey) -> impl Iterator<Item = &Unplaced> {
        self.unplaced.iter().filter(move |unplaced| &unplaced.model == key)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.cost.total();
        writeln!(
            f,
            "objective {total:.1}, no plan is below {:.1}: within {:.2} %",
            self.lower_bound,
            self.gap * 100.0
        )?;
        let Cost { network, compute, fallback, holding, loading, shortfall } = self.cost;
        writeln!(
            f,
            "  network {network:.1}, compute {compute:.1}, fallback {fallback:.1}, holding {holding:.1}, \
             loading {loading:.1}, shortfall {shortfall:.1}"
        )?;
        let Moves { loads, unloads, load_bytes } = &self.moves;
        writeln!(f, "{} to load ({}), {} to unload", loads.len(), bytes(*load_bytes), unloads.len())?;
        for class in &self.utilisation {
            writeln!(
                f,
                "{}: {} devices, {} of {} filled, busy {:.0} % on average and {:.0} % at most",
                class.class,
                class.devices,
                bytes(class.memory_used_bytes),
                bytes(class.memory_bytes),
                class.busy_mean * 100.0,
                class.busy_max * 100.0
            )?;
        }
        self.unplaced.iter().try_for_each(|unplaced| writeln!(f, "{unplaced}"))
    }
}

/// Bytes as people say them.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let text = if value < 10.0 && value.fract() >= 0.05 { format!("{value:.1}") } else { format!("{value:.0}") };
    format!("{text} {}", UNITS[unit])
}
