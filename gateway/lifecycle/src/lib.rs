//! Models and apps while the gateway runs: out of the registry, through the policy, into the tables that serve them.
//!
//! Stands beside the request path: `cli` makes it, the admin plane drives it, and the model table asks it for models that
//! are not loaded. Nothing gets from here into a table but as [`headland_trust::Verified`].
