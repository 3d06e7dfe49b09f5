//! `/admin/v1/apps`: what is deployed.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use headland_guest_host::AppSummary;
use serde::Serialize;

use super::{Administration, Answer};
use crate::errors::{ApiError, Reason};
use crate::gateway::Gateway;

pub(super) fn routes() -> Router<Administration> {
    Router::new().route("/admin/v1/apps", get(list)).route("/admin/v1/apps/{name}", get(show))
}

#[derive(Serialize)]
struct AppList {
    apps: Vec<AppSummary>,
}

async fn list(State(gateway): State<Arc<Gateway>>) -> Json<AppList> {
    Json(AppList { apps: gateway.apps().list() })
}

async fn show(State(gateway): State<Arc<Gateway>>, Path(name): Path<String>) -> Answer<AppSummary> {
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
