//! Triton's model repository extension, as `tritonclient` speaks it: index, load, unload. And, for probes of this listener,
//! the protocol's health routes.
//!
//! <https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md>

use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use headland_lifecycle::ModelState;
use headland_package::{IdError, ModelRef};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Administration, Answer, JsonBody, Named};
use crate::errors::{ApiError, Reason};

pub(super) fn routes() -> Router<Administration> {
    Router::new()
        .route("/v2/health/live", get(async || StatusCode::OK))
        .route("/v2/health/ready", get(ready))
        .route("/v2/repository/index", post(index))
        .route("/v2/repository/models/{name}/load", post(load))
        .route("/v2/repository/models/{name}/unload", post(unload))
}

async fn ready(State(administration): State<Administration>) -> StatusCode {
    if administration.gateway.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct IndexRequest {
    /// Only what answers now.
    #[serde(default)]
    ready: bool,
}

#[derive(Serialize)]
struct IndexLine {
    name: String,
    version: String,
    state: ModelState,
    reason: String,
}

async fn index(
    State(administration): State<Administration>,
    JsonBody(request): JsonBody<IndexRequest>,
) -> Answer<Vec<IndexLine>> {
    let entries = administration.models.index().await?;
    let line = |entry: headland_lifecycle::IndexEntry| IndexLine {
        name: entry.name.to_string(),
        version: entry.version.to_string(),
        state: entry.state,
        reason: entry.reason.unwrap_or_default(),
    };
    let wanted = entries.into_iter().filter(|entry| !request.ready || entry.state == ModelState::Ready);
    Ok(Json(wanted.map(line).collect()))
}

/// What a client may say with a load or unload. Nothing of it is ours to follow: configuration and files come signed, from
/// the registry, and not with the request.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    #[serde(default)]
    parameters: Map<String, Value>,
}

async fn load(
    State(administration): State<Administration>,
    Named(name): Named<String>,
    JsonBody(Parameters { parameters }): JsonBody<Parameters>,
) -> Result<impl IntoResponse, ApiError> {
    if let Some(key) = parameters.keys().next() {
        let message =
            format!("parameter `{key}` is not supported: a model's files and settings come signed, from the registry");
        return Err(ApiError::new(Reason::InvalidInput, message));
    }
    administration.models.load(&reference(&name)?).await?;
    Ok(StatusCode::OK)
}

async fn unload(
    State(administration): State<Administration>,
    Named(name): Named<String>,
    JsonBody(Parameters { parameters }): JsonBody<Parameters>,
) -> Result<impl IntoResponse, ApiError> {
    // `tritonclient` always says whether models that this one uses go too; ours use none.
    if let Some(key) = parameters.keys().find(|key| *key != "unload_dependents") {
        return Err(ApiError::new(Reason::InvalidInput, format!("parameter `{key}` is not supported")));
    }
    administration.models.unload(&reference(&name)?)?;
    Ok(StatusCode::OK)
}

fn reference(name: &str) -> Result<ModelRef, ApiError> {
    name.parse().map_err(|error: IdError| ApiError::new(Reason::NotFound, error.to_string()))
}
