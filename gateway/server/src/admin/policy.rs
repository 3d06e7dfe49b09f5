//! `/admin/v1/policy`: the trust policy in force, and reading it again.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use headland_lifecycle::LifecycleError;
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
    /// `models/NAME:VERSION` or `apps/NAME:VERSION`.
    artifact: String,
    reason: String,
}

async fn reload(State(administration): State<Administration>) -> Answer<Reloaded> {
    // A task of its own: a policy that is in force is applied whether or not the client waits for it.
    let applied = tokio::spawn(async move {
        let policy = administration.policy.clone();
        let reloaded = tokio::task::spawn_blocking(move || policy.reload()).await;
        match reloaded {
            Ok(Ok(())) => Ok((administration.models.apply_policy().await, administration.apps.apply_policy().await)),
            Ok(Err(error)) => Err(ApiError::new(Reason::BadPolicy, error.to_string())),
            Err(error) => Err(ApiError::internal("reading the policy was interrupted", error.to_string())),
        }
    });
    let interrupted =
        |error: tokio::task::JoinError| ApiError::internal("applying the policy was interrupted", error.to_string());
    let (models, apps) = applied.await.map_err(interrupted)??;
    let unloaded = |kind: &'static str| {
        move |(name, error): (String, Arc<LifecycleError>)| Unloaded {
            artifact: format!("{kind}/{name}"),
            reason: error.to_string(),
        }
    };
    let models = models.into_iter().map(unloaded("models"));
    Ok(Json(Reloaded { unloaded: models.chain(apps.into_iter().map(unloaded("apps"))).collect() }))
}
