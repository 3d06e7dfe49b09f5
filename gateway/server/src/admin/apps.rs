//! `/admin/v1/apps`: what is deployed and what could be, deploying, rolling back, removing.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use headland_guest_host::AppSummary;
use headland_lifecycle::{AppEntry, AppState};
use headland_package::{AppName, ModelVersion};
use serde::{Deserialize, Serialize};

use super::{Administration, Answer, DONE, Done, JsonBody, Named};
use crate::errors::{ApiError, Reason};
use crate::gateway::Gateway;

pub(super) fn routes() -> Router<Administration> {
    Router::new()
        .route("/admin/v1/apps", get(list))
        .route("/admin/v1/apps/{name}", get(show).delete(remove))
        .route("/admin/v1/apps/{name}/deployment", put(deploy))
        .route("/admin/v1/apps/{name}/rollback", post(rollback))
}

#[derive(Serialize)]
struct AppList {
    apps: Vec<AppDetails>,
}

/// An app: what the registry knows of it, and what of it serves.
#[derive(Serialize)]
struct AppDetails {
    name: AppName,
    state: AppState,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What the registry has.
    versions: Vec<headland_lifecycle::AppVersion>,
    #[serde(flatten)]
    serving: Option<Serving>,
}

/// What serves, under other names than those above.
#[derive(Serialize)]
struct Serving {
    #[serde(flatten)]
    fields: BTreeMap<String, serde_json::Value>,
}

impl Serving {
    fn of(app: &AppSummary) -> Result<Self, ApiError> {
        let failed = |error: serde_json::Error| ApiError::internal("the app could not be described", error.to_string());
        let mut fields: BTreeMap<String, serde_json::Value> =
            serde_json::to_value(app).and_then(serde_json::from_value).map_err(failed)?;
        fields.remove("name");
        Ok(Serving { fields })
    }
}

async fn details(administration: &Administration) -> Result<Vec<AppDetails>, ApiError> {
    let mut deployed: BTreeMap<AppName, AppSummary> =
        administration.gateway.apps().list().into_iter().map(|app| (app.name.clone(), app)).collect();
    let mut found = Vec::new();
    for AppEntry { name, state, reason, versions, .. } in administration.apps.index().await? {
        let serving = deployed.remove(&name).map(|app| Serving::of(&app)).transpose()?;
        found.push(AppDetails { name, state, reason, versions, serving });
    }
    // Those that the operator named have nothing in the registry.
    for (name, app) in deployed {
        let serving = Some(Serving::of(&app)?);
        found.push(AppDetails { name, state: AppState::Ready, reason: None, versions: Vec::new(), serving });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

async fn list(State(administration): State<Administration>) -> Answer<AppList> {
    Ok(Json(AppList { apps: details(&administration).await? }))
}

async fn show(State(administration): State<Administration>, Named(name): Named<String>) -> Answer<AppDetails> {
    let mut apps = details(&administration).await?;
    match apps.iter().position(|app| app.name.as_str() == name) {
        Some(index) => Ok(Json(apps.swap_remove(index))),
        None => Err(not_deployed(&administration.gateway, &name)),
    }
}

fn not_deployed(gateway: &Arc<Gateway>, name: &str) -> ApiError {
    let apps = gateway.apps().list();
    let names: Vec<&str> = apps.iter().map(|app| app.name.as_str()).collect();
    let deployed = if names.is_empty() { "none is".to_owned() } else { format!("deployed: {}", names.join(", ")) };
    ApiError::new(Reason::AppNotFound, format!("app `{name}` is not deployed; {deployed}"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deployment {
    version: ModelVersion,
}

async fn deploy(
    State(administration): State<Administration>,
    Named(name): Named<AppName>,
    JsonBody(Deployment { version }): JsonBody<Deployment>,
) -> Answer<AppSummary> {
    Ok(Json(administration.apps.deploy(&name, &version).await?))
}

async fn rollback(State(administration): State<Administration>, Named(name): Named<AppName>) -> Answer<AppSummary> {
    Ok(Json(administration.apps.rollback(&name).await?))
}

async fn remove(State(administration): State<Administration>, Named(name): Named<AppName>) -> Done {
    administration.apps.remove(&name).await?;
    DONE
}
