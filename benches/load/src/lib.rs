//! HTTP/1.1 load on a server on this machine, made by one thread with as little work as can be, because it shares the
//! cores with what it measures: kept connections, one `write` and one `read` a request, one `epoll_wait` for many.
//!
//! [`run`] drives either loop. A **closed** loop keeps a number of connections busy: it finds the most a server gives. An
//! **open** loop sends at intended times that do not depend on answers, and counts latency from those: a server that
//! stalls is charged for the requests that would have come meanwhile, which a closed loop forgets (coordinated omission).
//! `arrivals` says when, `text` and `request` say what, `connection` and `answer` speak HTTP, `outcome` counts.

mod answer;
mod arrivals;
mod connection;
mod courtesy;
mod drive;
mod one_core;
mod outcome;
mod poll;
mod random;
mod request;
mod simple;
mod text;

pub use arrivals::Arrivals;
pub use courtesy::Courtesy;
pub use drive::{Load, Pace, run};
pub use one_core::OneCore;
pub use outcome::Outcome;
pub use random::Random;
pub use request::{binary_infer, request};
pub use simple::Client;
pub use text::Texts;
