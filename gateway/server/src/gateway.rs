//! The gateway's shared state, and the two routers over it.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::available_parallelism;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::OriginalUri;
use axum::middleware::from_fn_with_state;
use axum::routing::any;
use headland_batcher::ModelTable;
use headland_guest_host::Apps;
use tokio::sync::Semaphore;

use crate::admin::Administration;
use crate::body::BUDGET_UNIT_BYTES;
use crate::errors::{ApiError, Reason, Shape};
use crate::limits::Limits;
use crate::metrics::{Metrics, RouteKind};
use crate::observe::{Plane, observe};
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

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

/// The data plane: native endpoints, and apps for everything else.
pub fn data_plane(gateway: Arc<Gateway>) -> Router {
    let plane = Plane { metrics: gateway.metrics.clone(), shape_of: Shape::of_path, route_of: RouteKind::of_path };
    Router::new()
        // The two protocols own their prefixes whole: a typo below them is answered in their own error shape, and no
        // app can shadow them.
        .nest("/v2", kserve::routes())
        .nest("/v1", openai::routes())
        // Nesting leaves exactly these two out.
        .route("/v2/", any(kserve::unknown_route))
        .route("/v1/", any(openai::unknown_route))
        // Apps come last, by host and path: theirs is every path that is left.
        .fallback(apps::dispatch)
        // Known paths asked with another method; the router adds `Allow`.
        .method_not_allowed_fallback(method_not_allowed)
        // Outermost, so that nothing goes out unseen: request id in and out, trace context, panics to errors, errors
        // to the protocol's shape, access log, metrics.
        .layer(from_fn_with_state(plane, observe))
        .with_state(gateway)
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
