//! Whole resources from another PoP over mutual TLS: the blobs of models and apps, by range.

use std::io;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use headland_package::PopId;
use http::header::RANGE;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyDataStream;
use hyper::body::Incoming;

use crate::link::{Link, Target, describe};
use crate::peer::{RequestFailed, send};
use crate::wire::Frames;

/// Which bytes of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub start: u64,
    /// The one after the last; to the end if there is none.
    pub end: Option<u64>,
}

/// A connection to another PoP for what is large: it has a connection of its own, so that inferences do not wait behind it.
/// Closed when dropped.
pub struct PeerHttp {
    link: Link,
    pop: PopId,
}

impl PeerHttp {
    pub(crate) fn new(pop: PopId, target: Target) -> Self {
        PeerHttp { link: Link::open(target), pop }
    }

    /// Whose it is.
    pub fn pop(&self) -> &PopId {
        &self.pop
    }

    /// Asks for `path`, or some bytes of it.
    ///
    /// # Errors
    /// [`RequestFailed`], when there is no answer. A status that says no is an answer.
    pub async fn get(&self, path: &str, span: Option<Span>) -> Result<Fetched, RequestFailed> {
        self.ask(Method::GET, path, span).await
    }

    /// Asks for the head of `path` alone.
    ///
    /// # Errors
    /// As with [`Self::get`].
    pub async fn head(&self, path: &str) -> Result<Fetched, RequestFailed> {
        self.ask(Method::HEAD, path, None).await
    }

    async fn ask(&self, method: Method, path: &str, span: Option<Span>) -> Result<Fetched, RequestFailed> {
        let mut request = Request::builder().method(method).uri(format!("https://{}{path}", authority(&self.pop)));
        if let Some(Span { start, end }) = span {
            let last = end.map_or(String::new(), |end| end.saturating_sub(1).to_string());
            request = request.header(RANGE, format!("bytes={start}-{last}"));
        }
        let request = request.body(Frames::default()).map_err(|error| RequestFailed::unsent(error.to_string()))?;
        let (parts, body) = send(&self.link, request).await?.into_parts();
        Ok(Fetched { status: parts.status, headers: parts.headers, body })
    }
}

/// The `:authority` of requests to a PoP. Nobody routes by it.
pub(crate) fn authority(pop: &PopId) -> String {
    // A PoP's id may have what a host's name has not.
    pop.as_str().replace('_', "-")
}

/// An answer whose body is still to come.
pub struct Fetched {
    /// What the peer says: 200, or 206 for a part.
    pub status: StatusCode,
    /// The answer's headers.
    pub headers: HeaderMap,
    body: Incoming,
}

impl Fetched {
    /// The body, as it comes.
    pub fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + Unpin {
        BodyDataStream::new(self.body).map(|data| data.map_err(|error| io::Error::other(describe(&error))))
    }

    /// The whole body, if it is at most `bytes_max` long.
    ///
    /// # Errors
    /// When it is longer, or breaks off.
    pub async fn bytes(self, bytes_max: usize) -> Result<Bytes, RequestFailed> {
        crate::peer::read(self.body, bytes_max).await
    }
}
