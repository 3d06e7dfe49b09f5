//! Placeholder until the election lands.

use headland_control_store::Epoch;

/// Role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Standby.
    Standby,
    /// Leader.
    Leader {
        /// Epoch.
        epoch: Epoch,
    },
}
