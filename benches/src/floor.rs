//! Plain axum on tokio: what any HTTP server of ours costs at least.

use std::net::Ipv4Addr;

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};

/// Serves a word and an echo on this port, forever.
pub async fn serve(port: u16) -> Result<()> {
    let router = Router::new()
        .route("/hello", get(|| async { "hello, world\n" }))
        .route("/echo", post(|body: Bytes| async move { body }));
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = router.clone();
        tokio::spawn(async move {
            let io = hyper_util::rt::TokioIo::new(stream);
            let service = hyper_util::service::TowerToHyperService::new(service);
            // A client that hangs up ends its connection; that is all an error says here.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
        });
    }
}
