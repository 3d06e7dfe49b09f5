//! One other PoP: the connection to it, what is under way there, and what came of what was.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use headland_identity::Member;
use headland_package::PopId;
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::choose::Standing;
use crate::limits::STREAMS_MAX;
use crate::link::{Link, Target, describe};
use crate::wire::Frames;

/// A request that brought no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{why}")]
pub struct RequestFailed {
    /// What happened.
    pub why: Arc<str>,
    /// Whether the request may have reached the peer.
    pub sent: bool,
}

impl RequestFailed {
    pub(crate) fn unsent(why: impl Into<Arc<str>>) -> Self {
        RequestFailed { why: why.into(), sent: false }
    }

    pub(crate) fn sent(why: impl Into<Arc<str>>) -> Self {
        RequestFailed { why: why.into(), sent: true }
    }
}

/// What a PoP has been asked from here, and what came of it, since it was first routed to.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerStats {
    /// Which.
    pub pop: PopId,
    /// Where it listens.
    pub address: String,
    /// Whether there is a connection.
    pub connected: bool,
    /// Requests under way.
    pub outstanding: usize,
    /// Requests sent to it: first ones, retries and hedges.
    pub requests: u64,
    /// Those it answered.
    pub answered: u64,
    /// Those that failed on the way or there.
    pub failed: u64,
    /// Those it had no room for.
    pub shed: u64,
    /// Those that another PoP was asked before.
    pub retries: u64,
    /// Those that another PoP was being asked at the same time.
    pub hedges: u64,
    /// Time until its answers were here, all together.
    pub answered_us: u64,
}

/// Counters of one peer.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub requests: AtomicU64,
    pub answered: AtomicU64,
    pub failed: AtomicU64,
    pub shed: AtomicU64,
    pub retries: AtomicU64,
    pub hedges: AtomicU64,
    answered_us: AtomicU64,
}

impl Counters {
    pub fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    pub fn took(&self, took: Duration) {
        Self::add(&self.answered);
        self.answered_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }
}

/// Another PoP.
pub(crate) struct Peer {
    pub pop: PopId,
    pub address: String,
    pub counters: Counters,
    pub outstanding: AtomicUsize,
    link: Link,
}

impl Peer {
    /// Begins to connect. Needs a runtime.
    pub fn new(pop: PopId, target: Target) -> Arc<Self> {
        let (address, link) = (target.address.clone(), Link::open(target));
        Arc::new(Peer { pop, address, counters: Counters::default(), outstanding: AtomicUsize::new(0), link })
    }

    /// How long a round trip took when the connection was made, while there is one.
    pub fn round_trip(&self) -> Option<Duration> {
        self.link.round_trip()
    }

    /// Whether it can be asked, as far as the connection tells.
    pub fn standing(&self) -> Standing {
        match self.outstanding.load(Relaxed) >= STREAMS_MAX {
            true => Standing::Full,
            false => self.link.standing(),
        }
    }

    pub fn stats(&self) -> PeerStats {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        let counters = &self.counters;
        PeerStats {
            pop: self.pop.clone(),
            address: self.address.clone(),
            connected: self.link.standing() == Standing::Ready,
            outstanding: self.outstanding.load(Relaxed),
            requests: read(&counters.requests),
            answered: read(&counters.answered),
            failed: read(&counters.failed),
            shed: read(&counters.shed),
            retries: read(&counters.retries),
            hedges: read(&counters.hedges),
            answered_us: read(&counters.answered_us),
        }
    }

    /// Sends a request, and has the head of its answer.
    pub async fn send(&self, request: Request<Frames>) -> Result<Response<Incoming>, RequestFailed> {
        send(&self.link, request).await
    }
}

/// Sends a request over a link. Dropping the future takes the request back, if need be from the peer.
pub(crate) async fn send(link: &Link, request: Request<Frames>) -> Result<Response<Incoming>, RequestFailed> {
    let mut sender = link.sender().await.map_err(RequestFailed::unsent)?;
    sender.try_send_request(request).await.map_err(|mut error| match error.take_message() {
        Some(_) => RequestFailed::unsent(describe(error.error())),
        None => RequestFailed::sent(describe(error.error())),
    })
}

/// The other end of a link to `member`.
pub(crate) fn member(pop: &PopId) -> Member {
    Member::pop(pop.clone())
}

/// Reads a body of at most `bytes_max`. A small one is not copied, a large one once.
pub(crate) async fn read(mut body: Incoming, bytes_max: usize) -> Result<Bytes, RequestFailed> {
    let too_long = || RequestFailed::sent(format!("the answer is longer than {bytes_max} bytes"));
    let announced = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
    if announced.is_some_and(|bytes| bytes > bytes_max) {
        return Err(too_long());
    }
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| RequestFailed::sent(describe(&error)))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.is_empty() && whole.is_empty() {
            first = data;
            continue;
        }
        if whole.is_empty() {
            whole.reserve(announced.unwrap_or(first.len() + data.len()));
            whole.extend_from_slice(&std::mem::take(&mut first));
        }
        if data.len() > bytes_max.saturating_sub(whole.len()) {
            return Err(too_long());
        }
        whole.extend_from_slice(&data);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}
