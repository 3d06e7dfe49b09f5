//! The HTTP data and admin planes.
//!
//! Stands at the top of the request path: [`serve`] accepts connections, [`data_plane`] routes a request to the Open
//! Inference Protocol, to OpenAI's API or to an app, and all of them end in the model table below. What a client gets
//! when that fails is decided in one file, `errors.rs`.

mod admin;
mod apps;
mod body;
mod cached;
mod errors;
mod gateway;
mod kserve;
mod limits;
mod lookup;
mod metrics;
mod observe;
mod offload;
mod openai;
mod peer;
mod serve;
#[cfg(test)]
mod test_support;
mod truncation;

pub use admin::Administration;
pub use errors::{ApiError, Reason, Row};
pub use gateway::{DataPlane, Gateway, admin_plane, data_plane};
pub use kserve::{InferRequest, ParseError, RequestedOutput, parse_infer};
pub use limits::Limits;
pub use peer::{peer_plane, serve_peers};
pub use serve::{Drained, serve};
