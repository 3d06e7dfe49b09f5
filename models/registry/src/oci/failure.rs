//! Failures as the distribution API tells them: the one place that chooses statuses and OCI codes.

use std::fmt;

use axum::Json;
use axum::response::{IntoResponse, Response};
use headland_package::Sha256Digest;
use headland_package::oci::{ArtifactError, ManifestError};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::gate::Refusal;
use super::limits::{MESSAGE_CHARS_MAX, RETRY_AFTER_S};
use crate::store::{NameError, StoreError};

/// What kind of failure it is; with it come status and code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    NoRoute,
    MethodNotAllowed,
    Unsupported,
    Query,
    Name,
    NameUnknown,
    Digest,
    BlobUnknown,
    InUse,
    Range,
    UploadUnknown,
    UploadInvalid,
    UploadOffset,
    UploadBusy,
    BodyStalled,
    BodyBroken,
    Size,
    TooLarge,
    Manifest,
    ManifestUnknown,
    ManifestBlobUnknown,
    Denied,
    VersionTaken,
    TooMany,
    Full,
    Internal,
}

/// The table of `docs/registry.md`.
fn status_and_code(why: Why) -> (StatusCode, &'static str) {
    match why {
        Why::NoRoute => (StatusCode::NOT_FOUND, "UNSUPPORTED"),
        Why::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"),
        Why::Unsupported | Why::Query => (StatusCode::BAD_REQUEST, "UNSUPPORTED"),
        Why::Name => (StatusCode::BAD_REQUEST, "NAME_INVALID"),
        Why::NameUnknown => (StatusCode::NOT_FOUND, "NAME_UNKNOWN"),
        Why::Digest => (StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
        Why::BlobUnknown => (StatusCode::NOT_FOUND, "BLOB_UNKNOWN"),
        Why::InUse => (StatusCode::CONFLICT, "DENIED"),
        Why::Range => (StatusCode::RANGE_NOT_SATISFIABLE, "SIZE_INVALID"),
        Why::UploadUnknown => (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"),
        Why::UploadInvalid => (StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID"),
        Why::UploadOffset => (StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID"),
        Why::UploadBusy => (StatusCode::CONFLICT, "BLOB_UPLOAD_INVALID"),
        Why::BodyStalled => (StatusCode::REQUEST_TIMEOUT, "SIZE_INVALID"),
        Why::BodyBroken | Why::Size => (StatusCode::BAD_REQUEST, "SIZE_INVALID"),
        Why::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID"),
        Why::Manifest => (StatusCode::BAD_REQUEST, "MANIFEST_INVALID"),
        Why::ManifestUnknown => (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"),
        Why::ManifestBlobUnknown => (StatusCode::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN"),
        Why::Denied => (StatusCode::FORBIDDEN, "DENIED"),
        Why::VersionTaken => (StatusCode::CONFLICT, "DENIED"),
        Why::TooMany => (StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS"),
        // 507 would say it better, but common clients show people the message of a 4xx only.
        Why::Full => (StatusCode::PAYLOAD_TOO_LARGE, "DENIED"),
        Why::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN"),
    }
}

/// A request that got no for an answer.
#[derive(Debug)]
pub(super) struct Failure {
    why: Why,
    message: String,
    /// Rarely there, and large.
    detail: Option<Box<Value>>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Failure {
    pub(super) fn new(why: Why, message: impl fmt::Display) -> Self {
        Failure { why, message: shortened(&message.to_string()), detail: None, headers: Vec::new() }
    }

    pub(super) fn with_detail(mut self, detail: Value) -> Self {
        self.detail = Some(Box::new(detail));
        self
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn no_route() -> Self {
        Failure::new(
            Why::NoRoute,
            "no such route; see https://github.com/opencontainers/distribution-spec for those there are",
        )
    }

    pub(super) fn method_not_allowed(allowed: &'static str) -> Self {
        Failure::new(Why::MethodNotAllowed, format_args!("this path answers {allowed}"))
            .with_header(header::ALLOW, HeaderValue::from_static(allowed))
    }

    pub(super) fn query(problem: &dyn fmt::Display) -> Self {
        Failure::new(Why::Query, format_args!("query: {problem}"))
    }

    pub(super) fn name(error: NameError) -> Self {
        Failure::new(Why::Name, error)
    }

    pub(super) fn upload_id(error: NameError) -> Self {
        Failure::new(Why::UploadUnknown, error)
    }

    pub(super) fn digest(given: &str) -> Self {
        let given: String = given.chars().take(100).flat_map(char::escape_debug).collect();
        Failure::new(
            Why::Digest,
            format_args!("`{given}` is not a digest; write `sha256:` and 64 lower-case hexadecimal digits"),
        )
    }

    pub(super) fn sha512() -> Self {
        Failure::new(
            Why::Unsupported,
            "sha512 digests are not supported here; content is kept by its sha256 digest, push with that",
        )
    }

    pub(super) fn too_many(what: &str, limit: usize) -> Self {
        Failure::new(Why::TooMany, format_args!("{limit} {what} are running already; come back in a moment"))
    }

    /// Something broke on our side: the client learns that, the log learns what.
    pub(super) fn internal(what: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "{what} failed");
        Failure::new(Why::Internal, "the registry could not do this; its log says why")
    }
}

/// Foreign text in a message may be long.
fn shortened(message: &str) -> String {
    match message.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &message[..end]),
        None => message.to_owned(),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (status, code) = status_and_code(self.why);
        write!(f, "{} {code}: {}", status.as_u16(), self.message)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, code) = status_and_code(self.why);
        let mut error = json!({ "code": code, "message": self.message });
        if let Some(detail) = self.detail {
            error["detail"] = *detail;
        }
        let mut response = (status, Json(json!({ "errors": [error] }))).into_response();
        if self.why == Why::TooMany {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
        }
        response.headers_mut().extend(self.headers);
        response
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        use StoreError as E;
        let why = match &error {
            E::Io { .. } | E::InUse { .. } | E::NotAStore { .. } | E::UnknownFormat { .. } | E::Damaged { .. } => {
                return Failure::internal("the store", &error);
            }
            E::QuotaExceeded { .. } | E::DiskFull { .. } => Why::Full,
            E::DigestMismatch { .. } => Why::Digest,
            E::UploadUnknown { .. } => Why::UploadUnknown,
            E::UploadBusy { .. } => Why::UploadBusy,
            E::TooMany { .. } => Why::TooMany,
            E::ManifestInvalid { .. } | E::ManifestType { .. } => Why::Manifest,
            E::ManifestBlobUnknown { digest, .. } => {
                let detail = missing(&[*digest]);
                return Failure::new(Why::ManifestBlobUnknown, error).with_detail(detail);
            }
            E::ManifestUnknown { .. } | E::TagUnknown { .. } => Why::ManifestUnknown,
            E::BlobUnknown { .. } => Why::BlobUnknown,
            E::BlobInUse { .. } => Why::InUse,
        };
        Failure::new(why, error)
    }
}

/// The `detail` of a manifest whose parts are missing: what to upload.
pub(super) fn missing(digests: &[Sha256Digest]) -> Value {
    json!({ "missing": digests })
}

impl From<ManifestError> for Failure {
    fn from(error: ManifestError) -> Self {
        match &error {
            ManifestError::TooLarge(bytes) => Failure::manifest_too_large(*bytes),
            ManifestError::Json(source) => Failure::new(Why::Manifest, format_args!("{error}: {source}")),
            _ => Failure::new(Why::Manifest, error),
        }
    }
}

impl Failure {
    pub(super) fn manifest_too_large(bytes: usize) -> Self {
        Failure::new(Why::TooLarge, ManifestError::TooLarge(bytes))
    }
}

impl From<ArtifactError> for Failure {
    fn from(error: ArtifactError) -> Self {
        Failure::new(Why::Manifest, error)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let why = match refusal {
            Refusal::Denied { .. } => Why::Denied,
            Refusal::Conflict { .. } => Why::InUse,
            Refusal::Failed { source } => return Failure::internal("judging a manifest", &*source),
        };
        Failure::new(why, refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_where_a_character_ends() {
        let failure = Failure::new(Why::Denied, "ü".repeat(2_000));
        assert_eq!(failure.message.chars().count(), MESSAGE_CHARS_MAX + 3);
    }

    #[tokio::test]
    async fn the_shape_is_the_specifications() {
        let response = Failure::too_many("uploads", 3).into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], RETRY_AFTER_S);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let message = "3 uploads are running already; come back in a moment";
        assert_eq!(body, json!({ "errors": [{ "code": "TOOMANYREQUESTS", "message": message }] }));
    }
}
