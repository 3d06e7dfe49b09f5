//! The gateway's shared state, and the two routers over it.

use std::convert::Infallible;
use std::num::NonZero;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::thread::available_parallelism;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::OriginalUri;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use headland_batcher::ModelTable;
use headland_guest_host::Apps;
use headland_remote::Peers;
use http::Request;
use tokio::sync::Semaphore;
use tower::{Service, ServiceExt};

use crate::admin::Administration;
use crate::body::BUDGET_UNIT_BYTES;
use crate::errors::{ApiError, Reason, Shape};
use crate::limits::Limits;
use crate::metrics::{Metrics, RouteKind};
use crate::observe::{Plane, Watch, caught, observe};
use crate::{admin, apps, kserve, openai};

/// What all requests share.
pub struct Gateway {
    models: Arc<ModelTable>,
    apps: Arc<Apps>,
    limits: Limits,
    ready: AtomicBool,
    body_budget: Arc<Semaphore>,
    offload_permits: Arc<Semaphore>,
    started_unix_s: u64,
    metrics: Arc<Metrics>,
    peers: OnceLock<Arc<Peers>>,
}

impl Gateway {
    /// A gateway over `models` and `apps`. It is ready from the start: load before you serve.
    pub fn new(models: Arc<ModelTable>, apps: Arc<Apps>, limits: Limits) -> Arc<Self> {
        let budget = limits.bodies_bytes_max.max(limits.body_bytes_max).div_ceil(BUDGET_UNIT_BYTES);
        Arc::new(Gateway {
            models,
            apps,
            limits,
            ready: AtomicBool::new(true),
            body_budget: Arc::new(Semaphore::new(budget.min(Semaphore::MAX_PERMITS))),
            offload_permits: Arc::new(Semaphore::new(available_parallelism().map_or(1, NonZero::get))),
            started_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            metrics: Arc::new(Metrics::new()),
            peers: OnceLock::new(),
        })
    }

    /// The loaded models.
    pub fn models(&self) -> &Arc<ModelTable> {
        &self.models
    }

    /// The deployed apps.
    pub fn apps(&self) -> &Arc<Apps> {
        &self.apps
    }

    /// What a request may use.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether `/v2/health/ready` says yes.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Relaxed)
    }

    /// Lets `/v2/health/ready` say yes or no.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Relaxed);
    }

    /// Waits for `signal`, says not ready, and gives those who ask [`Limits::drain_delay`] to notice: what
    /// [`crate::serve`] should get as its shutdown, for it accepts connections until then.
    pub async fn unready_after(self: Arc<Self>, signal: impl Future<Output = ()>) {
        signal.await;
        self.set_ready(false);
        tokio::time::sleep(self.limits.drain_delay).await;
    }

    pub(crate) fn body_budget(&self) -> &Arc<Semaphore> {
        &self.body_budget
    }

    /// One for each core: who computes on a blocking thread holds one.
    pub(crate) fn offload_permits(&self) -> &Arc<Semaphore> {
        &self.offload_permits
    }

    pub(crate) fn started_unix_s(&self) -> u64 {
        self.started_unix_s
    }

    /// Says by whom models are asked at other PoPs, so that the metrics can tell of it. The first call counts.
    pub fn report_peers(&self, peers: Arc<Peers>) {
        let _ = self.peers.set(peers);
    }

    pub(crate) fn peers(&self) -> Option<&Peers> {
        self.peers.get().map(|peers| &**peers)
    }

    pub(crate) fn metrics_shared(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

/// The data plane: native endpoints, and apps for everything else.
#[derive(Clone)]
pub struct DataPlane {
    gateway: Arc<Gateway>,
    native: Router,
    plane: Plane,
}

/// The data plane over `gateway`, as [`crate::serve`] takes it.
pub fn data_plane(gateway: Arc<Gateway>) -> DataPlane {
    let plane = Plane { metrics: gateway.metrics.clone(), shape_of: Shape::of_path, route_of: RouteKind::of_path };
    let native = Router::new()
        // The two protocols own their prefixes whole: a typo below them is answered in their own error shape, and no
        // app can shadow them.
        .nest("/v2", kserve::routes())
        .nest("/v1", openai::routes())
        // Nesting leaves exactly these two out.
        .route("/v2/", any(kserve::unknown_route))
        .route("/v1/", any(openai::unknown_route))
        // Known paths asked with another method; the router adds `Allow`.
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(gateway.clone());
    DataPlane { gateway, native, plane }
}

impl<B> Service<Request<B>> for DataPlane
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut request = request.map(Body::new);
        // Outermost, so that nothing goes out unseen: request id in and out, trace context, panics to errors, errors
        // to the protocol's shape, access log, metrics.
        let watch = Watch::begin(&self.plane, &mut request);
        if is_native(request.uri().path()) {
            let answer = self.native.clone().oneshot(request);
            return Box::pin(async move { Ok(watch.answer(Ok(async { answer.await.into_response() })).await) });
        }
        // Apps own every path that is left, by host and path. They do without a router: it would take as long as
        // a small guest does, and more memory.
        let answer = caught(|| apps::dispatch(&self.gateway, request));
        Box::pin(async move { Ok(watch.answer(answer).await) })
    }
}

/// Whether a path belongs to one of the two protocols.
fn is_native(path: &str) -> bool {
    let below = |prefix| path.strip_prefix(prefix).is_some_and(|rest: &str| rest.is_empty() || rest.starts_with('/'));
    below("/v2") || below("/v1")
}

/// The admin plane: the registry, the JSON API and metrics. It belongs on a listener that only operators reach.
pub fn admin_plane(administration: Administration) -> Router {
    let metrics = administration.gateway.metrics.clone();
    let plane = Plane { metrics, shape_of: admin::shape_of, route_of: |_| RouteKind::Admin };
    admin::routes(administration).layer(from_fn_with_state(plane, observe))
}

pub(crate) async fn method_not_allowed(method: http::Method, OriginalUri(uri): OriginalUri) -> ApiError {
    let message = format!("`{}` does not take {method}; the `allow` header says what it takes", uri.path());
    ApiError::new(Reason::MethodNotAllowed, message)
}
