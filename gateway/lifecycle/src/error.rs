//! Why something could not be loaded, deployed, changed or removed; the admin plane turns it into a status.

use headland_registry::store::StoreError;
use headland_trust::policy::Denied;

use crate::models::budget::Shortage;

/// A failure, for the operator: it names names.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// The trust policy says no.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// There is no trust policy, and without one nothing that was pushed is loaded.
    #[error("no trust policy is set, so nothing from the registry is loaded; write one and start with `--policy FILE`")]
    NoPolicy,
    /// It is admitted, but not for this device or region.
    #[error("{0}")]
    NotHere(String),
    /// It is there and cannot be used.
    #[error("{0}")]
    Broken(String),
    /// Something is in the way.
    #[error("{0}")]
    Conflict(String),
    /// There is no memory for it.
    #[error("{model} does not fit into memory: {shortage}; {advice}")]
    NoMemory {
        /// What was to be loaded.
        model: String,
        /// What is missing.
        shortage: Shortage,
        /// What would help.
        advice: &'static str,
    },
    /// Too many loads or deployments wait already.
    #[error("{0} such changes wait already; try again when some are done")]
    Busy(usize),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
