//! Models that run at other PoPs.
//!
//! Stands where executors stand: below the model table, which takes a [`Peers`] route for a model like any other. A request
//! leaves here over HTTP/2 and mutual TLS (`link.rs`), in the format of [`wire`], to the PoP that [`choose`] picks from the
//! plan's candidates and what they have shown of themselves (`live.rs`); where one fails, the next is asked as long as there
//! is time (`remote.rs`) and retries stay affordable (`budget.rs`). A language model's answer may come in pieces (`pieces.rs`): once
//! the first is there, nobody else is asked. The other end is the gateway's peer plane, which looks
//! the model up among those that are loaded there: what was passed on goes no further.

mod ask;
mod budget;
pub mod choose;
mod fetch;
pub mod limits;
mod link;
mod live;
mod outcome;
mod peer;
mod peers;
mod pieces;
mod random;
mod remote;
pub mod wire;

pub use fetch::{Fetched, PeerHttp, Span};
pub use peer::{PeerStats, RequestFailed};
pub use peers::{Candidate, Peers, PeersOptions, Route};

/// Where a peer plane takes inferences, as `POST`.
pub const INFER_PATH: &str = "/fleet/v1/infer";
/// Where a peer plane describes its models: `/NAME/VERSION` follows.
pub const MODELS_PATH: &str = "/fleet/v1/models";
/// Where a peer plane says whether it takes requests.
pub const READY_PATH: &str = "/fleet/v1/ready";
