//! Everything that is not a native endpoint goes to the app that claims host and path.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use headland_guest_host::{AppRoute, GuestError, RequestContext};
use http::Request;
use http::header::HOST;

use crate::errors::{ApiError, Reason};
use crate::gateway::Gateway;
use crate::observe::{REQUEST_ID, Served};

/// Runs the app's guest on the request. Bodies stream both ways.
pub(crate) fn dispatch(gateway: &Gateway, request: Request<Body>) -> impl Future<Output = Response> + Send + use<> {
    let begun = route(gateway, &request).map(|route| {
        // `observe.rs` has put it there.
        let request_id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
        let context = RequestContext { request_id: Arc::from(request_id) };
        (Served::App(route.app().clone()), route.handle(request, context))
    });
    async move {
        let (served, answer) = match begun {
            Ok(begun) => begun,
            Err(error) => return error.into_response(),
        };
        let mut response = match answer.await {
            Ok(response) => response.map(Body::new),
            Err(error) => ApiError::from(error).into_response(),
        };
        response.extensions_mut().insert(served);
        response
    }
}

fn route(gateway: &Gateway, request: &Request<Body>) -> Result<Arc<AppRoute>, ApiError> {
    let (host, path) = (host_of(request)?, request.uri().path());
    gateway.apps().route(host, path).ok_or_else(|| no_app(host, path))
}

/// The host a request is for. Two of them could send it to one app here and to another behind the next proxy.
fn host_of(request: &Request<Body>) -> Result<Option<&str>, ApiError> {
    let bad = |problem: &str| ApiError::new(Reason::BadHost, format!("{problem}; send one, such as `example.com`"));
    let mut given = request.headers().get_all(HOST).iter();
    let header = given.next().map(|host| host.to_str().map_err(|_| bad("the host header is not text"))).transpose()?;
    if given.next().is_some() {
        return Err(bad("the request has several host headers"));
    }
    if header.is_some_and(|header| !header.bytes().all(is_in_host)) {
        return Err(bad("the host header is no host"));
    }
    Ok(request.uri().host().or(header))
}

/// What may be in a host and its port ([RFC 3986, section 3.2.2](https://www.rfc-editor.org/rfc/rfc3986#section-3.2.2)).
fn is_in_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(&byte)
}

fn no_app(host: Option<&str>, path: &str) -> ApiError {
    let host = host.unwrap_or("(none)");
    let message = format!(
        "no app answers for path `{path}` of host `{host}`; give one a [[route]] with this `path` in its headland.app.toml \
         and start the gateway with it"
    );
    ApiError::new(Reason::AppNotFound, message)
}

impl From<GuestError> for ApiError {
    fn from(error: GuestError) -> Self {
        let reason = match &error {
            GuestError::Trapped => Reason::GuestTrap,
            GuestError::DeadlineExceeded { .. } => Reason::GuestDeadline,
            GuestError::MemoryLimit { .. } => Reason::GuestMemoryLimit,
            GuestError::NoResponse | GuestError::ErrorCode { .. } => Reason::GuestNoResponse,
            GuestError::BodyTooLarge { .. } => Reason::BodyTooLarge,
            GuestError::Overloaded => Reason::Overloaded,
            GuestError::Internal => Reason::Internal,
        };
        ApiError::new(reason, error.to_string())
    }
}
