//! The [OCI distribution API](https://github.com/opencontainers/distribution-spec) 1.1 over the store: what `skopeo`,
//! `oras` and `headland model push` speak.
//!
//! Stands between the admin listener and [`crate::store`]. A request is taken apart by `route`, answered by `blobs`,
//! `uploads`, `manifests` or `listings`, and every failure becomes its status and OCI code in `failure`. The store's calls
//! block and run on blocking threads; bodies stream through bounded channels. Before a manifest becomes visible the
//! [`Gatekeeper`] judges it. Who may call at all is decided by a layer in front.

mod blobs;
mod failure;
mod gate;
mod intake;
mod limits;
mod listings;
mod manifests;
mod query;
mod range;
mod route;
mod uploads;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use tokio::sync::Semaphore;

use crate::store::{Store, StoreError};
use failure::Failure;
use intake::Incoming;
use route::Route;

pub use gate::{Content, Gatekeeper, ManifestPut, OpenGate, Refusal};
pub use limits::Limits;

/// What the router answers from.
#[derive(Clone)]
pub struct Registry {
    /// Where everything is kept.
    pub store: Store,
    /// Who judges manifests before they become visible.
    pub gatekeeper: Arc<dyn Gatekeeper>,
    /// What clients may use.
    pub limits: Limits,
}

/// The registry with what requests share.
struct Shared {
    registry: Registry,
    uploads: Arc<Semaphore>,
    manifests: Semaphore,
    /// Held from the look at a tag to the write of it, so that of two first pushes to one version only one counts.
    versions: Mutex<()>,
}

/// The distribution API, all of it under `/v2/`.
pub fn router(registry: Registry) -> Router {
    let shared = Shared {
        uploads: Arc::new(Semaphore::new(registry.limits.uploads_running_max)),
        manifests: Semaphore::new(registry.limits.manifests_running_max),
        versions: Mutex::new(()),
        registry,
    };
    Router::new()
        .route("/v2", any(base))
        .route("/v2/", any(base))
        .route("/v2/{*path}", any(dispatch))
        .with_state(Arc::new(shared))
}

/// `GET /v2/`: yes, this is a registry.
async fn base(method: Method) -> Result<Response, Failure> {
    match method {
        Method::GET | Method::HEAD => {
            Ok(([(header::CONTENT_TYPE, "application/json"), API_VERSION], "{}").into_response())
        }
        _ => Err(Failure::method_not_allowed("GET, HEAD")),
    }
}

/// The digest of what a response describes.
const DIGEST_HEADER: HeaderName = HeaderName::from_static("docker-content-digest");
/// The session of an upload.
const UPLOAD_HEADER: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// The manifest that a manifest just put is about: says that the referrers API knows of it.
const SUBJECT_HEADER: HeaderName = HeaderName::from_static("oci-subject");
/// By what a list of referrers was filtered.
const FILTERS_HEADER: HeaderName = HeaderName::from_static("oci-filters-applied");
/// Older clients look for this before they believe in a registry.
const API_VERSION: (HeaderName, &str) = (HeaderName::from_static("docker-distribution-api-version"), "registry/2.0");

async fn dispatch(
    State(shared): State<Arc<Shared>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Failure> {
    let request = request.map(Incoming::new);
    let Ok(Path(path)) = path else { return Err(Failure::no_route()) };
    let route = route::parse(&path)?;
    let method = request.method().clone();
    match (route, &method) {
        (Route::Catalog, &Method::GET) => listings::catalog(&shared, request.uri()).await,
        (Route::Tags(repository), &Method::GET) => listings::tags(&shared, repository, request.uri()).await,
        (Route::Referrers(repository, digest), &Method::GET) => {
            listings::referrers(&shared, repository, digest?, request.uri()).await
        }
        (Route::Blob(repository, digest), &Method::GET) => blobs::get(&shared, repository, digest?, request).await,
        (Route::Blob(repository, digest), &Method::HEAD) => blobs::head(&shared, repository, digest?).await,
        (Route::Blob(repository, digest), &Method::DELETE) => blobs::delete(&shared, repository, digest?).await,
        (Route::Uploads(repository), &Method::POST) => uploads::begin(&shared, repository, request).await,
        (Route::Upload(repository, id), &Method::GET) => uploads::status(&shared, repository, id?).await,
        (Route::Upload(repository, id), &Method::PATCH) => uploads::append(&shared, repository, id?, request).await,
        (Route::Upload(repository, id), &Method::PUT) => uploads::finish(&shared, repository, id?, request).await,
        (Route::Upload(repository, id), &Method::DELETE) => uploads::cancel(&shared, repository, id?).await,
        (Route::Manifest(repository, reference), &Method::GET | &Method::HEAD) => {
            manifests::get(&shared, repository, &reference, request).await
        }
        (Route::Manifest(repository, reference), &Method::PUT) => {
            manifests::put(&shared, repository, &reference, request).await
        }
        (Route::Manifest(repository, reference), &Method::DELETE) => {
            manifests::delete(&shared, repository, &reference).await
        }
        (route, _) => Err(Failure::method_not_allowed(route.methods())),
    }
}

/// Runs a call of the store where it may block.
async fn blocking<T: Send + 'static>(call: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(call).await.unwrap_or_else(|error| Err(Failure::internal("a request's work", &error)))
}

/// The same, for one plain call.
async fn stored<T: Send + 'static>(
    store: &Store,
    call: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Failure> {
    let store = store.clone();
    blocking(move || Ok(call(&store)?)).await
}

/// A response without a body.
fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Text as a header's value. Only digests, checked names and numbers come here; anything else would be left out.
fn header_value(text: impl ToString) -> HeaderValue {
    HeaderValue::try_from(text.to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
}
