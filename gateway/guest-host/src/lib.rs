//! Guests: wasmtime with pooled instances, components compiled ahead of time, limits, and `wasi:http` dispatch.
//!
//! Stands between the HTTP server and `wasi:nn`. The server finds an [`AppRoute`] by host and path and awaits
//! [`AppRoute::handle`]; each request gets a fresh instance, which is gone when the response is. Follow a request
//! through `apps` (which route), `dispatch` (run the guest), `state` (what the guest may touch).

mod apps;
mod body;
mod cache;
mod dispatch;
mod engine;
mod error;
mod outbound;
mod routing;
mod state;
mod stats;
mod stdio;

pub use apps::{AppRoute, AppSummary, Apps, DeployError, RouteSummary};
pub use body::GuestBody;
pub use dispatch::RequestContext;
pub use engine::{GuestEngine, INSTANCES_MAX, PoolOptions};
pub use error::GuestError;
pub use stats::{AppStats, Outcome};
