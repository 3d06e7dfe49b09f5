//! Accepts connections and serves HTTP/1.1 and HTTP/2 (with prior knowledge) on them until told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use axum::Router;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::Service;

use crate::limits::{
    ACCEPT_PAUSE, FIRST_REQUEST_MAX, HEADER_BYTES_MAX, HEADERS_MAX, HTTP2_PING_EVERY, HTTP2_STREAMS_MAX,
    KEEP_ALIVE_IDLE_MAX, Limits,
};

type Builder = auto::Builder<TokioExecutor>;

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut because their requests outlasted [`Limits::drain_max`].
    pub cut: usize,
}

/// Serves `router` on `listener` until `shutdown` completes; then accepts no more, lets requests in flight finish for
/// at most [`Limits::drain_max`], and returns.
///
/// [`crate::Gateway::unready_after`] makes the `shutdown` of a data plane. A connection beyond
/// [`Limits::connections_max`] waits in the kernel until another one closes.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()>,
    limits: &Limits,
) -> Drained {
    let builder = Arc::new(builder());
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < limits.connections_max => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, builder.clone(), router.clone(), graceful.watcher()));
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
        .timer(TokioTimer::new())
        // hyper counts this from the end of the request before, so it bounds idle keep-alive connections as well.
        .header_read_timeout(KEEP_ALIVE_IDLE_MAX)
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

async fn connection(stream: TcpStream, builder: Arc<Builder>, router: Router, watcher: Watcher) {
    // Answers are written whole; waiting to fill a segment only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let seen = AtomicBool::new(false);
    let seen = &seen;
    let service = service_fn(|request: http::Request<Incoming>| {
        seen.store(true, Relaxed);
        router.clone().call(request)
    });
    let serving = watcher.watch(builder.serve_connection(TokioIo::new(stream), service));
    let mut serving = std::pin::pin!(serving);
    // hyper's own timeout starts when it knows the protocol's version; a client that never says holds no place here.
    let first = tokio::time::timeout(FIRST_REQUEST_MAX, &mut serving).await;
    let ended = match first {
        Ok(ended) => ended,
        Err(_) if !seen.load(Relaxed) => return,
        Err(_) => serving.await,
    };
    if let Err(error) = ended {
        // Clients that break off are everyday life.
        tracing::debug!(error = %error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests;
