//! Every limit of the HTTP side, in one place. What an operator may change is in [`Limits`]; the rest is fixed.

use std::time::Duration;

use headland_batcher::Model;

/// Largest request body of the native endpoints, unless the operator says otherwise.
pub const BODY_BYTES_MAX: usize = 64 << 20;
/// Request bodies of the native endpoints held at one time, all together.
pub const BODIES_BYTES_MAX: usize = 1 << 30;
/// Open connections of one listener. Further ones wait in the kernel's accept queue.
pub const CONNECTIONS_MAX: usize = 10_000;
/// Time that requests in flight get to finish when the gateway stops.
pub const DRAIN_MAX: Duration = Duration::from_secs(30);
/// Time between saying not ready and accepting no more connections when the gateway stops. A load balancer that asks for
/// readiness needs some; alone, a gateway stops at once.
pub const DRAIN_DELAY: Duration = Duration::ZERO;
/// Time a native inference may take when the client sets none, and the most it may set.
pub const INFER_MAX: Duration = Duration::from_secs(60);

/// Time the answer of a language model may take, from the request to its last token.
pub const GENERATE_MAX: Duration = Duration::from_secs(600);

/// Time a new connection gets to send its first whole request head.
pub(crate) const FIRST_REQUEST_MAX: Duration = Duration::from_secs(10);
/// Time between the end of one request and the whole head of the next on the same connection.
pub(crate) const KEEP_ALIVE_IDLE_MAX: Duration = Duration::from_secs(75);
/// Time a client gets to send a request body to a native endpoint. An app's deadline bounds its bodies.
pub(crate) const BODY_READ_MAX: Duration = Duration::from_secs(60);
/// Header lines of one request.
pub(crate) const HEADERS_MAX: usize = 100;
/// Bytes of one request's head.
pub(crate) const HEADER_BYTES_MAX: usize = 64 << 10;
/// Requests in flight on one HTTP/2 connection.
pub(crate) const HTTP2_STREAMS_MAX: u32 = 128;
/// Requests in flight on one connection of another PoP.
pub(crate) const PEER_STREAMS_MAX: u32 = headland_remote::limits::STREAMS_MAX as u32;
/// How much larger a request is at most when it is passed on to another PoP: `1,` in JSON is 8 bytes in a tensor.
pub(crate) const PEER_BODY_GROWTH: usize = 4;
/// Time that another PoP gets to secure its connection.
pub(crate) const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How often a silent HTTP/2 connection is asked whether it is alive, and how long it may take to say so.
pub(crate) const HTTP2_PING_EVERY: Duration = Duration::from_secs(20);
/// Pause after the system refused to accept a connection (out of file descriptors, as a rule).
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A client's own request id is taken over up to this length.
pub(crate) const REQUEST_ID_BYTES_MAX: usize = 128;
/// Paths are cut to this length in the access log.
pub(crate) const LOGGED_PATH_BYTES_MAX: usize = 256;
/// JSON larger than this is read or written on a blocking thread, so that it delays nobody else's request.
pub(crate) const INLINE_JSON_BYTES_MAX: usize = 256 << 10;
/// Texts or token lists in one embeddings request; OpenAI's own limit.
pub(crate) const EMBEDDING_INPUTS_MAX: usize = 2048;

/// What an operator may set.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest request body of the native endpoints, in bytes.
    pub body_bytes_max: usize,
    /// Request bodies of the native endpoints held at one time, in bytes.
    pub bodies_bytes_max: usize,
    /// Open connections of one listener.
    pub connections_max: usize,
    /// Time that requests in flight get to finish when the gateway stops.
    pub drain_max: Duration,
    /// Time between saying not ready and accepting no more connections when the gateway stops.
    pub drain_delay: Duration,
    /// Time one native inference may take.
    pub infer_max: Duration,
    /// Time the answer of a language model may take.
    pub generate_max: Duration,
}

impl Limits {
    /// Time an answer of `model` may take, on whatever route.
    pub(crate) fn answer_max(&self, model: &Model) -> Duration {
        if model.generates() { self.generate_max } else { self.infer_max }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            body_bytes_max: BODY_BYTES_MAX,
            bodies_bytes_max: BODIES_BYTES_MAX,
            connections_max: CONNECTIONS_MAX,
            drain_max: DRAIN_MAX,
            drain_delay: DRAIN_DELAY,
            infer_max: INFER_MAX,
            generate_max: GENERATE_MAX,
        }
    }
}
