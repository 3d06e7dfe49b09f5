//! The one place that chooses HTTP statuses. `docs/errors.md` lists every row.
//!
//! Handlers return an [`ApiError`] without knowing in which protocol's shape it will be written: `observe.rs` renders
//! it on the way out, when the request id is at hand.

mod render;

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use headland_batcher::Unavailable;
use headland_completions::{AskError, BadRequest, Kind};
use headland_generation::Refused;
use headland_nn_core::{NnError, seconds_up};
use http::StatusCode;

pub(crate) use render::{Shape, midway, render};

/// What the table says about a [`Reason`].
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The status every protocol answers with.
    pub status: StatusCode,
    /// The last part of the problem's `type`; with `_` for `-` it is OpenAI's `code`.
    pub slug: &'static str,
    /// The problem's `title`: what happened, whatever the request.
    pub title: &'static str,
    /// When it is worth trying again, in seconds.
    pub retry_after_s: Option<u8>,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident: $status:ident, $slug:literal, $title:literal, $retry:expr;)*) => {
        /// Why a request got no answer of its own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Reason] = &[$(Reason::$name),*];

            /// Its row of the table.
            pub const fn row(self) -> Row {
                match self {
                    $(Reason::$name => Row {
                        status: StatusCode::$status, slug: $slug, title: $title, retry_after_s: $retry,
                    },)*
                }
            }
        }
    };
}

reasons! {
    /// The body is not what the protocol says it is.
    MalformedBody: BAD_REQUEST, "malformed-body", "The request body cannot be read", None;
    /// Several hosts, or one that is no text.
    BadHost: BAD_REQUEST, "bad-host", "The host header cannot be read", None;
    /// Names, shapes, types or values the model cannot take.
    InvalidInput: BAD_REQUEST, "invalid-input", "The request does not fit the model", None;
    /// Prompt and answer together are longer than the model's context.
    ContextOverflow: BAD_REQUEST, "context-length-exceeded", "The model's context is too small for the request", None;
    /// More than the model can do at once.
    TooMuch: BAD_REQUEST, "too-much", "The request asks for more than the model can do at once", None;
    /// The new policy cannot be used.
    BadPolicy: BAD_REQUEST, "bad-policy", "The trust policy cannot be used", None;
    /// The trust policy does not admit the model.
    ModelDenied: FORBIDDEN, "model-denied", "The model is not admitted here", None;
    /// No such thing, on the admin plane.
    NotFound: NOT_FOUND, "not-found", "There is no such thing", None;
    /// No such model or version.
    ModelNotFound: NOT_FOUND, "model-not-found", "The model is not loaded", None;
    /// No app answers for host and path.
    AppNotFound: NOT_FOUND, "app-not-found", "No app answers here", None;
    /// The protocol has no such route.
    RouteNotFound: NOT_FOUND, "route-not-found", "There is no such route", None;
    /// The route is there, for other methods.
    MethodNotAllowed: METHOD_NOT_ALLOWED, "method-not-allowed", "The route does not take this method", None;
    /// Something is in the way.
    Conflict: CONFLICT, "conflict", "Something is in the way", None;
    /// The client was too slow to send its body.
    BodyTimeout: REQUEST_TIMEOUT, "body-timeout", "The request body did not arrive in time", None;
    /// The body is over a limit.
    BodyTooLarge: PAYLOAD_TOO_LARGE, "body-too-large", "The request body is too large", None;
    /// The body is compressed.
    UnsupportedEncoding: UNSUPPORTED_MEDIA_TYPE, "unsupported-encoding", "The content encoding is not supported", None;
    /// A queue or budget is full.
    Overloaded: SERVICE_UNAVAILABLE, "overloaded", "The gateway is busy", Some(1);
    /// The model is on its way into memory.
    ModelLoading: SERVICE_UNAVAILABLE, "model-loading", "The model is being loaded", Some(5);
    /// The model or the gateway is going away.
    ShuttingDown: SERVICE_UNAVAILABLE, "shutting-down", "The gateway is shutting down", Some(5);
    /// The model runs elsewhere, and nobody who has it answers.
    ModelUnreachable: SERVICE_UNAVAILABLE, "model-unreachable", "The model cannot be reached", Some(5);
    /// The request's time ran out.
    DeadlineExceeded: GATEWAY_TIMEOUT, "deadline-exceeded", "The deadline passed", None;
    /// Our fault.
    Internal: INTERNAL_SERVER_ERROR, "internal", "The gateway failed", None;
    /// The model is there and does not load.
    ModelBroken: INTERNAL_SERVER_ERROR, "model-broken", "The model could not be loaded", None;
    /// The guest trapped.
    GuestTrap: INTERNAL_SERVER_ERROR, "guest-trap", "The app failed", None;
    /// The guest ended without an answer.
    GuestNoResponse: INTERNAL_SERVER_ERROR, "guest-no-response", "The app gave no answer", None;
    /// The guest wanted more memory than its manifest gives it.
    GuestMemoryLimit: INTERNAL_SERVER_ERROR, "guest-memory-limit", "The app ran out of memory", None;
    /// The guest took longer than its manifest gives it.
    GuestDeadline: GATEWAY_TIMEOUT, "guest-deadline", "The app took too long", None;
}

/// A request that failed: what the client is told, and what only the log is.
#[derive(Clone, Debug)]
pub struct ApiError {
    reason: Reason,
    message: String,
    param: Option<Cow<'static, str>>,
    cause: Option<Arc<str>>,
    retry_after_s: Option<u64>,
}

impl ApiError {
    /// An error whose `message` is safe to show: what happened, to what, what to do next.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        ApiError { reason, message: message.into(), param: None, cause: None, retry_after_s: None }
    }

    /// An [`Reason::Internal`] whose cause goes to the log alone.
    pub fn internal(message: impl Into<String>, cause: impl Into<Arc<str>>) -> Self {
        ApiError { cause: Some(cause.into()), ..ApiError::new(Reason::Internal, message) }
    }

    /// Names the request field that is wrong, for the protocols that say so.
    pub fn param(self, param: impl Into<Cow<'static, str>>) -> Self {
        ApiError { param: Some(param.into()), ..self }
    }

    /// Why it failed.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// What the client is told.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl From<NnError> for ApiError {
    fn from(error: NnError) -> Self {
        let mut retry_after_s = None;
        let reason = match &error {
            NnError::InvalidInput(_) => Reason::InvalidInput,
            NnError::TooLarge(_) => Reason::TooMuch,
            NnError::Overloaded { retry_after, .. } => {
                retry_after_s = Some(seconds_up(retry_after));
                Reason::Overloaded
            }
            NnError::DeadlineExceeded { .. } => Reason::DeadlineExceeded,
            NnError::ShuttingDown { .. } => Reason::ShuttingDown,
            NnError::Unreachable { why, .. } | NnError::BrokenOff { why, .. } => {
                let error_of = ApiError::new(Reason::ModelUnreachable, error.to_string());
                return ApiError { cause: Some(why.clone()), ..error_of };
            }
            // All three may name files and devices of this machine.
            NnError::DeviceUnavailable(cause) | NnError::BadModel(cause) | NnError::Runtime(cause) => {
                let message = "the model failed on this request; the gateway's log has the cause";
                return ApiError::internal(message, cause.clone());
            }
        };
        ApiError { retry_after_s, ..ApiError::new(reason, error.to_string()) }
    }
}

impl From<Unavailable> for ApiError {
    fn from(error: Unavailable) -> Self {
        let reason = match error {
            Unavailable::NotLoaded(_) => Reason::ModelNotFound,
            Unavailable::Denied(_) => Reason::ModelDenied,
            Unavailable::Broken(_) => Reason::ModelBroken,
            Unavailable::NoMemory(_) | Unavailable::Busy(_) => Reason::Overloaded,
        };
        ApiError::new(reason, error.to_string()).param("model")
    }
}

impl From<BadRequest> for ApiError {
    fn from(BadRequest { message, param }: BadRequest) -> Self {
        let reason = if param.is_some() { Reason::InvalidInput } else { Reason::MalformedBody };
        ApiError { param: param.map(Cow::Owned), ..ApiError::new(reason, message) }
    }
}

impl From<AskError> for ApiError {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Bad(bad) => bad.into(),
            AskError::TooLong { param, .. } => ApiError::new(Reason::ContextOverflow, error.to_string()).param(param),
            AskError::Failed(error) => error.into(),
        }
    }
}

impl ApiError {
    /// A request that the engine of a language model does not take; `error` is what it is for everybody else.
    pub(crate) fn refused(kind: Kind, refused: &Refused, error: NnError) -> Self {
        let prompt = if kind == Kind::Chat { "messages" } else { "prompt" };
        let param = match refused {
            Refused::ContextOverflow { .. } | Refused::Empty | Refused::UnknownToken(_) => prompt,
            Refused::NoTokens => "max_tokens",
            // The one parameter that the routes have different names for.
            Refused::Parameter(bad) if bad.name == "top_logprobs" && kind == Kind::Text => "logprobs",
            Refused::Parameter(bad) => bad.name,
            Refused::Stop(_) => "stop",
            _ => return error.into(),
        };
        match refused {
            Refused::ContextOverflow { .. } => ApiError::new(Reason::ContextOverflow, refused.to_string()),
            Refused::Parameter(bad) => ApiError::new(Reason::InvalidInput, format!("`{param}` {}", bad.problem)),
            _ => error.into(),
        }
        .param(param)
    }
}

/// An empty response that carries the error to `observe.rs`, which writes it.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.reason.row().status;
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_every_row() {
        let page = include_str!("../../../docs/errors.md");
        for reason in Reason::ALL {
            let row = reason.row();
            let start = format!("| `{}` | {} |", row.slug, row.status.as_u16());
            assert!(page.contains(&start), "docs/errors.md has no row `{start}`");
        }
        let rows = page.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(rows, Reason::ALL.len(), "docs/errors.md lists something that is no reason");
    }

    #[test]
    fn a_backends_message_stays_inside() {
        let error = ApiError::from(NnError::runtime("/srv/models/x.onnx: bad node"));
        assert_eq!(error.reason(), Reason::Internal);
        assert!(!error.message().contains("/srv"));
    }
}
