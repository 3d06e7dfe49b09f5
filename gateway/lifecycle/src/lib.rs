//! Models and apps while the gateway runs: out of the registry, through the policy, into the tables that serve them.
//!
//! Stands beside the request path: `cli` makes it, the admin plane drives it, and the model table asks it for models that
//! are not loaded. Nothing gets from here into a table but as [`headland_trust::Verified`].

pub mod apps;
mod blocking;
mod error;
pub mod gate;
pub mod models;
mod policy;

pub use apps::{AppControl, AppEntry, AppFailures, AppParts, AppState, AppVersion};
pub use error::LifecycleError;
pub use gate::PolicyGate;
pub use models::{IndexEntry, ModelControl, ModelParts, ModelState};
pub use policy::{PolicyFile, PolicyWatch};
