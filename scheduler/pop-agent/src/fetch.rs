//! Where files come from: another member of the fleet, over whatever carries them.

use std::io;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use headland_fleet::Source;

/// Reads from the registries of other members.
pub trait Fetch: Send + Sync {
    /// `GET path` at `source`, from byte `from` on.
    fn get<'a>(&'a self, source: &'a Source, path: &'a str, from: u64) -> BoxFuture<'a, Result<Fetched, FetchError>>;
}

/// What was got.
pub struct Fetched {
    /// Its media type.
    pub media_type: String,
    /// Its bytes, from where they were asked for.
    pub body: BoxStream<'static, io::Result<Bytes>>,
}

/// Why nothing was got. The text is for the log.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// The member does not have it.
    #[error("it does not have it")]
    NotThere,
    /// The member cannot be reached, or does not answer as it should.
    #[error("{0}")]
    Failed(String),
}
