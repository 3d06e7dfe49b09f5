//! The admin plane: the registry, what is loaded and deployed, and how that is changed. Everything behind tokens.
//!
//! `models`, `apps` and `policy` are the JSON API under `/admin/v1`; `repository` is Triton's model repository API, which
//! shares `/v2` with the registry's OCI distribution API.

mod apps;
mod fleet;
mod models;
mod policy;
mod repository;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRef, FromRequest, FromRequestParts, Path, Request, State};
use axum::routing::get;
use axum::{Json, Router};
use headland_access::TokenStore;
use headland_control::Control;
use headland_lifecycle::{AppControl, LifecycleError, ModelControl, PolicyFile};
use headland_registry::Registry;
use headland_registry::store::StoreError;
use http::Uri;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::errors::{ApiError, Reason, Shape};
use crate::gateway::Gateway;
use crate::metrics;

/// The largest JSON body the admin plane reads.
const BODY_BYTES_MAX: usize = 64 << 10;

/// What the admin plane works with.
#[derive(Clone)]
pub struct Administration {
    /// What the data plane serves from.
    pub gateway: Arc<Gateway>,
    /// Loads and unloads models.
    pub models: ModelControl,
    /// Deploys and rolls back apps.
    pub apps: AppControl,
    /// Where everything that is pushed goes.
    pub registry: Registry,
    /// Who may ask.
    pub tokens: TokenStore,
    /// Whose signatures count.
    pub policy: Arc<PolicyFile>,
    /// The fleet, if this gateway is a control plane of one, or all of it.
    pub fleet: Option<Control>,
    /// Whether `/metrics` needs no token: where only this machine can ask.
    pub open_metrics: bool,
}

impl FromRef<Administration> for Arc<Gateway> {
    fn from_ref(administration: &Administration) -> Self {
        administration.gateway.clone()
    }
}

/// All routes, behind tokens.
pub(crate) fn routes(administration: Administration) -> Router {
    let required = match administration.open_metrics {
        true => headland_access::required_on_loopback,
        false => headland_access::required_scope,
    };
    let (tokens, registry) = (administration.tokens.clone(), administration.registry.clone());
    let router = Router::new()
        .route("/metrics", get(scrape))
        .merge(models::routes())
        .merge(apps::routes())
        .merge(policy::routes())
        .merge(fleet::routes())
        .merge(repository::routes())
        .with_state(administration)
        .merge(headland_registry::router(registry))
        .method_not_allowed_fallback(crate::gateway::method_not_allowed)
        .fallback(unknown_route);
    headland_access::protect(router, tokens, required)
}

/// The error shape of the admin plane's routes. The registry writes its own.
pub(crate) fn shape_of(path: &str) -> Shape {
    if path.starts_with("/v2/repository/") || path.starts_with("/v2/health/") { Shape::Kserve } else { Shape::Problem }
}

async fn unknown_route(uri: Uri) -> ApiError {
    let message = format!(
        "there is no `{}`; there are /admin/v1/models, /admin/v1/apps, /admin/v1/policy, /admin/v1/pops, /admin/v1/placement, \
         /admin/v1/plan, /admin/v1/rollouts, /metrics, and the registry at /v2/",
        uri.path()
    );
    ApiError::new(Reason::RouteNotFound, message)
}

async fn scrape(
    State(gateway): State<Arc<Gateway>>,
) -> Result<([(http::HeaderName, &'static str); 1], String), ApiError> {
    let text = metrics::scrape(&gateway)
        .map_err(|error| ApiError::internal("the metrics could not be written", error.to_string()))?;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
}

/// A JSON body of bounded size, whatever its content type says.
struct JsonBody<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, ApiError> {
        let unread = |_| {
            ApiError::new(
                Reason::BodyTooLarge,
                format!("the body is incomplete, or larger than {BODY_BYTES_MAX} bytes"),
            )
        };
        let body = axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX).await.map_err(unread)?;
        // Clients that have nothing to say send nothing.
        let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
        let bad = |error: serde_json::Error| ApiError::new(Reason::MalformedBody, format!("the body: {error}"));
        serde_json::from_slice(body).map(JsonBody).map_err(bad)
    }
}

/// What a path names. A name that cannot be one is no such thing.
struct Named<T>(T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let named = Path::<T>::from_request_parts(parts, state).await;
        named.map(|Path(named)| Named(named)).map_err(|error| ApiError::new(Reason::NotFound, error.body_text()))
    }
}

/// What the operator is told: all of it, for it is they who can do something about it.
impl From<&LifecycleError> for ApiError {
    fn from(error: &LifecycleError) -> Self {
        let reason = match error {
            LifecycleError::NotFound(_) => Reason::NotFound,
            LifecycleError::Denied(_) | LifecycleError::NoPolicy | LifecycleError::NotHere(_) => Reason::ModelDenied,
            LifecycleError::Conflict(_) => Reason::Conflict,
            LifecycleError::NoMemory { .. } | LifecycleError::Busy(_) => Reason::Overloaded,
            LifecycleError::Broken(_)
            | LifecycleError::Store(StoreError::DigestMismatch { .. } | StoreError::Damaged { .. }) => {
                Reason::ModelBroken
            }
            LifecycleError::Store(error) => {
                return ApiError::internal(format!("the registry failed: {error}"), format!("{error:?}"));
            }
        };
        ApiError::new(reason, error.to_string())
    }
}

impl From<LifecycleError> for ApiError {
    fn from(error: LifecycleError) -> Self {
        ApiError::from(&error)
    }
}

impl From<Arc<LifecycleError>> for ApiError {
    fn from(error: Arc<LifecycleError>) -> Self {
        ApiError::from(&*error)
    }
}

/// A 204, for what has nothing to say but that it is done.
type Done = Result<http::StatusCode, ApiError>;
const DONE: Done = Ok(http::StatusCode::NO_CONTENT);

type Answer<T> = Result<Json<T>, ApiError>;

#[cfg(test)]
mod tests;
