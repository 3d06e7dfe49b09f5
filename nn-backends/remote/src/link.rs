//! A connection to one PoP, kept open: made when it is first wanted, asked now and then whether it is alive, made again when
//! it ends. One task keeps it; requests find it or wait for it.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headland_identity::{ALPN_HTTP2, Identity, Member, explain};
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::choose::Standing;
use crate::limits::{
    CONNECT_MAX, CONNECTION_AGE_MAX, CONNECTION_STABLE, CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, PING_EVERY, PING_MAX,
    RECONNECT_MAX, RECONNECT_MIN, STREAM_WINDOW_BYTES,
};
use crate::random::Random;
use crate::wire::Frames;

/// Sends requests over a connection.
pub(crate) type Sender = SendRequest<Frames>;
type Driver = Connection<TokioIo<TlsStream<TcpStream>>, Frames, TokioExecutor>;

/// Whom to connect to, as whom.
#[derive(Clone)]
pub(crate) struct Target {
    pub identity: Arc<Identity>,
    pub member: Member,
    /// `HOST:PORT`
    pub address: String,
    pub random: Arc<Random>,
}

#[derive(Clone)]
enum State {
    Connecting,
    /// With the time that a round trip took when it was made.
    Up(Sender, Duration),
    Down(Arc<str>),
}

/// A connection that is kept open for as long as this lives.
pub(crate) struct Link {
    states: watch::Receiver<State>,
    hurry: Arc<Notify>,
    keeper: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Link {
    /// Begins to connect. Needs a runtime.
    pub fn open(target: Target) -> Self {
        let (says, states) = watch::channel(State::Connecting);
        let hurry = Arc::new(Notify::new());
        let keeper = tokio::spawn(keep(target, says, hurry.clone()));
        Link { states, hurry, keeper }
    }

    /// How it is with the connection.
    pub fn standing(&self) -> Standing {
        match &*self.states.borrow() {
            State::Up(sender, _) if !sender.is_closed() => Standing::Ready,
            State::Up(..) | State::Connecting => Standing::Connecting,
            State::Down(_) => Standing::Down,
        }
    }

    /// How long a round trip took when the connection was made, while there is one.
    pub fn round_trip(&self) -> Option<Duration> {
        match &*self.states.borrow() {
            State::Up(_, round_trip) => Some(*round_trip),
            State::Connecting | State::Down(_) => None,
        }
    }

    /// The connection, or why there is none: waits for what comes of the attempt to make one.
    pub async fn sender(&self) -> Result<Sender, Arc<str>> {
        let mut states = self.states.clone();
        match &*states.borrow_and_update() {
            State::Up(sender, _) if !sender.is_closed() => return Ok(sender.clone()),
            State::Up(..) | State::Connecting => {}
            State::Down(_) => self.hurry.notify_one(),
        }
        loop {
            let ended = || Arc::from("the connection is given up");
            states.changed().await.map_err(|_| ended())?;
            match &*states.borrow_and_update() {
                State::Up(sender, _) => return Ok(sender.clone()),
                State::Down(why) => return Err(why.clone()),
                State::Connecting => {}
            }
        }
    }
}

/// Keeps the connection, until it is aborted.
async fn keep(target: Target, says: watch::Sender<State>, hurry: Arc<Notify>) {
    let mut failures = 0;
    loop {
        let why = match connect(&target).await {
            Ok((sender, driver, round_trip)) => {
                let since = Instant::now();
                says.send_replace(State::Up(sender, round_trip));
                match drive(driver).await {
                    Ended::Old => continue,
                    Ended::Closed(_) if since.elapsed() >= CONNECTION_STABLE => {
                        failures = 0;
                        says.send_replace(State::Connecting);
                        continue;
                    }
                    Ended::Closed(why) => why,
                }
            }
            Err(why) => why,
        };
        tracing::debug!(peer = %target.member, address = target.address, why, "no connection to a PoP");
        says.send_replace(State::Down(why.into()));
        let pause = pause(failures, target.random.draw());
        failures = failures.saturating_add(1);
        // Whoever waits for the connection may have it tried sooner, but not without end.
        tokio::time::sleep(pause.min(RECONNECT_MIN)).await;
        tokio::select! {
            () = tokio::time::sleep(pause.saturating_sub(RECONNECT_MIN)) => {}
            () = hurry.notified() => {}
        }
        says.send_replace(State::Connecting);
    }
}

/// The pause after so many failures: between half and all of a time that doubles.
fn pause(failures: u32, draw: f64) -> Duration {
    let whole = RECONNECT_MIN.saturating_mul(1 << failures.min(16)).min(RECONNECT_MAX);
    whole.mul_f64(0.5 + 0.5 * draw)
}

enum Ended {
    /// It was time for a new one; this one ends with its last request.
    Old,
    Closed(String),
}

async fn drive(driver: Driver) -> Ended {
    let mut driver = Box::pin(driver);
    tokio::select! {
        ended = &mut driver => Ended::Closed(match ended {
            Ok(()) => "the peer closed the connection".to_owned(),
            Err(error) => describe(&error),
        }),
        () = tokio::time::sleep(CONNECTION_AGE_MAX) => {
            tokio::spawn(driver);
            Ended::Old
        }
    }
}

async fn connect(target: &Target) -> Result<(Sender, Driver, Duration), String> {
    let connecting = async {
        let stream = TcpStream::connect(&target.address).await.map_err(|error| error.to_string())?;
        // Requests are written whole; waiting to fill a segment only delays them.
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let config = target.identity.client_config(&target.member).map_err(|error| error.to_string())?;
        // Members are known by their certificates; TLS wants some name all the same.
        let name = ServerName::try_from("fleet.invalid").map_err(|error| error.to_string())?;
        // A TLS 1.3 handshake takes one round trip to the peer itself, and what both compute, about a millisecond; TCP may end at a
        // balancer before it.
        let begun = Instant::now();
        let stream = TlsConnector::from(config).connect(name, stream).await.map_err(|error| explain(&error))?;
        let round_trip = begun.elapsed();
        if stream.get_ref().1.alpn_protocol() != Some(ALPN_HTTP2) {
            return Err("the peer does not speak HTTP/2".to_owned());
        }
        let (sender, driver) = builder().handshake(TokioIo::new(stream)).await.map_err(|error| describe(&error))?;
        Ok((sender, driver, round_trip))
    };
    let late = |_| format!("it took longer than {} s to connect", CONNECT_MAX.as_secs());
    tokio::time::timeout(CONNECT_MAX, connecting).await.map_err(late)?
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_MAX)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX);
    builder
}

/// What an error of a connection comes from.
pub(crate) fn describe(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return explain(io);
        }
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_limit_and_differ() {
        assert_eq!((pause(0, 0.0), pause(0, 1.0)), (RECONNECT_MIN / 2, RECONNECT_MIN));
        assert_eq!(pause(3, 1.0), 8 * RECONNECT_MIN);
        assert_eq!((pause(40, 0.0), pause(u32::MAX, 1.0)), (RECONNECT_MAX / 2, RECONNECT_MAX));
    }
}
