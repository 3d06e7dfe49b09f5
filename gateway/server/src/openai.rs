//! OpenAI's API: completions, embeddings, and the models there are.

mod completions;
mod embeddings;
mod input;

use std::sync::Arc;

use axum::extract::{OriginalUri, Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use headland_batcher::Model;
use headland_package::ModelName;
use serde::Serialize;

use crate::errors::{ApiError, Reason};
use crate::gateway::Gateway;
use crate::lookup;

/// Everything below `/v1`.
pub(crate) fn routes() -> Router<Arc<Gateway>> {
    Router::new()
        .route("/chat/completions", post(completions::chat))
        .route("/completions", post(completions::text))
        .route("/embeddings", post(embeddings::create))
        .route("/models", get(list))
        .route("/models/{model}", get(show))
        .fallback(unknown_route)
}

pub(crate) async fn unknown_route(OriginalUri(uri): OriginalUri) -> ApiError {
    let message = format!(
        "there is no `{}`; of OpenAI's API there are /v1/chat/completions, /v1/completions, /v1/embeddings and /v1/models",
        uri.path()
    );
    ApiError::new(Reason::RouteNotFound, message)
}

#[derive(Serialize)]
struct ModelList {
    object: &'static str,
    data: Vec<ModelObject>,
}

#[derive(Serialize)]
struct ModelObject {
    id: ModelName,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
}

impl ModelObject {
    fn new(gateway: &Gateway, model: &Model) -> Self {
        ModelObject {
            id: model.info().name.clone(),
            object: "model",
            created: gateway.started_unix_s(),
            owned_by: "headland",
        }
    }
}

/// Each model once, whatever versions of it are loaded.
async fn list(State(gateway): State<Arc<Gateway>>) -> Json<ModelList> {
    let mut data: Vec<_> = gateway.models().listed().iter().map(|model| ModelObject::new(&gateway, model)).collect();
    data.dedup_by(|a, b| a.id == b.id);
    Json(ModelList { object: "list", data })
}

async fn show(State(gateway): State<Arc<Gateway>>, Path(name): Path<String>) -> Result<Json<ModelObject>, ApiError> {
    let model = lookup::loaded(&gateway, &name, None)?;
    Ok(Json(ModelObject::new(&gateway, &model)))
}

#[cfg(test)]
mod tests;
