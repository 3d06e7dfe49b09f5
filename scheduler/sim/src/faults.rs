//! What fails and for how long, drawn from the seed before time begins.

use headland_package::PopId;
use headland_placement::Rng;
use serde::{Deserialize, Serialize};

use crate::world::World;

/// How much fails.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// PoPs that crash in a day.
    pub pop_crashes_per_day: f64,
    /// PoPs cut off from the control plane in a day.
    pub partitions_per_day: f64,
    /// PoPs with disks that slow down in a day.
    pub slow_disks_per_day: f64,
    /// Regions lost in the whole time.
    pub regions_lost: u32,
    /// Outages of the control plane in the whole time.
    pub control_outages: u32,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            pop_crashes_per_day: 8.0,
            partitions_per_day: 2.0,
            slow_disks_per_day: 4.0,
            regions_lost: 1,
            control_outages: 1,
        }
    }
}

/// Something that fails.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// When, in milliseconds from the beginning.
    pub from_ms: u64,
    /// Until when.
    pub until_ms: u64,
    /// What.
    pub kind: FaultKind,
}

/// What can fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// A PoP is gone with all it had loaded.
    Pop(PopId),
    /// All PoPs of a part of the world are.
    Region(String),
    /// A PoP serves, but the control plane cannot see it.
    Partition(PopId),
    /// A PoP loads at a tenth of its speed.
    SlowDisk(PopId),
    /// Nobody plans.
    Control,
}

/// How many times slower a slow disk is.
pub(crate) const SLOW_DISK: f64 = 10.0;

/// Draws what fails in a fleet, in the order of time.
pub(crate) fn draw(faults: &Faults, world: &World, hours: u32, rng: &mut Rng) -> Vec<Fault> {
    let end_ms = f64::from(hours) * 3.6e6;
    let mut drawn = Vec::new();
    let mut several = |count: f64, hours: (f64, f64), rng: &mut Rng, kind: &dyn Fn(&mut Rng) -> Option<FaultKind>| {
        let whole = count.floor() + f64::from(u8::from(rng.chance(count.fract())));
        for _ in 0..whole as u32 {
            let from_ms = (rng.unit() * end_ms) as u64;
            let until_ms = from_ms + (rng.log_uniform(hours.0, hours.1) * 3.6e6) as u64;
            drawn.extend(kind(rng).map(|kind| Fault { from_ms, until_ms, kind }));
        }
    };
    let pop = |rng: &mut Rng| world.pops.get(rng.below(world.pops.len())).map(|pop| pop.id.clone());
    let region = |rng: &mut Rng| world.places.get(rng.below(world.places.len())).map(|place| place.continent.clone());
    let days = f64::from(hours) / 24.0;
    several(faults.pop_crashes_per_day * days, (0.2, 12.0), rng, &|rng| pop(rng).map(FaultKind::Pop));
    several(faults.partitions_per_day * days, (0.2, 4.0), rng, &|rng| pop(rng).map(FaultKind::Partition));
    several(faults.slow_disks_per_day * days, (1.0, 24.0), rng, &|rng| pop(rng).map(FaultKind::SlowDisk));
    several(f64::from(faults.regions_lost), (1.0, 2.0), rng, &|rng| region(rng).map(FaultKind::Region));
    several(f64::from(faults.control_outages), (2.0, 3.0), rng, &|_| Some(FaultKind::Control));
    drawn.sort_by_key(|fault| fault.from_ms);
    drawn
}
