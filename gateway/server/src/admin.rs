//! The admin plane: metrics, and what is loaded and deployed, as JSON.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use headland_batcher::Model;
use headland_guest_host::AppSummary;
use headland_package::{ModelName, ModelVersion};
use http::Uri;
use http::header::CONTENT_TYPE;
use serde::Serialize;

use crate::errors::{ApiError, Reason};
use crate::gateway::Gateway;
use crate::kserve::{ModelTensors, tensors};
use crate::{lookup, metrics};

pub(crate) fn routes() -> Router<Arc<Gateway>> {
    Router::new()
        .route("/metrics", get(scrape))
        .route("/admin/v1/models", get(models))
        .route("/admin/v1/models/{name}", get(model))
        .route("/admin/v1/apps", get(apps))
        .route("/admin/v1/apps/{name}", get(app))
        .fallback(unknown_route)
}

async fn unknown_route(uri: Uri) -> ApiError {
    let message = format!("there is no `{}`; there are /metrics, /admin/v1/models and /admin/v1/apps", uri.path());
    ApiError::new(Reason::RouteNotFound, message)
}

async fn scrape(
    State(gateway): State<Arc<Gateway>>,
) -> Result<([(http::HeaderName, &'static str); 1], String), ApiError> {
    let text = metrics::scrape(&gateway)
        .map_err(|error| ApiError::internal("the metrics could not be written", error.to_string()))?;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
}

#[derive(Serialize)]
struct ModelList {
    models: Vec<ModelSummary>,
}

#[derive(Serialize)]
struct ModelSummary {
    name: ModelName,
    version: ModelVersion,
    digest: String,
    backend: &'static str,
    device: String,
    memory_bytes: u64,
    pending: usize,
    answered: u64,
    /// The longest text it takes whole, in tokens, if it takes text.
    tokens_max: Option<usize>,
    #[serde(flatten)]
    tensors: ModelTensors,
}

impl ModelSummary {
    fn of(model: &Model) -> Self {
        let info = model.info();
        ModelSummary {
            name: info.name.clone(),
            version: info.version.clone(),
            digest: info.digest.to_string(),
            backend: info.backend,
            device: model.device().to_string(),
            memory_bytes: model.memory_bytes(),
            pending: model.pending(),
            answered: model.stats().success(),
            tokens_max: model.text().map(headland_text::TextEncoder::max_sequence_length),
            tensors: tensors(model),
        }
    }
}

async fn models(State(gateway): State<Arc<Gateway>>) -> Json<ModelList> {
    Json(ModelList { models: gateway.models().all().iter().map(|model| ModelSummary::of(model)).collect() })
}

async fn model(State(gateway): State<Arc<Gateway>>, Path(name): Path<String>) -> Result<Json<ModelSummary>, ApiError> {
    Ok(Json(ModelSummary::of(&*lookup::model(&gateway, &name, None)?)))
}

#[derive(Serialize)]
struct AppList {
    apps: Vec<AppSummary>,
}

async fn apps(State(gateway): State<Arc<Gateway>>) -> Json<AppList> {
    Json(AppList { apps: gateway.apps().list() })
}

async fn app(State(gateway): State<Arc<Gateway>>, Path(name): Path<String>) -> Result<Json<AppSummary>, ApiError> {
    let mut apps = gateway.apps().list();
    match apps.iter().position(|app| app.name.as_str() == name) {
        Some(index) => Ok(Json(apps.swap_remove(index))),
        None => {
            let names: Vec<&str> = apps.iter().map(|app| app.name.as_str()).collect();
            let deployed =
                if names.is_empty() { "none is".to_owned() } else { format!("deployed: {}", names.join(", ")) };
            Err(ApiError::new(Reason::AppNotFound, format!("app `{name}` is not deployed; {deployed}")))
        }
    }
}

#[cfg(test)]
mod tests;
