//! Placement: which PoP loads which model, and where each place sends its requests.
//!
//! [`solve`] is a pure function of what is known about the fleet and the plan before: no I/O, no clock, no threads, and the
//! same answer for the same seed. The control plane calls it with what heartbeats and counters say, holds its plan against
//! [`check`], and publishes it; the simulator calls the same code in simulated time. README.md beside this crate says how it
//! works and why its bound is one.

mod bits;
mod certificate;
mod check;
mod draft;
mod dual;
mod evict;
mod explain;
mod facility;
mod finish;
mod greedy;
mod ids;
mod improve;
mod input;
mod instance;
mod nearby;
mod plan;
mod prices;
mod problem;
mod report;
mod resume;
mod rng;
mod routing;
mod ruin;
pub mod scenario;
mod solve;
mod what_if;

pub use certificate::Certificate;
pub use check::{Violation, check};
pub use explain::{Explanation, explain};
pub use ids::{DeviceClassName, DeviceIndex, FailureDomain, ModelKey, PlaceId, PopId, RegionId};
pub use input::{
    Accelerator, ChurnBudget, Demand, DeviceClass, DeviceCost, DeviceKind, Effort, Excluded, Input, Latency, Loaded,
    Location, MeasuredLatency, Memory, ModelSpec, Options, Place, PlaceRate, Pop, PopDevice, PopState, Replicas,
};
pub use plan::{Because, Cost, ModelPlan, Plan, Replica, Route, Share, Shortfall};
pub use problem::InputError;
pub use report::{Missing, Moves, Report, Unplaced, Utilisation};
pub use rng::Rng;
pub use solve::solve;
pub use what_if::{WhatIf, WhatIfError};
