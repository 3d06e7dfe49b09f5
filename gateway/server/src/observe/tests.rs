//! What every request gets, whoever answers it.

use std::io;
use std::sync::{Arc, Mutex, Once};

use axum::Router;
use axum::body::Body;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use http::{HeaderMap, Request, StatusCode};

use super::*;
use crate::test_support::{self, plane, send};

fn request(path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let request = headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
    request.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn every_answer_has_a_request_id_the_clients_own_if_it_sent_one() {
    for path in ["/v2", "/v2/models/none", "/v1/models", "/nowhere"] {
        let seen = send(&plane([]), request(path, &[("x-request-id", "mine-1")])).await;
        assert_eq!(seen.header("x-request-id"), Some("mine-1"), "{path}");
        let seen = test_support::get(&plane([]), path).await;
        assert_eq!(seen.header("x-request-id").map(str::len), Some(32), "{path}");
    }
}

#[tokio::test]
async fn a_path_no_app_claims_is_a_problem_that_says_how_to_claim_it() {
    let seen = send(&plane([]), request("/shop?token=s3cret", &[("host", "shop.test")])).await;
    let problem = seen.json();
    assert_eq!((seen.status, seen.header("content-type")), (StatusCode::NOT_FOUND, Some("application/problem+json")));
    assert_eq!(problem["type"], "/errors/app-not-found");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("path `/shop` of host `shop.test`") && detail.contains("[[route]]"), "{detail}");
    assert!(!seen.text().contains("s3cret"));
}

fn observed(handler: axum::routing::MethodRouter) -> Router {
    let plane = Plane { metrics: Arc::new(Metrics::new()), shape_of: |_| Shape::Problem, route_of: |_| RouteKind::App };
    Router::new().route("/x", handler).layer(from_fn_with_state(plane, observe))
}

#[tokio::test]
async fn a_panic_is_an_answer_with_an_id() {
    let router = observed(get(async || -> &'static str { panic!("as the test says") }));
    let seen = send(&router, request("/x", &[("x-request-id", "boom")])).await;
    assert_eq!(seen.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(seen.json()["detail"], "the gateway failed on this request (request id boom)");
}

#[tokio::test]
async fn a_panic_in_beginning_an_answer_is_one_too() {
    let plane = Plane { metrics: Arc::new(Metrics::new()), shape_of: |_| Shape::Problem, route_of: |_| RouteKind::App };
    let mut request = request("/x", &[("x-request-id", "boom")]);
    let watch = Watch::begin(&plane, &mut request);
    let begun = caught(|| -> std::future::Ready<Response> { panic!("as the test says") });
    let response = watch.answer(begun).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(response.headers()[REQUEST_ID], "boom");
}

#[tokio::test]
async fn handlers_see_the_id_and_their_own_span() {
    let router = observed(get(async |headers: HeaderMap| {
        format!("{} {}", headers["x-request-id"].to_str().unwrap(), headers["traceparent"].to_str().unwrap())
    }));
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let seen = send(&router, request("/x", &[("x-request-id", "id"), ("traceparent", parent)])).await;
    assert!(seen.text().starts_with("id 00-0af7651916cd43dd8448eb211c80319c-"));
    assert!(!seen.text().contains("b7ad6b7169203331"));
}

/// What the process has logged since the first call. Global, because a subscriber of one thread only would miss call
/// sites that another thread's test reaches first.
fn logged() -> String {
    static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    static SET: Once = Once::new();

    struct Writer;
    impl io::Write for Writer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            LOG.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    SET.call_once(|| {
        let subscriber = tracing_subscriber::fmt().with_ansi(false).without_time().with_writer(|| Writer).finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        tracing::callsite::rebuild_interest_cache();
    });
    String::from_utf8(LOG.lock().unwrap().clone()).unwrap()
}

#[tokio::test]
async fn the_access_log_has_one_line_per_request_and_no_secrets() {
    logged();
    let headers = [
        ("x-request-id", "logged-once"),
        ("authorization", "Bearer s3cret"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ];
    let seen = send(&plane([]), request("/v2/health/live?key=s3cret", &headers)).await;
    assert_eq!(seen.status, StatusCode::OK);
    let log = logged();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("logged-once")).collect();
    let [line] = lines[..] else { panic!("{lines:?}") };
    for part in [
        "method=\"GET\"",
        "path=\"/v2/health/live\"",
        "status=200",
        "bytes=13",
        "request_id=\"logged-once\"",
        "trace_id=\"0af7651916cd43dd8448eb211c80319c\"",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!log.contains("s3cret"), "{log}");
}
