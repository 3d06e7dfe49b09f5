//! The peer plane: what other members of the fleet ask of this gateway. Inferences for the models that are loaded here,
//! descriptions of them, whether it is ready, and the blobs it has.
//!
//! It listens on a port of its own, over mutual TLS: `peer/serve.rs` lets in nobody but the fleet. What comes in here goes no
//! further: a model is looked up among those that are loaded here (or loaded now, where that is how it is done), so that two
//! PoPs that each think the other has a model do not send a request to and fro.

mod infer;
mod serve;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::extract::{OriginalUri, Path, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use headland_package::{ModelName, ModelVersion};
use headland_registry::Registry;
use headland_remote::{INFER_PATH, MODELS_PATH, READY_PATH, wire};
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

pub use serve::serve_peers;

use crate::errors::{ApiError, Reason, Shape};
use crate::gateway::{Gateway, method_not_allowed};
use crate::metrics::RouteKind;
use crate::observe::{Plane, observe};

/// The peer plane over `gateway`, as [`serve_peers`] takes it. What `registry` has can be read, and nothing be written.
pub fn peer_plane(gateway: Arc<Gateway>, registry: Option<Registry>) -> Router {
    let metrics = gateway.metrics_shared();
    let plane = Plane { metrics, shape_of: |_| Shape::Problem, route_of: |_| RouteKind::Peer };
    let blobs = registry.map(|registry| headland_registry::router(registry).layer(from_fn(reads_alone)));
    Router::new()
        .route(INFER_PATH, post(infer::infer))
        .route(&format!("{MODELS_PATH}/{{name}}/{{version}}"), get(model))
        .route(READY_PATH, get(ready))
        .with_state(gateway)
        .merge(blobs.unwrap_or_default())
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(unknown_route)
        .layer(from_fn_with_state(plane, observe))
}

async fn unknown_route(OriginalUri(uri): OriginalUri) -> ApiError {
    ApiError::new(Reason::RouteNotFound, format!("members of the fleet find nothing at `{}`", uri.path()))
}

/// Blobs come into the registry by its own door, past its gatekeeper.
async fn reads_alone(request: Request, next: Next) -> Response {
    match *request.method() {
        Method::GET | Method::HEAD => next.run(request).await,
        _ => ApiError::new(Reason::MethodNotAllowed, "members of the fleet may read here, with GET and HEAD")
            .into_response(),
    }
}

async fn ready(State(gateway): State<Arc<Gateway>>) -> Response {
    let ready = gateway.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready }))).into_response()
}

#[derive(Deserialize)]
struct ModelPath {
    name: ModelName,
    version: ModelVersion,
}

/// Describes a model that is here.
async fn model(State(gateway): State<Arc<Gateway>>, Path(path): Path<ModelPath>) -> Result<Response, ApiError> {
    let finding = gateway.models().describe_here(&path.name, &path.version);
    let found = tokio::time::timeout(gateway.limits().infer_max, finding).await;
    let loading = format!("model `{}:{}` is still being loaded", path.name, path.version);
    let described = found.map_err(|_| ApiError::new(Reason::ModelLoading, loading))??;
    Ok(([(CONTENT_TYPE, "application/json")], wire::encode_description(&described)).into_response())
}
