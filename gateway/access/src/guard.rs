//! The layer around the admin plane: no request gets past it without the scope it needs.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::Method;

use crate::audit::Audit;
use crate::credentials::Credentials;
use crate::refusal::Refusal;
use crate::routes::Requirement;
use crate::scope::Scope;
use crate::store::TokenStore;
use crate::token::{TokenInfo, UnixTime};

/// What the token of a request allows. Handlers find it in the request's extensions.
#[derive(Clone, Debug)]
pub struct Grant(Arc<TokenInfo>);

impl Grant {
    pub(crate) fn new(info: Arc<TokenInfo>) -> Self {
        Grant(info)
    }

    /// The token, for logs and for records of who did something.
    pub fn token(&self) -> &TokenInfo {
        &self.0
    }

    /// Whether it allows what asks for `needed`.
    pub fn allows(&self, needed: Scope) -> bool {
        self.0.scopes.allow(needed)
    }
}

/// Puts all of `router`, its fallback too, behind `tokens`: `required` says what each request needs, as
/// [`required_scope`](crate::required_scope) does.
///
/// Belongs around the whole admin plane (nested routers see shortened paths), and inside of what gives requests their id.
/// A request without what it needs is answered with 401 or 403, before anything reads its body. One that has it goes on
/// with its [`Grant`] in its extensions and without its `authorization` header; what it does, other than reading, is
/// logged under the target `headland::audit`.
///
/// Failed attempts are not slowed down. A token has 256 random bits, so guessing is hopeless at any rate, and a failed
/// attempt costs less than most requests; a table of peers would be one more thing to fill.
pub fn protect<S>(router: Router<S>, tokens: TokenStore, required: fn(&Method, &str) -> Requirement) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    router.layer(from_fn_with_state(Protection { tokens, required }, guard))
}

#[derive(Clone)]
struct Protection {
    tokens: TokenStore,
    required: fn(&Method, &str) -> Requirement,
}

async fn guard(State(protection): State<Protection>, mut request: Request, next: Next) -> Response {
    let credentials = Credentials::take(request.headers_mut());
    let Requirement::Scope(needed) = (protection.required)(request.method(), request.uri().path()) else {
        return next.run(request).await;
    };
    match protection.admit(credentials, needed) {
        Ok(grant) => {
            let audit = (needed != Scope::Read).then(|| Audit::begin(grant.clone(), &request));
            request.extensions_mut().insert(grant);
            let response = next.run(request).await;
            if let Some(audit) = audit {
                audit.end(response.status());
            }
            response
        }
        Err(refusal) => refusal.answer(&request),
    }
}

impl Protection {
    fn admit(&self, credentials: Credentials, needed: Scope) -> Result<Grant, Refusal> {
        match credentials {
            Credentials::None => Err(Refusal::NoToken),
            Credentials::Unreadable => Err(Refusal::Unreadable),
            Credentials::Token(secret) => {
                let grant = self.tokens.check(&secret, UnixTime::now()).map_err(Refusal::Rejected)?;
                if grant.allows(needed) { Ok(grant) } else { Err(Refusal::Scope { grant, needed }) }
            }
        }
    }
}

#[cfg(test)]
mod tests;
