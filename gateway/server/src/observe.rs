//! The outermost layer: what every request gets, whoever answers it.
//!
//! A request id and trace context on the way in; on the way out errors in their protocol's shape, the id in a header,
//! one line in the access log and two metrics, when the last byte has gone or the client has.

mod record;
mod request_id;
mod trace;

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread;

use axum::body::Body;
use axum::extract::State;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use headland_batcher::Trace;
use http::header::ALLOW;
use http::{HeaderMap, HeaderName, HeaderValue, Request};

use crate::errors::{ApiError, Shape, render};
use crate::metrics::{Metrics, RouteKind};
use record::{Record, Watched};
use request_id::RequestId;

/// The header a request id travels in, both ways.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What sets one listener's requests apart from another's.
#[derive(Clone)]
pub(crate) struct Plane {
    pub metrics: Arc<Metrics>,
    pub shape_of: fn(&str) -> Shape,
    pub route_of: fn(&str) -> RouteKind,
}

/// Who answered a request: handlers leave it in the response's extensions for the log.
#[derive(Clone, Debug)]
pub(crate) enum Served {
    /// A model, on a native endpoint.
    Model(Arc<str>),
    /// An app.
    App(Arc<str>),
}

/// By what a request that passed [`Watch::begin`] is found again, wherever it goes from here.
pub(crate) fn trace_of(headers: &HeaderMap) -> Trace {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(Arc::from);
    Trace { request_id: text(REQUEST_ID), parent: text(trace::TRACEPARENT) }
}

/// The layer, for a router.
pub(crate) async fn observe(State(plane): State<Plane>, mut request: Request<Body>, next: Next) -> Response {
    let watch = Watch::begin(&plane, &mut request);
    watch.answer(Ok(next.run(request))).await
}

/// The layer, around anything that answers.
pub(crate) struct Watch {
    shape: Shape,
    request_id: RequestId,
    /// Dropping it writes the log line: also when the client goes away, and the future that has it.
    record: Record,
}

impl Watch {
    /// What happens to a request before anybody answers it.
    pub fn begin(plane: &Plane, request: &mut Request<Body>) -> Self {
        let shape = (plane.shape_of)(request.uri().path());
        let request_id = RequestId::of(request.headers());
        // Apps read the id where clients put it.
        request.headers_mut().insert(REQUEST_ID, request_id.header());
        trace::continue_trace(request.headers_mut());
        Watch { shape, record: Record::new(plane, request, request_id.clone()), request_id }
    }

    /// What goes out of an answer, or of a panic in beginning it, as [`caught`] has it.
    pub async fn answer(self, answer: thread::Result<impl Future<Output = Response>>) -> Response {
        let Watch { shape, request_id, mut record } = self;
        let answered = match answer {
            Ok(answer) => AssertUnwindSafe(answer).catch_unwind().await,
            Err(panic) => Err(panic),
        };
        let mut response = answered.unwrap_or_else(|_| {
            ApiError::internal("the gateway failed on this request", "a handler panicked").into_response()
        });
        let extensions = response.extensions_mut();
        let (error, served) = (extensions.remove::<ApiError>(), extensions.remove::<Served>());
        if let Some(error) = error {
            let allow = response.headers_mut().remove(ALLOW);
            response = render(&error, shape, request_id.as_str());
            if let Some(allow) = allow {
                response.headers_mut().insert(ALLOW, allow);
            }
        }
        response.headers_mut().insert(REQUEST_ID, request_id.header());
        record.answered(response.status(), served);
        response.map(|body| Body::new(Watched::new(body, record)))
    }
}

/// Runs what begins an answer, and catches its panic.
pub(crate) fn caught<A>(answer: impl FnOnce() -> A) -> thread::Result<A> {
    panic::catch_unwind(AssertUnwindSafe(answer))
}

#[cfg(test)]
mod tests;
