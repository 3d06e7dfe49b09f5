//! `/admin/v1/policy`: the trust policy in force, and reading it again.

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use headland_trust::policy::Explanation;
use serde::Serialize;

use super::{Administration, Answer};
use crate::errors::{ApiError, Reason};

pub(super) fn routes() -> Router<Administration> {
    Router::new().route("/admin/v1/policy", get(show)).route("/admin/v1/policy/reload", post(reload))
}

async fn show(State(administration): State<Administration>) -> Answer<Explanation> {
    match &*administration.policy.watch().borrow() {
        Some(policy) => Ok(Json(policy.explain())),
        None => Err(ApiError::new(
            Reason::NotFound,
            "no trust policy is set, so nothing from the registry is loaded; start the gateway with `--policy FILE`",
        )),
    }
}

#[derive(Serialize)]
struct Reloaded {
    unloaded: Vec<Unloaded>,
}

#[derive(Serialize)]
struct Unloaded {
    model: String,
    reason: String,
}

async fn reload(State(administration): State<Administration>) -> Answer<Reloaded> {
    administration.policy.reload().map_err(|error| ApiError::new(Reason::BadPolicy, error.to_string()))?;
    let denied = administration.models.apply_policy().await;
    let unloaded = denied.into_iter().map(|(model, error)| Unloaded { model, reason: error.to_string() });
    Ok(Json(Reloaded { unloaded: unloaded.collect() }))
}
