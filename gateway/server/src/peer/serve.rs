//! Serves the peer plane: HTTP/2 over mutual TLS, to members of the fleet.

use std::sync::Arc;
use std::time::SystemTime;

use headland_identity::{Identity, IdentityError, Peer, explain};
use headland_remote::limits::{CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, PING_EVERY, PING_MAX, STREAM_WINDOW_BYTES};
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::Watcher;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::limits::{HANDSHAKE_MAX, HEADER_BYTES_MAX, Limits, PEER_STREAMS_MAX};
use crate::serve::{Answers, Drained, accept};

/// Serves `answers` on `listener` to whoever shows a certificate of the fleet, until `shutdown` completes; then tells its
/// peers to send no more, lets requests in flight finish for at most [`Limits::drain_max`], and returns. Who asks is in the
/// extensions of each request, as [`Peer`].
///
/// # Errors
/// When TLS cannot be set up; before the first connection.
pub async fn serve_peers(
    listener: TcpListener,
    identity: &Identity,
    answers: impl Answers,
    shutdown: impl Future<Output = ()>,
    limits: &Limits,
) -> Result<Drained, IdentityError> {
    let acceptor = TlsAcceptor::from(identity.server_config()?);
    let builder = Arc::new(builder());
    let connection = |stream, watcher| connection(stream, acceptor.clone(), builder.clone(), answers.clone(), watcher);
    Ok(accept(listener, connection, shutdown, limits).await)
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(HEADER_BYTES_MAX).unwrap_or(u32::MAX))
        .max_concurrent_streams(PEER_STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_MAX);
    builder
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    builder: Arc<Builder<TokioExecutor>>,
    answers: impl Answers,
    watcher: Watcher,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let from = stream.peer_addr().map_or_else(|_| "nowhere".to_owned(), |address| address.to_string());
    let stream = match tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::info!(from, why = explain(&error), "a connection to the peer plane was refused");
            return;
        }
        Err(_) => {
            tracing::info!(from, "a connection to the peer plane was not secured in time");
            return;
        }
    };
    let peer = match Peer::of(stream.get_ref().1.peer_certificates()) {
        Ok(peer) => peer,
        Err(error) => {
            tracing::info!(from, %error, "a connection to the peer plane was refused");
            return;
        }
    };
    tracing::debug!(from, peer = %peer.member, "a member of the fleet has connected");
    let valid_for = peer.not_after.duration_since(SystemTime::now()).unwrap_or_default();
    let member = peer.member.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        answers.clone().call(request)
    });
    let serving = watcher.watch(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        ended = serving => {
            if let Err(error) = ended {
                // Peers that die are everyday life.
                tracing::debug!(from, peer = %member, %error, "a peer's connection ended early");
            }
        }
        // Peers connect anew long before; whoever did not has no valid certificate.
        () = tokio::time::sleep(valid_for) => {
            tracing::info!(from, peer = %member, "a peer's certificate ended, and its connection with it");
        }
    }
}
