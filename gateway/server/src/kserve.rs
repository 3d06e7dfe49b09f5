//! The Open Inference Protocol v2 over REST, as KServe and Triton speak it.
//!
//! `request.rs` turns bytes into tensors (`data.rs`, `sink.rs`: the JSON elements), the model table runs them,
//! `response.rs` writes what comes back, `metadata.rs` says what there is.

mod data;
mod metadata;
mod request;
mod response;
pub(crate) mod sink;

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, OriginalUri, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use headland_batcher::{Call, Caller, Model};
use headland_text::TEXT_INPUT;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Request, StatusCode};
use serde::Deserialize;
use serde_json::json;

use crate::errors::{ApiError, Reason};
use crate::gateway::Gateway;
use crate::observe::{Served, trace_of};
use crate::{body, cached, lookup, offload, truncation};

pub(crate) use metadata::{ModelTensors, tensors};
pub use request::{InferRequest, ParseError, RequestedOutput, parse_infer};

/// Says where the JSON ends and the binary tensors begin.
pub(crate) const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// Everything below `/v2`.
pub(crate) fn routes() -> Router<Arc<Gateway>> {
    Router::new()
        .route("/", get(async || Json(metadata::server())))
        .route("/health/live", get(async || Json(json!({ "live": true }))))
        .route("/health/ready", get(ready))
        .route("/models", get(models))
        .route("/models/{model}", get(model_metadata))
        .route("/models/{model}/versions/{version}", get(model_metadata))
        .route("/models/{model}/ready", get(model_ready))
        .route("/models/{model}/versions/{version}/ready", get(model_ready))
        .route("/models/{model}/infer", post(infer))
        .route("/models/{model}/versions/{version}/infer", post(infer))
        .fallback(unknown_route)
}

pub(crate) async fn unknown_route(OriginalUri(uri): OriginalUri) -> ApiError {
    let message = format!(
        "there is no `{}`; the Open Inference Protocol's routes begin with /v2/models and /v2/health",
        uri.path()
    );
    ApiError::new(Reason::RouteNotFound, message)
}

async fn ready(State(gateway): State<Arc<Gateway>>) -> Response {
    let ready = gateway.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready }))).into_response()
}

async fn models(State(gateway): State<Arc<Gateway>>) -> Response {
    let mut names: Vec<_> = gateway.models().listed().iter().map(|model| model.info().name.clone()).collect();
    names.dedup();
    Json(json!({ "models": names })).into_response()
}

async fn model_metadata(State(gateway): State<Arc<Gateway>>, Asked(model): Asked) -> Response {
    Json(metadata::model(&gateway, &model)).into_response()
}

/// A model in the table is loaded and warm. Asking loads nothing.
async fn model_ready(State(gateway): State<Arc<Gateway>>, Path(path): Path<AskedPath>) -> Result<Response, ApiError> {
    let model = lookup::loaded(&gateway, &path.model, path.version.as_deref())?;
    Ok(Json(json!({ "name": model.info().name, "ready": true })).into_response())
}

async fn infer(
    State(gateway): State<Arc<Gateway>>,
    Asked(model): Asked,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let arrived = Instant::now();
    let json_bytes = json_length(request.headers())?;
    let trace = trace_of(request.headers());
    let infer_max = gateway.limits().answer_max(&model);
    // Held to the end, for tensors that are read out of it rather than views of it are in its share of the budget too.
    let held = body::read(&gateway, request).await?;
    let bytes = held.clone();
    let parse = move || parse_infer(json_bytes, &bytes);
    let InferRequest { id, timeout, priority, inputs, outputs, binary_outputs } =
        offload::run(&gateway, arrived + infer_max, json_bytes.unwrap_or(held.len()), parse).await??;
    let texts = inputs.iter().find(|input| &*input.name == TEXT_INPUT).map(|input| truncation::texts_in(&input.tensor));
    let binary = response::binary_flags(&model, &outputs, binary_outputs)?;
    let wanted = model.select(outputs.iter().map(|output| output.name.as_str()))?;
    let deadline = arrived + timeout.map_or(infer_max, |timeout| timeout.min(infer_max));
    let (inputs, caller) = (inputs.into(), Caller::native());
    let call = Call { inputs, wanted, deadline: Some(deadline), priority, caller, trace };
    let answer = model.infer(call).await?;
    let served = Served::Model(model.info().name.to_arc());
    let truncated = answer.text.as_ref().and_then(|usage| truncation::header(usage, texts.unwrap_or(0)));
    let json_bytes = response::json_bytes_estimate(&answer.outputs, &binary);
    let (outputs, cache) = (answer.outputs, answer.cache);
    let write = move || response::write(&model, id.as_deref(), &outputs, &binary);
    let mut response = offload::run(&gateway, deadline, json_bytes, write).await??;
    truncation::set(response.headers_mut(), truncated);
    cached::set(response.headers_mut(), cache);
    response.extensions_mut().insert(served);
    Ok(response)
}

fn json_length(headers: &HeaderMap) -> Result<Option<usize>, ApiError> {
    let Some(value) = headers.get(JSON_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    length.map(Some).ok_or_else(|| {
        ApiError::new(Reason::MalformedBody, "Inference-Header-Content-Length must be the JSON part's length in bytes")
    })
}

impl From<ParseError> for ApiError {
    fn from(error: ParseError) -> Self {
        let reason = match &error {
            ParseError::Json { .. } | ParseError::Framing(_) => Reason::MalformedBody,
            ParseError::Tensor { .. } => Reason::InvalidInput,
        };
        ApiError::new(reason, error.to_string())
    }
}

#[derive(Deserialize)]
struct AskedPath {
    model: String,
    version: Option<String>,
}

/// The model that the path names, loaded now if need be.
struct Asked(Arc<Model>);

impl FromRequestParts<Arc<Gateway>> for Asked {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, gateway: &Arc<Gateway>) -> Result<Self, ApiError> {
        let Path(path) = Path::<AskedPath>::from_request_parts(parts, gateway)
            .await
            .map_err(|error| ApiError::new(Reason::RouteNotFound, error.body_text()))?;
        lookup::model(gateway, &path.model, path.version.as_deref()).await.map(Asked)
    }
}

#[cfg(test)]
mod tests;
