//! What the example guests answer with: JSON, and RFC 9457 problems.
//!
//! Stands between a guest's handler and `wstd`. A handler returns `Result<Response<Body>, Problem>`; the problem
//! becomes the response. The one place where these guests choose HTTP statuses for errors of `wasi:nn`.

use headland_guest_nn::{Error, ErrorCode};
use serde::Serialize;
use wstd::http::{Body, Method, Request, Response, StatusCode};

/// A request that could not be answered, for people.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    header: Option<(&'static str, &'static str)>,
}

impl Problem {
    /// A problem with that status; `detail` says what happened and what to do next.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Problem { status, detail: detail.into(), header: None }
    }

    /// A method the guest does not answer; `allowed` is for the `Allow` header.
    pub fn method_not_allowed(method: &Method, allowed: &'static str) -> Self {
        let detail = format!("{method} is not answered here; use {allowed}");
        Problem { header: Some(("allow", allowed)), ..Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail) }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = match error.code {
            ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorCode::Timeout => StatusCode::GATEWAY_TIMEOUT,
            // The backend failed or its queue is full; either may be over in a moment.
            ErrorCode::RuntimeError => StatusCode::SERVICE_UNAVAILABLE,
            // The guest was deployed with the wrong model or manifest; its caller can do nothing about it.
            ErrorCode::InvalidArgument
            | ErrorCode::InvalidEncoding
            | ErrorCode::UnsupportedOperation
            | ErrorCode::NotFound
            | ErrorCode::Security
            | ErrorCode::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let retry = (error.code == ErrorCode::RuntimeError).then_some(("retry-after", "1"));
        Problem { header: retry, ..Problem::new(status, error.message) }
    }
}

impl From<Problem> for Response<Body> {
    fn from(problem: Problem) -> Self {
        #[derive(Serialize)]
        struct Document<'a> {
            r#type: &'a str,
            title: &'a str,
            status: u16,
            detail: &'a str,
        }
        let document = Document {
            r#type: "about:blank",
            title: problem.status.canonical_reason().unwrap_or("Error"),
            status: problem.status.as_u16(),
            detail: &problem.detail,
        };
        let mut response = respond(problem.status, "application/problem+json", to_json(&document));
        if let Some((name, value)) = problem.header {
            response.headers_mut().insert(name, value.parse().expect("a literal header value"));
        }
        response
    }
}

/// A JSON answer with status 200.
pub fn json(value: &impl Serialize) -> Response<Body> {
    respond(StatusCode::OK, "application/json", to_json(value))
}

/// A plain-text answer with status 200.
pub fn text(text: &'static str) -> Response<Body> {
    respond(StatusCode::OK, "text/plain; charset=utf-8", text.as_bytes().to_vec())
}

/// The request's whole body. The host ends a body that is over the app's limit, and answers 413 in the guest's place.
///
/// # Errors
/// A 400 when the client broke off.
pub async fn body(request: Request<Body>) -> Result<Vec<u8>, Problem> {
    let mut body = request.into_body();
    match body.contents().await {
        Ok(bytes) => Ok(bytes.to_vec()),
        Err(_) => {
            Err(Problem::new(StatusCode::BAD_REQUEST, "the request body broke off before its end; send it again"))
        }
    }
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    let mut json = serde_json::to_vec(value).expect("plain structs and finite numbers are JSON");
    json.push(b'\n');
    json
}

fn respond(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .header("content-length", body.len())
        .body(body.into())
        .expect("literal header names and values")
}
