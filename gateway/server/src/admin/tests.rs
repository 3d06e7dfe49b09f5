//! What operators and Prometheus see.

use axum::body::Body;
use headland_nn_core::DType;
use http::{Request, StatusCode};

use crate::Limits;
use crate::test_support::{admin, echo, embedder, gateway, get, post, routed, send};

#[tokio::test]
async fn models_are_listed_with_what_they_are() {
    let plane = admin(gateway([echo("echo:1", DType::F32), embedder("words:2")], Limits::default()));
    let list = get(&plane, "/admin/v1/models").await.json();
    assert_eq!(list["models"][0]["name"], "echo");
    let words = get(&plane, "/admin/v1/models/words").await.json();
    assert_eq!(words, list["models"][1]);
    assert_eq!((&words["version"], &words["device"], &words["tokens_max"]), (&"2".into(), &"cpu".into(), &6.into()));
    assert_eq!(words["inputs"][0]["name"], "text");
    assert_eq!(get(&plane, "/admin/v1/apps").await.text(), r#"{"apps":[]}"#);
}

#[tokio::test]
async fn what_is_not_there_is_a_problem() {
    let plane = admin(gateway([echo("echo:1", DType::F32)], Limits::default()));
    for (path, kind, detail) in [
        ("/admin/v1/models/x", "/errors/not-found", "there is no model `x`; there are: echo"),
        ("/admin/v1/apps/x", "/errors/app-not-found", "app `x` is not deployed; none is"),
        ("/v1/models", "/errors/route-not-found", "there is no `/v1/models`; there are /admin/v1/models"),
    ] {
        let seen = get(&plane, path).await;
        let problem = seen.json();
        assert_eq!(seen.header("content-type"), Some("application/problem+json"));
        assert_eq!(
            (seen.status, &problem["status"], &problem["type"]),
            (StatusCode::NOT_FOUND, &404.into(), &kind.into())
        );
        assert!(problem["detail"].as_str().unwrap().starts_with(detail), "{problem}");
        assert_eq!(problem["request_id"].as_str(), seen.header("x-request-id"));
    }
}

#[tokio::test]
async fn names_and_queries_that_cannot_be_are_problems_too() {
    let plane = admin(gateway([echo("echo:1", DType::F32)], Limits::default()));
    for (method, path, status) in [
        ("PUT", "/admin/v1/models/Bad!/aliases/x", StatusCode::NOT_FOUND),
        ("DELETE", "/admin/v1/apps/..x", StatusCode::NOT_FOUND),
        ("DELETE", "/admin/v1/models/echo/versions/1?force=yes", StatusCode::BAD_REQUEST),
        ("DELETE", "/admin/v1/models/echo/versions/1", StatusCode::NOT_FOUND),
        ("PUT", "/admin/v1/models/echo/aliases/stable", StatusCode::BAD_REQUEST),
    ] {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let seen = send(&plane, request).await;
        assert_eq!(seen.status, status, "{path}: {}", seen.text());
        assert_eq!(seen.header("content-type"), Some("application/problem+json"), "{path}");
    }
}

#[tokio::test]
async fn requests_are_counted_by_model_and_by_route() {
    let gateway = gateway([echo("echo:1", DType::F32)], Limits::default());
    let (data, plane) = (routed(gateway.clone()), admin(gateway));
    let body =
        |shape: &str| format!(r#"{{"inputs": [{{"name": "x", "shape": {shape}, "datatype": "FP32", "data": [1]}}]}}"#);
    for shape in ["[1,1]", "[1,1]", "[1]"] {
        post(&data, "/v2/models/echo/infer", body(shape)).await;
    }
    let seen = get(&plane, "/metrics").await;
    assert_eq!(seen.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    for line in [
        r#"headland_inference_request_success_total{model="echo",version="1"} 2"#,
        r#"headland_inference_request_failure_total{model="echo",reason="OTHER",version="1"} 1"#,
        r#"headland_inference_exec_total{model="echo",version="1"} 2"#,
        r#"headland_inference_pending_requests{model="echo",version="1"} 0"#,
        r#"headland_model_memory_bytes{model="echo",version="1"} 1048576"#,
        r#"headland_http_requests_total{app="",route="kserve_infer",status="200"} 2"#,
        r#"headland_http_requests_total{app="",route="kserve_infer",status="400"} 1"#,
        r#"headland_http_request_duration_seconds_count{route="kserve_infer"} 3"#,
    ] {
        assert!(seen.text().lines().any(|seen| seen == line), "{line}\nis not in\n{}", seen.text());
    }
}

#[tokio::test]
async fn the_documentation_explains_every_metric() {
    let page = include_str!("../../../../docs/metrics.md");
    let gateway = gateway([echo("echo:1", DType::F32)], Limits::default());
    get(&routed(gateway.clone()), "/v2").await;
    let text = get(&admin(gateway), "/metrics").await;
    for line in text.text().lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap();
        assert!(page.contains(&format!("`{name}`")), "docs/metrics.md does not explain `{name}`");
    }
}
