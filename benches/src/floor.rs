//! Plain axum on tokio: what any HTTP server of ours costs at least, with an executor in a handler too.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::{get, post};
use headland_nn_core::{Executor, NamedTensor, OutputSelection, Tensor};

use crate::own_cost;

/// Serves a word and an echo on this port, forever; with ONNX Runtime's library the digits model as well, its tensors as bare bytes.
pub async fn serve(port: u16, library: Option<&Path>) -> Result<()> {
    let mut router = Router::new()
        .route("/hello", get(|| async { "hello, world\n" }))
        .route("/echo", post(|body: Bytes| async move { body }));
    if let Some(library) = library {
        let executor = Arc::new(Mutex::new(own_cost::executor(library)?));
        let infer = move |body: Bytes| {
            let executor = executor.clone();
            async move {
                let mut executor = executor.lock().unwrap_or_else(PoisonError::into_inner);
                infer(executor.as_mut(), &body).map_err(|error| (StatusCode::BAD_REQUEST, format!("{error:#}")))
            }
        };
        router = router.route("/infer", post(infer));
    }
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

/// An image's logits, on the thread that has read it.
fn infer(executor: &mut dyn Executor, body: &[u8]) -> Result<Vec<u8>> {
    let pixels = body.as_chunks().0.iter().map(|pixel| f32::from_le_bytes(*pixel)).collect();
    let image = NamedTensor::new("image", Tensor::from_vec([1, 8, 8], pixels)?);
    let outputs = executor.run(&[image], &OutputSelection::Only(vec![0]))?;
    let logits = outputs.first().context("no output")?;
    Ok(logits.tensor.data().to_vec())
}
