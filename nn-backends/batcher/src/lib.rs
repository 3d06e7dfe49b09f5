//! The model table: every loaded model, its bounded queue, its batching policy and the threads that own it.
//!
//! Stands between the gateway and the backends. The gateway looks a model up in the [`ModelTable`] and awaits
//! [`Model::infer`]; the request waits in the model's queue until [`policy::decide`] puts it into a batch; an executor
//! thread runs the batch and answers. Native endpoints and guests enter at the same door.

mod model;
mod on_demand;
pub mod policy;
mod queue;
mod stats;
mod table;
mod worker;

pub use model::{Answer, Call, Model, ModelInfo, ModelOptions, TextUsage, Timing};
pub use on_demand::{NotLoaded, OnDemand, Unavailable};
pub use stats::{Failure, ModelStats};
pub use table::{Aliases, ModelTable, STABLE};
