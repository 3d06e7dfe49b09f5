//! Guests: wasmtime with pooled instances, components compiled ahead of time, limits, and `wasi:http` dispatch.
//!
//! Stands between the HTTP server and `wasi:nn`. The server finds an [`AppRoute`] by host and path and awaits
//! [`AppRoute::handle`]; each request gets a fresh instance, which is gone when the response is, unless its route
//! reuses them. Follow a request through `apps` (which route), `dispatch` (run the guest), `instance` and `idle` (fresh or
//! reused), `service` (if it is of `wasi:http` 0.3), `state` (what the guest may touch); follow an app through
//! `source` (its bytes, verified), `world` and `prepare` (compiled, linked), `apps` (served).

mod app;
mod apps;
mod body;
mod cache;
mod dispatch;
mod engine;
mod error;
mod head;
mod idle;
mod instance;
mod outbound;
mod prepare;
mod routing;
mod service;
mod source;
mod state;
mod stats;
mod stdio;
mod world;

pub use app::{AppRoute, AppSummary, RouteSummary};
pub use apps::{Apps, DeployError};
pub use body::GuestBody;
pub use cache::COMPONENT_BYTES_MAX;
pub use dispatch::RequestContext;
pub use engine::{GuestEngine, INSTANCES_MAX, PoolOptions};
pub use error::GuestError;
pub use idle::{IDLE_MAX, REQUESTS_MAX};
pub use prepare::{Prepared, WARM_UP_WAIT_MAX};
pub use source::{AppSource, SourceError};
pub use stats::{AppStats, Outcome};
