//! The outermost layer: what every request gets, whoever answers it.
//!
//! A request id and trace context on the way in; on the way out errors in their protocol's shape, the id in a header,
//! one line in the access log and two metrics, when the last byte has gone or the client has.

mod record;
mod request_id;
mod trace;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

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

/// By what a request that passed [`watch`] is found again, wherever it goes from here.
pub(crate) fn trace_of(headers: &HeaderMap) -> Trace {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(Arc::from);
    Trace { request_id: text(REQUEST_ID), parent: text(trace::TRACEPARENT) }
}

/// The layer, for a router.
pub(crate) async fn observe(State(plane): State<Plane>, request: Request<Body>, next: Next) -> Response {
    watch(plane, request, |request| next.run(request)).await
}

/// The layer, around anything that answers.
pub(crate) async fn watch<A: Future<Output = Response>>(
    plane: Plane,
    mut request: Request<Body>,
    answer: impl FnOnce(Request<Body>) -> A,
) -> Response {
    let shape = (plane.shape_of)(request.uri().path());
    let request_id = RequestId::of(request.headers());
    // Apps read the id where clients put it.
    request.headers_mut().insert(REQUEST_ID, request_id.header());
    trace::continue_trace(request.headers_mut());
    // From here on, dropping the record writes the log line: also when the client goes away and this future with it.
    let mut record = Record::new(plane, &request, request_id.clone());

    let mut response = AssertUnwindSafe(answer(request)).catch_unwind().await.unwrap_or_else(|_| {
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

#[cfg(test)]
mod tests;
