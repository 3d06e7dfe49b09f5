//! Every limit of the way from PoP to PoP, in one place.

use std::time::Duration;

/// Time to connect: TCP, TLS and back. Within it half the planet answers several times.
pub const CONNECT_MAX: Duration = Duration::from_secs(3);
/// How often a connection is asked whether it is alive, and how long it may take to say so: who vanished without a word is
/// missed after the sum of both, and what was under way there is asked elsewhere.
pub const PING_EVERY: Duration = Duration::from_secs(2);
/// The second of the two.
pub const PING_MAX: Duration = Duration::from_secs(2);
/// A connection is made anew when it is as old as this, and so with the certificate that is then in use.
pub const CONNECTION_AGE_MAX: Duration = Duration::from_secs(3600);
/// A connection that ends sooner than this counts as one that failed.
pub const CONNECTION_STABLE: Duration = Duration::from_secs(2);
/// Pause after a connection failed, doubled each time, and each time of a random length between half of it and all.
pub const RECONNECT_MIN: Duration = Duration::from_millis(100);
/// The longest such pause.
pub const RECONNECT_MAX: Duration = Duration::from_secs(5);
/// Requests under way to one PoP.
pub const STREAMS_MAX: usize = 256;
/// Bytes of one answer.
pub const ANSWER_BYTES_MAX: usize = 256 << 20;
/// Bytes that may be under way in one stream without being acknowledged.
pub const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// The same for all streams of a connection together.
pub const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Bytes of one HTTP/2 frame: large tensors need few of them.
pub const FRAME_BYTES_MAX: u32 = 256 << 10;
/// Time to describe a model.
pub const DESCRIBE_MAX: Duration = Duration::from_secs(5);
/// Time that a request has whose caller set none.
pub const INFER_MAX: Duration = Duration::from_secs(60);
