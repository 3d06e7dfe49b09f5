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

pub use desired::{Candidate, Desired, DesiredApp, DesiredModel, Keep, ROUTE_PARTS, RoutedModel, Routes, Source};
pub use document::{Document, DocumentError, FORMAT};
pub use heartbeat::{
    AppReport, Cost, Demand, DeviceReport, Heartbeat, ModelReport, ModelStanding, ROUND_TRIPS_MAX, RoundTrip,
};
pub use place::{Location, LocationError, Place};
pub use record::{Aliases, AppRecord, Era, Intent, ModelKey, ModelRecord, Needs, PolicyRecord, PolicyRule, PopRecord};

/// How often a PoP says how it is.
pub const HEARTBEAT_EVERY_MS: u64 = 2_000;

/// Kinds of keys in the control store.
pub mod kind {
    /// When the store was made, as a [`crate::Era`]: `["era"]`.
    pub const FLEET: &str = "fleet";
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
    /// A part of a region's [`crate::Routes`]: `[region, part]`.
    pub const ROUTES: &str = "routes";
    /// What a rollout has come to: `[model]`.
    pub const ROLLOUT: &str = "rollout";
    /// The one [`crate::PolicyRecord`]: [`crate::PolicyRecord::NAME`].
    pub const POLICY: &str = "policy";
}

/// Kinds of subjects on the bus.
pub mod subject {
    /// A [`crate::Heartbeat`]: `[pop]`.
    pub const HEARTBEAT: &str = "heartbeat";
    /// Asks the control plane for a rotated certificate: `[member]`.
    pub const CERTIFICATE: &str = "certificate";
}
