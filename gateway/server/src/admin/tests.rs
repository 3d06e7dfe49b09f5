//! What operators and Prometheus see.

use headland_nn_core::DType;
use http::StatusCode;

use crate::test_support::{echo, embedder, gateway, get, post};
use crate::{Limits, admin_plane, data_plane};

#[tokio::test]
async fn models_are_listed_with_what_they_are() {
    let admin = admin_plane(gateway([echo("echo:1", DType::F32), embedder("words:2")], Limits::default()));
    let list = get(&admin, "/admin/v1/models").await.json();
    assert_eq!(list["models"][0]["name"], "echo");
    let words = get(&admin, "/admin/v1/models/words").await.json();
    assert_eq!(words, list["models"][1]);
    assert_eq!((&words["version"], &words["device"], &words["tokens_max"]), (&"2".into(), &"cpu".into(), &6.into()));
    assert_eq!(words["inputs"][0]["name"], "text");
    assert_eq!(get(&admin, "/admin/v1/apps").await.text(), r#"{"apps":[]}"#);
}

#[tokio::test]
async fn what_is_not_there_is_a_problem() {
    let admin = admin_plane(gateway([echo("echo:1", DType::F32)], Limits::default()));
    for (path, kind, detail) in [
        ("/admin/v1/models/x", "/errors/model-not-found", "model `x` is not loaded; loaded: echo:1"),
        ("/admin/v1/apps/x", "/errors/app-not-found", "app `x` is not deployed; none is"),
        ("/v2/", "/errors/route-not-found", "there is no `/v2/`; there are /metrics"),
    ] {
        let seen = get(&admin, path).await;
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
async fn requests_are_counted_by_model_and_by_route() {
    let gateway = gateway([echo("echo:1", DType::F32)], Limits::default());
    let (data, admin) = (data_plane(gateway.clone()), admin_plane(gateway));
    let body =
        |shape: &str| format!(r#"{{"inputs": [{{"name": "x", "shape": {shape}, "datatype": "FP32", "data": [1]}}]}}"#);
    for shape in ["[1,1]", "[1,1]", "[1]"] {
        post(&data, "/v2/models/echo/infer", body(shape)).await;
    }
    let seen = get(&admin, "/metrics").await;
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
    get(&data_plane(gateway.clone()), "/v2").await;
    let text = get(&admin_plane(gateway), "/metrics").await;
    for line in text.text().lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap();
        assert!(page.contains(&format!("`{name}`")), "docs/metrics.md does not explain `{name}`");
    }
}
