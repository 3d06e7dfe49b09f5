//! What the control plane and the points of presence (PoPs) of a fleet say to each other, and in what form it is stored.
//!
//! Stands between `scheduler/control`, which writes [`Desired`] and [`Routes`] and reads [`Heartbeat`]s, and
//! `scheduler/pop-agent`, which does the reverse. Types alone: no store, no clock, no I/O. Every document carries its format's
//! number, so that a newer fleet and an older PoP do not misread each other.

mod desired;
mod document;
mod heartbeat;
mod place;
mod record;

pub use desired::{Candidate, Desired, DesiredApp, DesiredModel, Keep, RoutedModel, Routes, Source};
pub use document::{Document, DocumentError, FORMAT};
pub use heartbeat::{AppReport, Cost, Demand, DeviceReport, Heartbeat, ModelReport, ModelStanding};
pub use place::{Location, LocationError, Place};
pub use record::{Aliases, AppRecord, Intent, ModelKey, ModelRecord, Needs, PopRecord};

/// How often a PoP says how it is.
pub const HEARTBEAT_EVERY_MS: u64 = 2_000;

/// Kinds of keys in the control store.
pub mod kind {
    /// A [`crate::ModelRecord`] for each version: `[name, version]`.
    pub const MODEL: &str = "model";
    /// The [`crate::Aliases`] of a model: `[name]`.
    pub const ALIASES: &str = "aliases";
    /// An [`crate::AppRecord`]: `[name]`.
    pub const APP: &str = "app";
    /// A [`crate::PopRecord`]: `[pop]`.
    pub const POP: &str = "pop";
    /// A PoP's [`crate::Desired`] state: `[pop]`.
    pub const DESIRED: &str = "desired";
    /// A region's [`crate::Routes`]: `[region]`.
    pub const ROUTES: &str = "routes";
    /// What a rollout has come to: `[model]`.
    pub const ROLLOUT: &str = "rollout";
}

/// Subjects on the bus.
pub mod subject {
    use headland_package::PopId;

    /// Every heartbeat.
    pub const HEARTBEATS: &str = "headland.heartbeat.*";
    /// Asks the control plane for a rotated certificate.
    pub const CERTIFICATE: &str = "headland.certificate";

    /// Where `pop` says how it is. A name may hold dots, and a subject's parts may not: they become `=`, which no name has.
    pub fn heartbeat(pop: &PopId) -> String {
        format!("headland.heartbeat.{}", pop.as_str().replace('.', "="))
    }
}
