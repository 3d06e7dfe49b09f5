//! Who did what, in the log: one line for each request that may change something, when its answer is known.

use axum::extract::Request;
use http::{HeaderValue, Method, StatusCode};

use crate::guard::Grant;
use crate::refusal::Refusal;

/// Stands in for a status when the client went away before there was one; the access log uses the same.
const CLIENT_GONE: u16 = 499;
/// Paths are cut to this length.
const PATH_BYTES_MAX: usize = 256;

/// Writes its line when dropped, so that what a client began and did not wait for is in the log as well.
pub(crate) struct Audit {
    grant: Grant,
    method: Method,
    path: String,
    request_id: Option<HeaderValue>,
    status: u16,
}

impl Audit {
    pub fn begin(grant: Grant, request: &Request) -> Self {
        Audit {
            grant,
            method: request.method().clone(),
            path: path(request).to_owned(),
            request_id: request.headers().get("x-request-id").cloned(),
            status: CLIENT_GONE,
        }
    }

    pub fn end(mut self, status: StatusCode) {
        self.status = status.as_u16();
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        let token = self.grant.token();
        tracing::info!(
            target: "headland::audit",
            token = token.name,
            token_id = token.id,
            method = self.method.as_str(),
            path = self.path,
            status = self.status,
            request_id = self.request_id.as_ref().and_then(|id| id.to_str().ok()),
            "done",
        );
    }
}

/// Logs a request that was not let through although it brought something.
pub(crate) fn refused(refusal: &Refusal, request: &Request) {
    let token = refusal.grant().map(Grant::token);
    tracing::info!(
        target: "headland::audit",
        token = token.map(|token| &*token.name),
        token_id = token.map(|token| &*token.id),
        method = request.method().as_str(),
        path = path(request),
        status = refusal.status().as_u16(),
        request_id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok()),
        reason = %refusal,
        "refused",
    );
}

/// The path without its query, which carries secrets at times.
fn path(request: &Request) -> &str {
    let path = request.uri().path();
    &path[..path.floor_char_boundary(PATH_BYTES_MAX)]
}
