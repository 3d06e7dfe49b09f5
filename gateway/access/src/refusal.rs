//! How a request that may not pass is answered, in the shape its client understands.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use serde_json::json;

use crate::audit;
use crate::guard::Grant;
use crate::scope::Scope;
use crate::store::Rejected;

/// Why a request may not pass.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("a token is needed here: send `authorization: Bearer TOKEN`; `headland token create` makes one")]
    NoToken,
    #[error(
        "the `authorization` header holds no token: send `Bearer TOKEN`, or `Basic` with the token as the password"
    )]
    Unreadable,
    #[error(transparent)]
    Rejected(Rejected),
    #[error("the token `{}` lacks the scope `{needed}`; it has: {}", grant.token().name, grant.token().scopes)]
    Scope { grant: Grant, needed: Scope },
}

/// The protocol a path belongs to, and so the shape its clients expect errors in.
#[derive(Clone, Copy)]
enum Protocol {
    /// OCI distribution: a list of coded errors.
    Oci,
    /// Triton's model repository API: `{"error": "..."}`.
    Triton,
    /// Ours: RFC 9457.
    Admin,
}

impl Protocol {
    fn of_path(path: &str) -> Self {
        match path.strip_prefix("/v2") {
            Some("/repository/index") => Protocol::Triton,
            Some(rest) if rest.starts_with("/repository/models/") && rest.ends_with("load") => Protocol::Triton,
            Some(rest) if rest.is_empty() || rest.starts_with('/') => Protocol::Oci,
            _ => Protocol::Admin,
        }
    }
}

impl Refusal {
    pub fn answer(&self, request: &Request) -> Response {
        // Many clients ask once without a token to see what is wanted; that is nothing to report.
        if !matches!(self, Refusal::NoToken) {
            audit::refused(self, request);
        }
        let protocol = Protocol::of_path(request.uri().path());
        let (content_type, body) = self.body(protocol, request.headers().get("x-request-id"));
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(challenge) = self.challenge(protocol) {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }

    /// The token the request came with, where it was a good one.
    pub fn grant(&self) -> Option<&Grant> {
        match self {
            Refusal::Scope { grant, .. } => Some(grant),
            _ => None,
        }
    }

    pub fn status(&self) -> StatusCode {
        match self {
            Refusal::NoToken | Refusal::Unreadable | Refusal::Rejected(_) => StatusCode::UNAUTHORIZED,
            Refusal::Scope { .. } => StatusCode::FORBIDDEN,
        }
    }

    /// What the client is asked for.
    ///
    /// Container tools know two ways to log in: `Basic`, and `Bearer` with the address of a service that trades passwords
    /// for tokens. Ours is `Basic` alone, the token being the password: skopeo, oras and the others then need no second
    /// service, and one that is offered both looks for the service. It is not for the other paths, where it would make
    /// browsers open a dialog.
    fn challenge(&self, protocol: Protocol) -> Option<HeaderValue> {
        let challenge = match (protocol, self) {
            (Protocol::Oci, Refusal::Scope { .. }) => return None,
            (Protocol::Oci, _) => r#"Basic realm="headland""#,
            (_, Refusal::NoToken) => r#"Bearer realm="headland""#,
            (_, Refusal::Unreadable) => r#"Bearer realm="headland", error="invalid_request""#,
            (_, Refusal::Rejected(_)) => r#"Bearer realm="headland", error="invalid_token""#,
            (_, Refusal::Scope { needed, .. }) => {
                let value = format!(r#"Bearer realm="headland", error="insufficient_scope", scope="{needed}""#);
                return HeaderValue::from_str(&value).ok();
            }
        };
        Some(HeaderValue::from_static(challenge))
    }

    fn body(&self, protocol: Protocol, request_id: Option<&HeaderValue>) -> (&'static str, serde_json::Value) {
        let message = self.to_string();
        let (code, slug, title) = match self.status() {
            StatusCode::FORBIDDEN => ("DENIED", "scope-missing", "The token lacks a scope"),
            _ => ("UNAUTHORIZED", "token-needed", "A valid token is needed"),
        };
        match protocol {
            Protocol::Oci => {
                ("application/json", json!({ "errors": [{ "code": code, "message": message, "detail": null }] }))
            }
            Protocol::Triton => ("application/json", json!({ "error": message })),
            Protocol::Admin => (
                "application/problem+json",
                json!({
                    "type": format!("/errors/{slug}"),
                    "title": title,
                    "status": self.status().as_u16(),
                    "detail": message,
                    "request_id": request_id.and_then(|id| id.to_str().ok()),
                }),
            ),
        }
    }
}
