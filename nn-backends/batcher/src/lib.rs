//! The model table: every loaded model, its bounded queue, its batching policy and the threads that own it; and the models
//! that run elsewhere, which look the same from here ([`Distant`]).
//!
//! Stands between the gateway and the backends. The gateway looks a model up in the [`ModelTable`] and awaits
//! [`Model::infer`]; the request waits in the model's queue until [`policy::decide`] puts it into a batch; an executor
//! thread runs the batch and answers. Native endpoints and guests enter at the same door.

mod admission;
mod assemble;
mod call;
mod flows;
mod model;
mod on_demand;
mod parts;
pub mod policy;
mod queue;
mod responses;
mod stats;
mod table;
mod worker;

pub use admission::QUEUE_DELAY_MAX;
pub use call::{Answer, Cached, Call, Inputs, TextUsage, Timing, Trace};
pub use flows::{Caller, DEFAULT_WEIGHT};
pub use model::{
    BatchOptions, Chunked, DEFAULT_CELLS_MAX_CPU, DEFAULT_CELLS_MAX_GPU, DEFAULT_DELAY_MAX, DEFAULT_QUEUE_MAX,
    DEFAULT_ROWS_MAX, Described, Distant, DistantPieces, Generation, Generator, INLINE_PROMPT_BYTES_MAX, Model,
    ModelInfo, ModelOptions, Pending, Pieces, REQUEST_ROWS_MAX, Routed,
};
pub use on_demand::{NotLoaded, OnDemand, Unavailable};
pub use queue::INLINE_RUN_MAX;
pub use stats::{Failure, Histogram, ModelStats};
pub use table::{Aliases, ModelTable, STABLE};
