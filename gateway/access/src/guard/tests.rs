//! Requests against a small admin plane behind the guard.

use std::io::Write;
use std::sync::Mutex;

use axum::body::{Body, to_bytes};
use axum::routing::any;
use axum::{Extension, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, Request, StatusCode};
use proptest::prelude::*;
use tower::ServiceExt;

use super::*;
use crate::routes::{required_on_loopback, required_scope};

struct Plane {
    _dir: tempfile::TempDir,
    tokens: TokenStore,
    router: Router,
}

impl Plane {
    /// Whatever is let through gets 200, the name of the token, and nothing of the header.
    fn new() -> Self {
        async fn who(grant: Option<Extension<Grant>>, headers: HeaderMap) -> String {
            assert!(!headers.contains_key(AUTHORIZATION));
            grant.map_or("nobody".into(), |Extension(grant)| grant.token().name.clone())
        }
        let dir = tempfile::tempdir().unwrap();
        let tokens = TokenStore::open(dir.path()).unwrap();
        let router = Router::new().route("/metrics", any(who)).fallback(who);
        let router = protect(router, tokens.clone(), required_scope);
        Plane { _dir: dir, tokens, router }
    }

    fn token(&self, scope: Scope) -> String {
        self.tokens.create(scope.name(), scope.into(), None).unwrap().secret.reveal().to_owned()
    }

    async fn ask(&self, method: &str, path: &str, authorization: Option<&str>) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("x-request-id", "request-7");
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let response = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let (challenge, content_type) = (header(WWW_AUTHENTICATE), header(CONTENT_TYPE));
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 16).await.unwrap();
        Answer { status, challenge, content_type, body: String::from_utf8(body.to_vec()).unwrap() }
    }
}

struct Answer {
    status: StatusCode,
    challenge: Option<String>,
    content_type: Option<String>,
    body: String,
}

impl Answer {
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[tokio::test]
async fn a_token_with_the_scope_passes_and_its_grant_travels_along() {
    let plane = Plane::new();
    let (read, push) = (plane.token(Scope::Read), plane.token(Scope::Push));
    let basic = format!("Basic {}", STANDARD.encode(format!("anyone:{push}")));
    for (method, path, authorization, who) in [
        ("GET", "/v2/", bearer(&read), "read"),
        ("GET", "/metrics", bearer(&read), "read"),
        ("PUT", "/v2/models/a/manifests/1", basic, "push"),
        ("GET", "/v2/", bearer(&push), "push"),
        ("PUT", "/admin/v1/policy", bearer(&plane.token(Scope::Admin)), "admin"),
    ] {
        let answer = plane.ask(method, path, Some(&authorization)).await;
        assert_eq!((answer.status, &*answer.body), (StatusCode::OK, who), "{method} {path}");
    }
}

#[tokio::test]
async fn open_routes_need_nothing_and_take_no_harm_from_credentials() {
    let plane = Plane::new();
    for authorization in [None, Some("Bearer hl_wrong"), Some("Digest x")] {
        let answer = plane.ask("GET", "/v2/health/ready", authorization).await;
        assert_eq!((answer.status, &*answer.body), (StatusCode::OK, "nobody"));
    }
    let loopback = protect(Router::new().fallback(|| async {}), plane.tokens.clone(), required_on_loopback);
    let request = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    assert_eq!(loopback.clone().oneshot(request("/metrics")).await.unwrap().status(), StatusCode::OK);
    assert_eq!(loopback.oneshot(request("/admin/v1/apps")).await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn container_tools_are_asked_for_basic_and_told_in_their_own_words() {
    let plane = Plane::new();
    let foreign = Plane::new().token(Scope::Admin);
    for path in ["/v2", "/v2/", "/v2/models/a/manifests/1", "/v2/health/manifests/1"] {
        for (authorization, message) in [
            (None, "a token is needed here: send `authorization: Bearer TOKEN`"),
            (Some("Bearer hl_x".to_owned()), "the `authorization` header holds no token"),
            (Some(bearer(&foreign)), "the token is not known here: it was revoked, or made for another gateway"),
        ] {
            let answer = plane.ask("GET", path, authorization.as_deref()).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
            assert_eq!(answer.challenge.as_deref(), Some(r#"Basic realm="headland""#));
            assert_eq!(answer.content_type.as_deref(), Some("application/json"));
            let error = &answer.json()["errors"][0];
            assert_eq!((&error["code"], &error["detail"]), (&"UNAUTHORIZED".into(), &serde_json::Value::Null));
            assert!(error["message"].as_str().unwrap().starts_with(message), "{error}");
        }
    }
    let answer = plane.ask("PUT", "/v2/models/a/manifests/1", Some(&bearer(&plane.token(Scope::Deploy)))).await;
    assert_eq!((answer.status, answer.challenge.clone()), (StatusCode::FORBIDDEN, None));
    assert_eq!(answer.json()["errors"][0]["code"], "DENIED");
    let message = "the token `deploy` lacks the scope `push`; it has: deploy";
    assert_eq!(answer.json()["errors"][0]["message"], message);
}

#[tokio::test]
async fn the_admin_api_answers_with_problems_and_bearer_challenges() {
    let plane = Plane::new();
    let short = {
        let mut edit = plane.tokens.edit().unwrap();
        let created = edit.add("short", Scope::Admin.into(), UnixTime(0), Some(UnixTime(1))).unwrap();
        edit.save().unwrap();
        created.secret
    };
    for (authorization, status, kind, challenge, detail) in [
        (None, 401, "token-needed", "", "a token is needed here"),
        (Some("Basic x".to_owned()), 401, "token-needed", r#", error="invalid_request""#, "the `authorization` header"),
        (
            Some(bearer(short.reveal())),
            401,
            "token-needed",
            r#", error="invalid_token""#,
            "the token `short` has expired",
        ),
        (
            Some(bearer(&plane.token(Scope::Push))),
            403,
            "scope-missing",
            r#", error="insufficient_scope", scope="deploy""#,
            "the token `push` lacks the scope `deploy`; it has: push",
        ),
    ] {
        let answer = plane.ask("POST", "/admin/v1/apps", authorization.as_deref()).await;
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(answer.content_type.as_deref(), Some("application/problem+json"));
        assert_eq!(answer.challenge.unwrap(), format!(r#"Bearer realm="headland"{challenge}"#));
        let problem: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((&problem["type"], &problem["status"]), (&format!("/errors/{kind}").into(), &status.into()));
        assert_eq!(problem["request_id"], "request-7");
        assert!(problem["detail"].as_str().unwrap().starts_with(detail), "{problem}");
    }
}

#[tokio::test]
async fn triton_clients_are_told_in_theirs() {
    let plane = Plane::new();
    for path in ["/v2/repository/index", "/v2/repository/models/a/load", "/v2/repository/models/a/unload"] {
        let answer = plane.ask("POST", path, None).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(answer.json()["error"].as_str().unwrap().starts_with("a token is needed"));
    }
}

#[tokio::test]
async fn a_revoked_token_is_shut_out_at_once() {
    let plane = Plane::new();
    let created = plane.tokens.create("ci", Scope::Read.into(), None).unwrap();
    let authorization = bearer(created.secret.reveal());
    assert_eq!(plane.ask("GET", "/v2/", Some(&authorization)).await.status, StatusCode::OK);
    plane.tokens.revoke(&created.info.id).unwrap();
    assert_eq!(plane.ask("GET", "/v2/", Some(&authorization)).await.status, StatusCode::UNAUTHORIZED);
}

/// What the log says while `during` runs, everything included.
async fn logged(during: impl Future<Output = ()>) -> String {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    during.await;
    drop(guard);
    let bytes = log.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn changes_and_refusals_are_in_the_audit_log_and_tokens_never() {
    let plane = Plane::new();
    let (push, foreign) = (plane.token(Scope::Push), Plane::new().token(Scope::Push));
    let log = logged(async {
        plane.ask("GET", "/v2/", None).await;
        plane.ask("GET", "/v2/models/a/tags/list", Some(&bearer(&push))).await;
        plane.ask("PUT", "/v2/models/a/manifests/1?x=secret", Some(&bearer(&push))).await;
        plane.ask("PUT", "/admin/v1/policy", Some(&bearer(&push))).await;
        plane.ask("DELETE", "/v2/models/a/manifests/1", Some(&bearer(&foreign))).await;
        plane.ask("GET", "/v2/", Some(&format!("Bearer {push}x"))).await;
    })
    .await;
    let lines: Vec<&str> = log.lines().collect();
    let id = &plane.tokens.list()[0].id;
    for (line, parts) in lines.iter().zip([
        &["INFO headland::audit: done", "token=\"push\"", id, "method=\"PUT\"", "manifests/1\"", "status=200"][..],
        &["INFO headland::audit: refused", "token=\"push\"", id, "/admin/v1/policy", "status=403", "scope `admin`"],
        &["INFO headland::audit: refused", "method=\"DELETE\"", "status=401", "not known here"],
        &["INFO headland::audit: refused", "status=401", "holds no token", "request_id=\"request-7\""],
    ]) {
        assert!(parts.iter().all(|part| line.contains(part)), "{line}\ndoes not have all of {parts:?}");
    }
    assert_eq!(lines.len(), 4, "{log}");
    for secret in [&push, &foreign, "secret"] {
        assert!(!log.contains(secret) && !log.contains(&secret[3..]), "{log}");
    }
}

#[tokio::test]
async fn a_change_whose_client_went_away_is_in_the_audit_log() {
    let plane = Plane::new();
    let push = plane.token(Scope::Push);
    let stuck = Router::new().fallback(std::future::pending::<()>);
    let stuck = protect(stuck, plane.tokens.clone(), required_scope);
    let log = logged(async {
        let request = Request::put("/v2/models/a/manifests/1").header(AUTHORIZATION, bearer(&push));
        let mut answer = std::pin::pin!(stuck.oneshot(request.body(Body::empty()).unwrap()));
        std::future::poll_fn(|context| {
            assert!(answer.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
    })
    .await;
    assert!(log.contains("headland::audit: done") && log.contains("status=499"), "{log}");
}

proptest! {
    #[test]
    fn no_header_and_no_path_gets_past_without_a_token(
        value in proptest::collection::vec(32..=255u8, 0..200),
        path in "/[ -~]{0,40}",
        method in "(GET|PUT|POST|DELETE|PATCH|HEAD|OPTIONS|X)",
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let plane = Plane::new();
        plane.token(Scope::Admin);
        let (Ok(value), Ok(uri)) = (http::HeaderValue::from_bytes(&value), path.parse::<http::Uri>()) else {
            return Ok(());
        };
        prop_assume!(!uri.path().starts_with("/v2/health/"));
        let request = Request::builder().method(&*method).uri(uri).header(AUTHORIZATION, value).body(Body::empty());
        let answer = runtime.block_on(plane.router.clone().oneshot(request.unwrap())).unwrap();
        prop_assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    }
}
