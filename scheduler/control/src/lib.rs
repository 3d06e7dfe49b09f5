//! The fleet's control plane: it hears how PoPs are, decides what each is to hold and where requests go, writes that down,
//! and watches it come true.
//!
//! Stands above `scheduler/placement`, which solves, and `scheduler/store`, which keeps; PoPs read what it writes through
//! `scheduler/pop-agent`. Everything that decides is pure: [`Controller`] holds [`view`], [`demand`],
//! [`measured`], [`backoff`], [`rollout`], [`policy`], [`input`] and [`wanted`] together, and knows no clock and no store. [`Control`] is the
//! loop around it.

pub mod backoff;
pub mod books;
mod control;
mod controller;
pub mod demand;
pub mod input;
mod leading;
pub mod measured;
mod overview;
pub mod policy;
pub mod rollout;
pub mod view;
pub mod wanted;

#[cfg(test)]
mod testing;

pub use control::{Control, ControlError, ControlOptions};
pub use controller::{Aspect, Controller, LISTEN_FIRST_MS, Planned, Wanted};
pub use overview::{ModelPlaces, Overview, PopSummary, Replica};
