//! Moving files to and from registries: in parallel, in pieces that can be continued, with progress for people.
//!
//! Pushing and pulling models and apps meet here. A blocking client with a few threads is all it takes: an asynchronous one
//! would bring a second HTTP stack into the binary.

pub mod download;
mod http;
pub mod parcel;
pub mod pool;
pub mod progress;
pub mod registry;
mod retry;
mod sessions;
pub mod state;
pub mod upload;

pub use http::agent;
pub use pool::{Stop, in_parallel};
pub use progress::Progress;
pub use registry::Registry;
pub use retry::{Failure, Retries};

/// Files that travel at one time.
pub const AT_ONCE: usize = 4;
