//! What is known of one request, written to the access log and the metrics when it is over.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri};
use http_body::{Frame, SizeHint};

use super::request_id::RequestId;
use super::{Plane, Served, trace};
use crate::limits::LOGGED_PATH_BYTES_MAX;
use crate::metrics::{Metrics, RouteKind};

/// Stands in for a status when the client went away before there was one; nginx's number for it.
const CLIENT_GONE: u16 = 499;

/// Writes its log line and counts itself when dropped.
pub(super) struct Record {
    metrics: Arc<Metrics>,
    route: RouteKind,
    started: Instant,
    method: Method,
    uri: Uri,
    request_id: RequestId,
    trace_id: Option<Box<str>>,
    status: Option<StatusCode>,
    served: Option<Served>,
    bytes: u64,
}

impl Record {
    pub(super) fn new(plane: &Plane, request: &Request<Body>, request_id: RequestId) -> Self {
        Record {
            route: (plane.route_of)(request.uri().path()),
            metrics: plane.metrics.clone(),
            started: Instant::now(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            request_id,
            trace_id: trace::trace_id(request.headers()).map(Box::from),
            status: None,
            served: None,
            bytes: 0,
        }
    }

    /// The response's head is there.
    pub(super) fn answered(&mut self, status: StatusCode, served: Option<Served>) {
        self.status = Some(status);
        self.served = served;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let status = self.status.map_or(CLIENT_GONE, |status| status.as_u16());
        let (model, app) = match &self.served {
            Some(Served::Model(name)) => (Some(&**name), None),
            Some(Served::App(name)) => (None, Some(&**name)),
            None => (None, None),
        };
        let path = self.uri.path();
        self.metrics.observe(self.route, app, status, took);
        // The path without its query: queries carry tokens and personal data at times.
        tracing::info!(
            target: "access",
            method = self.method.as_str(),
            path = &path[..path.floor_char_boundary(LOGGED_PATH_BYTES_MAX)],
            status,
            duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            bytes = self.bytes,
            request_id = self.request_id.as_str(),
            trace_id = self.trace_id.as_deref(),
            model,
            app,
        );
    }
}

/// A response body that counts its bytes, and ends its record when it is dropped.
pub(super) struct Watched {
    inner: Body,
    record: Record,
}

impl Watched {
    pub(super) fn new(inner: Body, record: Record) -> Self {
        Watched { inner, record }
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.record.bytes = self.record.bytes.saturating_add(data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
