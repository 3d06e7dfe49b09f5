//! What a plan was made for, so that the next solve can tell what has changed since.

use serde::{Deserialize, Serialize};

/// Travels with a plan from one solve to the next; nothing outside of this crate looks into it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {}
