//! An error in the shape its protocol's clients know.

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use serde_json::json;

use super::{ApiError, Reason};

/// The protocol an error is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `{"error": "..."}`, the Open Inference Protocol's.
    Kserve,
    /// `{"error": {"message", "type", "param", "code"}}`.
    OpenAi,
    /// RFC 9457 `application/problem+json`.
    Problem,
}

impl Shape {
    /// The shape of the data plane's routes.
    pub(crate) fn of_path(path: &str) -> Self {
        let below =
            |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if below("/v2") {
            Shape::Kserve
        } else if below("/v1") {
            Shape::OpenAi
        } else {
            Shape::Problem
        }
    }
}

/// Writes `error` for a client.
pub(crate) fn render(error: &ApiError, shape: Shape, request_id: &str) -> Response {
    let row = error.reason.row();
    let message = message(error, request_id);
    let (content_type, body) = match shape {
        Shape::Kserve => ("application/json", json!({ "error": message })),
        Shape::OpenAi => ("application/json", openai(error, message)),
        Shape::Problem => (
            "application/problem+json",
            json!({
                "type": format!("/errors/{}", row.slug),
                "title": row.title,
                "status": row.status.as_u16(),
                "detail": message,
                "request_id": request_id,
            }),
        ),
    };
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = row.status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(seconds) = error.retry_after_s.or(row.retry_after_s.map(u64::from)) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The same for a client of OpenAI's API whose answer has begun.
pub(crate) fn midway(error: &ApiError, request_id: &str) -> serde_json::Value {
    openai(error, message(error, request_id))
}

/// What a client is told. What is not for clients goes into the log.
fn message(error: &ApiError, request_id: &str) -> String {
    if let Some(cause) = &error.cause {
        tracing::error!(request_id, cause = &**cause, "request failed");
    }
    // Whoever is asked about a failure of ours finds it in the log by this id.
    match error.reason.row().status.as_u16() {
        500 => format!("{} (request id {request_id})", error.message),
        _ => error.message.clone(),
    }
}

fn openai(error: &ApiError, message: String) -> serde_json::Value {
    let row = error.reason.row();
    let kind = match error.reason {
        Reason::Overloaded | Reason::ShuttingDown => "service_unavailable_error",
        _ if row.status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    };
    let code = row.slug.replace('-', "_");
    json!({ "error": { "message": message, "type": kind, "param": error.param, "code": code } })
}
