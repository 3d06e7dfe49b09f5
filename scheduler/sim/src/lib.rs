//! A fleet in simulated time: the real control plane and placement, demand that follows the sun and comes in bursts, PoPs that
//! fail.
//!
//! [`simulate`] steps through time. In each step demand is what `demand.rs` says, faults begin and end as `faults.rs` drew
//! them, the control plane of `scheduler/control` (if it is up) hears the PoPs that it can hear and decides, PoPs (`fleet.rs`) pull
//! and load what is wanted of them, and a sample of requests is answered by whoever can. What came of it is in the [`Outcome`];
//! `draw.rs` makes pictures of it. Nothing reads a clock: the same scenario gives the same outcome, bit for bit.

mod demand;
mod draw;
mod faults;
mod fleet;
mod outcome;
mod run;
mod scenario;
mod world;

pub use draw::{map, timeline};
pub use faults::{Fault, FaultKind, Faults};
pub use outcome::{Hour, Outcome, Recovery};
pub use run::{SimError, simulate};
pub use scenario::{ScenarioError, SimScenario};
pub use world::NameError;
