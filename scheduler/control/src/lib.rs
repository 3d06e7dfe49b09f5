//! The fleet's control plane: it hears how PoPs are, decides what each is to hold and where requests go, writes that down,
//! and watches it come true.
//!
//! Stands above `scheduler/placement`, which solves, and `scheduler/store`, which keeps; PoPs read what it writes through
//! `scheduler/pop-agent`. Everything that decides is pure: [`view`], [`demand`], [`measured`], [`backoff`], [`rollout`],
//! [`input`] and [`wanted`] know no clock and no store. [`Control`] is the loop around them.

pub mod backoff;
pub mod books;
mod control;
pub mod demand;
pub mod input;
mod leading;
pub mod measured;
mod overview;
pub mod rollout;
pub mod view;
pub mod wanted;

#[cfg(test)]
mod testing;

pub use control::{Control, ControlError, ControlOptions, Planned};
pub use overview::{ModelPlaces, Overview, PopSummary, Replica};
