//! Serving over real sockets.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::*;

/// A server with a route that waits, and the means to end both.
struct Running {
    address: SocketAddr,
    entered: Arc<Notify>,
    leave: Arc<Notify>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Drained>,
}

async fn start(limits: Limits) -> Running {
    let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (inside, gate) = (entered.clone(), leave.clone());
    let slow = async move || {
        inside.notify_one();
        gate.notified().await;
        "slow"
    };
    let router = Router::new().route("/", get(async || "hello")).route("/slow", get(slow));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async { stopped.await.unwrap_or_default() };
    let server = tokio::spawn(async move { serve(listener, router, shutdown, &limits).await });
    Running { address, entered, leave, stop, server }
}

impl Running {
    async fn ask(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        stream
    }
}

async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut seen = Vec::new();
    while !seen.ends_with(end.as_bytes()) {
        let mut chunk = [0; 1024];
        match stream.read(&mut chunk).await.unwrap() {
            0 => break,
            read => seen.extend_from_slice(&chunk[..read]),
        }
    }
    String::from_utf8(seen).unwrap()
}

#[tokio::test]
async fn a_request_in_flight_is_finished_and_new_connections_are_refused() {
    let running = start(Limits::default()).await;
    let mut slow = running.ask("/slow").await;
    running.entered.notified().await;
    running.stop.send(()).unwrap();
    while TcpStream::connect(running.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!running.server.is_finished());
    running.leave.notify_one();
    assert!(until(&mut slow, "slow").await.ends_with("slow"));
    assert_eq!(running.server.await.unwrap(), Drained { cut: 0 });
}

#[tokio::test]
async fn an_idle_connection_does_not_delay_the_end() {
    let running = start(Limits::default()).await;
    let mut idle = running.ask("/").await;
    until(&mut idle, "hello").await;
    running.stop.send(()).unwrap();
    assert_eq!(running.server.await.unwrap(), Drained { cut: 0 });
}

#[tokio::test]
async fn a_request_that_outlasts_the_drain_is_cut() {
    let running = start(Limits { drain_max: Duration::from_millis(20), ..Limits::default() }).await;
    let mut slow = running.ask("/slow").await;
    running.entered.notified().await;
    running.stop.send(()).unwrap();
    assert_eq!(running.server.await.unwrap(), Drained { cut: 1 });
    assert_eq!(until(&mut slow, "slow").await, "");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_their_turn() {
    let running = start(Limits { connections_max: 1, ..Limits::default() }).await;
    let mut first = running.ask("/slow").await;
    running.entered.notified().await;
    let mut second = running.ask("/").await;
    running.leave.notify_one();
    until(&mut first, "slow").await;
    drop(first);
    assert!(until(&mut second, "hello").await.ends_with("hello"));
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_served() {
    let running = start(Limits::default()).await;
    let stream = TokioIo::new(TcpStream::connect(running.address).await.unwrap());
    let (mut client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("http://x/").body(axum::body::Body::empty()).unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2));
}

#[tokio::test]
async fn too_many_headers_are_431() {
    let running = start(Limits::default()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let headers: String = (0..HEADERS_MAX + 1).map(|i| format!("h{i}: x\r\n")).collect();
    stream.write_all(format!("GET / HTTP/1.1\r\n{headers}\r\n").as_bytes()).await.unwrap();
    assert!(until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test]
async fn a_client_that_never_finishes_its_first_head_is_let_go() {
    let running = start(Limits::default()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    // The beginning of the HTTP/2 preface, which hyper's own timeout does not cover.
    stream.write_all(b"PRI * HT").await.unwrap();
    tokio::time::pause();
    assert_eq!(until(&mut stream, "never").await, "");
}
