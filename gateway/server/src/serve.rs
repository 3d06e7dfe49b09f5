//! Accepts connections and serves HTTP/1.1 and HTTP/2 (with prior knowledge) on them until told to stop.

mod activity;
mod quiet;

use std::convert::Infallible;
use std::sync::Arc;

use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::Service;

use activity::{Activity, Counted};
use quiet::Quiet;

use crate::limits::{
    ACCEPT_PAUSE, FIRST_REQUEST_MAX, HEADER_BYTES_MAX, HEADERS_MAX, HTTP2_PING_EVERY, HTTP2_STREAMS_MAX, Limits,
};

type Builder = auto::Builder<TokioExecutor>;

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut because their requests outlasted [`Limits::drain_max`].
    pub cut: usize,
}

/// What answers requests: a plane.
pub trait Answers:
    Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static
{
}

impl<S> Answers for S where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// Serves `answers` on `listener` until `shutdown` completes; then accepts no more, lets requests in flight finish for
/// at most [`Limits::drain_max`], and returns.
///
/// [`crate::Gateway::unready_after`] makes the `shutdown` of a data plane. A connection beyond
/// [`Limits::connections_max`] waits in the kernel until another one closes.
pub async fn serve(
    listener: TcpListener,
    answers: impl Answers,
    shutdown: impl Future<Output = ()>,
    limits: &Limits,
) -> Drained {
    let builder = Arc::new(builder());
    let connection = |stream, watcher| connection(stream, builder.clone(), answers.clone(), watcher);
    accept(listener, connection, shutdown, limits).await
}

/// Accepts connections, as [`serve`] says, and has each served by what `connection` makes of it.
pub(crate) async fn accept<C: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    connection: impl Fn(TcpStream, Watcher) -> C,
    shutdown: impl Future<Output = ()>,
    limits: &Limits,
) -> Drained {
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < limits.connections_max => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, graceful.watcher()));
                }
                Err(error) => {
                    // Out of file descriptors, as a rule. Asking again at once would spin.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = &mut shutdown => break,
        }
    }
    drop(listener);
    let drained = tokio::time::timeout(limits.drain_max, graceful.shutdown()).await;
    // Once drained, what is left are tasks past their last byte.
    let cut = if drained.is_ok() { 0 } else { connections.len() };
    connections.shutdown().await;
    Drained { cut }
}

fn builder() -> Builder {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        // `activity.rs` minds how long a head may take, without a timer for each request.
        .header_read_timeout(None)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(HEADER_BYTES_MAX).unwrap_or(u32::MAX))
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .keep_alive_interval(HTTP2_PING_EVERY)
        .keep_alive_timeout(HTTP2_PING_EVERY);
    builder
}

async fn connection(stream: TcpStream, builder: Arc<Builder>, answers: impl Answers, watcher: Watcher) {
    // Answers are written whole; waiting to fill a segment only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let activity = Arc::new(Activity::default());
    let service = service_fn(|request: Request<Incoming>| {
        let under_way = activity.begins(request.version());
        let answer = answers.clone().call(request);
        async { answer.await.map(|response| response.map(|body| Counted::new(body, under_way))) }
    });
    let serving = watcher.watch(builder.serve_connection(TokioIo::new(stream), service));
    let serving = std::pin::pin!(serving);
    let mut serving = Quiet::new(serving);
    let mut patience = std::pin::pin!(tokio::time::sleep(FIRST_REQUEST_MAX));
    let ended = loop {
        tokio::select! {
            biased;
            ended = &mut serving => break ended,
            () = &mut patience => match activity.patience() {
                Some(until) => patience.as_mut().reset(until),
                None => return,
            },
        }
    };
    if let Err(error) = ended {
        // Clients that break off are everyday life.
        tracing::debug!(error = %error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests;
