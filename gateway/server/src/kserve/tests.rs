//! The protocol as a client meets it, over models a test can see through.

use bytes::Bytes;
use headland_nn_core::{DType, NnError};
use http::{Method, StatusCode};

use super::*;
use crate::limits::Limits;
use crate::test_support::{echo, embedder, failing, gateway, get, plane, post, routed, send};

fn both() -> Router {
    plane([echo("echo:1", DType::F32), echo("echo:2", DType::F32), embedder("words:1")])
}

const INFER: &str = "/v2/models/echo/infer";

#[tokio::test]
async fn the_server_says_what_it_is_and_how_it_is() {
    let router = both();
    let server = get(&router, "/v2").await;
    assert_eq!(server.json()["name"], "headland");
    assert_eq!(server.json()["extensions"], serde_json::json!(["binary_tensor_data"]));
    assert_eq!(get(&router, "/v2/health/live").await.text(), r#"{"live":true}"#);
    assert_eq!(get(&router, "/v2/models").await.text(), r#"{"models":["echo","words"]}"#);
    assert_eq!(get(&router, "/v2/models/echo/ready").await.text(), r#"{"name":"echo","ready":true}"#);
}

#[tokio::test]
async fn readiness_ends_when_the_gateway_begins_to_stop() {
    let gateway = gateway([], Limits::default());
    let router = routed(gateway.clone());
    assert_eq!(get(&router, "/v2/health/ready").await.status, StatusCode::OK);
    gateway.unready_after(std::future::ready(())).await;
    let seen = get(&router, "/v2/health/ready").await;
    assert_eq!((seen.status, seen.text()), (StatusCode::SERVICE_UNAVAILABLE, r#"{"ready":false}"#));
}

#[tokio::test]
async fn metadata_has_versions_and_tensors_text_first() {
    let router = both();
    let seen = get(&router, "/v2/models/echo/versions/1").await;
    assert_eq!(
        seen.text(),
        r#"{"name":"echo","versions":["1","2"],"platform":"fake","inputs":[{"name":"x","datatype":"FP32","shape":[-1,-1]}],"outputs":[{"name":"y","datatype":"FP32","shape":[-1,-1]},{"name":"n","datatype":"INT64","shape":[1]}]}"#
    );
    let words = get(&router, "/v2/models/words").await.json();
    assert_eq!(words["inputs"][0], serde_json::json!({"name": "text", "datatype": "BYTES", "shape": [-1]}));
    assert_eq!(words["inputs"][1]["name"], "input_ids");
}

#[tokio::test]
async fn json_in_json_out_with_the_id_echoed() {
    let body = r#"{"id": "42", "inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [[1, 2.5], [-0.1, 1e-7]]}]}"#;
    let seen = post(&both(), INFER, body).await;
    assert_eq!(seen.status, StatusCode::OK);
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert_eq!(
        seen.text(),
        r#"{"model_name":"echo","model_version":"2","id":"42","outputs":[{"name":"y","datatype":"FP32","shape":[2,2],"data":[1.0,2.5,-0.1,1e-7]},{"name":"n","datatype":"INT64","shape":[1],"data":[4]}]}"#
    );
}

#[tokio::test]
async fn binary_in_binary_out_per_output() {
    let json = r#"{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}],
        "parameters": {"binary_data_output": true},
        "outputs": [{"name": "n", "parameters": {"binary_data": false}}, {"name": "y"}]}"#;
    let tensor = [1.5f32.to_le_bytes(), f32::NAN.to_le_bytes()].concat();
    let body = [json.as_bytes(), &tensor].concat();
    let request = Request::post("/v2/models/echo/versions/1/infer").header(JSON_LENGTH, json.len());
    let seen = send(&both(), request.body(Body::from(body)).unwrap()).await;
    let json_bytes: usize = seen.header("inference-header-content-length").unwrap().parse().unwrap();
    let (json, binary) = seen.body.split_at(json_bytes);
    assert_eq!(
        std::str::from_utf8(json).unwrap(),
        r#"{"model_name":"echo","model_version":"1","outputs":[{"name":"n","datatype":"INT64","shape":[1],"data":[2]},{"name":"y","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}}]}"#
    );
    assert_eq!(binary, tensor);
    assert_eq!(seen.header("content-type"), Some("application/octet-stream"));
    assert_eq!(seen.header("content-length"), Some(seen.body.len().to_string().as_str()));
}

#[tokio::test]
async fn every_type_comes_back_as_it_went_in() {
    for (dtype, data) in [
        (DType::Bool, "[true,false]"),
        (DType::U8, "[0,255]"),
        (DType::U16, "[0,65535]"),
        (DType::U32, "[0,4294967295]"),
        (DType::U64, "[0,18446744073709551615]"),
        (DType::I8, "[-128,127]"),
        (DType::I16, "[-32768,32767]"),
        (DType::I32, "[-2147483648,2147483647]"),
        (DType::I64, "[-9223372036854775808,9223372036854775807]"),
        (DType::F16, "[0.5,-2.0]"),
        (DType::BF16, "[0.5,-2.0]"),
        (DType::F32, "[0.1,3.4028235e38]"),
        (DType::F64, "[0.1,1e300]"),
        (DType::Bytes, r#"["","grüße"]"#),
    ] {
        let body = format!(
            r#"{{"inputs":[{{"name":"x","shape":[1,2],"datatype":"{dtype}","data":{data}}}],"outputs":[{{"name":"y"}}]}}"#
        );
        let seen = post(&plane([echo("echo:1", dtype)]), INFER, body).await;
        let expected = format!(r#""datatype":"{dtype}","shape":[1,2],"data":{data}"#)
            .replace("e38", "e+38")
            .replace("e300", "e+300");
        assert!(
            seen.text().replace("e38", "e+38").replace("e300", "e+300").contains(&expected),
            "{dtype}: {}",
            seen.text()
        );
    }
}

#[tokio::test]
async fn text_goes_in_by_name_and_truncation_is_announced() {
    let body = r#"{"inputs": [{"name": "text", "shape": [3], "datatype": "BYTES", "data": ["a cat", "dog", "a a a a a a a"]}]}"#;
    let seen = post(&both(), "/v2/models/words/infer", body).await;
    assert_eq!(seen.json()["outputs"][0]["data"], serde_json::json!([2.0, 2.0, 0.5, 1.0, 4.0, 0.5, 6.0, 2.0, 0.5]));
    assert_eq!(seen.header("x-headland-truncated"), Some("1 of 3 texts cut to 6 tokens"));
}

#[tokio::test]
async fn bad_requests_say_what_is_wrong_and_what_would_be_right() {
    let input = |tensor: &str| format!(r#"{{"inputs": [{tensor}]}}"#);
    let x = r#"{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1]}"#;
    let outputs = |outputs: &str| format!(r#"{{"inputs": [{x}], "outputs": [{outputs}]}}"#);
    let router = both();
    for (body, status, expected) in [
        ("{\"inputs\": [\n}".to_owned(), 400, "line 2, column 1: expected value"),
        (
            input(r#"{"name": "z", "shape": [1, 1], "datatype": "FP32", "data": [1]}"#),
            400,
            "unknown input `z`; the model takes x FP32[?,?]",
        ),
        (
            input(r#"{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}"#),
            400,
            "input `x` is FP32[1]; the model takes x FP32[?,?]",
        ),
        (
            input(r#"{"name": "x", "shape": [1, 1], "datatype": "INT8", "data": [1]}"#),
            400,
            "input `x` is INT8[1,1]; the model takes",
        ),
        (
            input(r#"{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1]}"#),
            400,
            "input `x`: shape [1,2] needs 2 elements, got 1",
        ),
        (input(""), 400, "input `x` is missing; the model takes"),
        (outputs(r#"{"name": "q"}"#), 400, "unknown output `q`; the model gives y FP32[?,?], n INT64[1]"),
        (outputs(r#"{"name": "y"}, {"name": "y"}"#), 400, "output `y` is asked for twice"),
        (
            outputs(r#"{"name": "y", "parameters": {"classification": 2}}"#),
            400,
            "classification extension is not supported",
        ),
    ] {
        let seen = post(&router, INFER, body).await;
        let error = seen.json()["error"].as_str().unwrap().to_owned();
        assert_eq!((seen.status.as_u16(), error.contains(expected)), (status, true), "{error}");
        let good = post(&router, INFER, input(x)).await;
        assert_eq!(good.status, StatusCode::OK, "the next good request succeeds");
    }
}

#[tokio::test]
async fn unknown_models_versions_and_routes_are_404_in_the_protocols_shape() {
    let router = both();
    for (path, expected) in [
        ("/v2/models/nope", "model `nope` is not loaded; loaded: echo:1, echo:2, words:1"),
        ("/v2/models/echo/versions/3", "model `echo:3` is not loaded; loaded: echo:1, echo:2"),
        ("/v2/models/echo:3/ready", "model `echo:3` is not loaded; loaded: echo:1, echo:2"),
        ("/v2/models/..%2Fx", "only letters, digits, `.`, `_` and `-` may stand in it; loaded: echo:1"),
        ("/v2/nonsense", "there is no `/v2/nonsense`"),
        ("/v2/", "there is no `/v2/`"),
    ] {
        let seen = get(&router, path).await;
        let error = seen.json()["error"].as_str().unwrap().to_owned();
        assert!(seen.status == StatusCode::NOT_FOUND && error.contains(expected), "{path}: {} {error}", seen.status);
    }
}

#[tokio::test]
async fn another_method_is_405_and_says_which_would_do() {
    let seen = get(&both(), INFER).await;
    assert_eq!((seen.status, seen.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, Some("POST")));
    assert!(seen.json()["error"].as_str().unwrap().contains("`/v2/models/echo/infer` does not take GET"));
    let request = Request::builder().method(Method::DELETE).uri("/v2/health/live").body(Body::empty()).unwrap();
    let seen = send(&both(), request).await;
    assert_eq!((seen.status, seen.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, Some("GET,HEAD")));
}

#[tokio::test]
async fn failures_below_have_their_statuses_and_keep_their_secrets() {
    let body = r#"{"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1]}]}"#;
    let timeout = body.replace(r#"{"inputs""#, r#"{"parameters": {"timeout": 1}, "inputs""#);
    for (error, body, status, expected) in [
        (Some(NnError::runtime("/srv/secret")), body, 500, "the gateway's log has the cause (request id "),
        (Some(NnError::TooLarge("a batch of 9; at most 8".into())), body, 400, "a batch of 9; at most 8"),
        (None, body, 503, "model `bad` is busy: its queue is full (0 waiting); try again in 1 s"),
        (Some(NnError::runtime("late")), &timeout, 504, "the deadline passed before model `bad` answered"),
    ] {
        let seen = post(&plane([failing("bad:1", error)]), "/v2/models/bad/infer", body.to_owned()).await;
        let error = seen.json()["error"].as_str().unwrap().to_owned();
        assert!(seen.status.as_u16() == status && error.contains(expected), "{} {error}", seen.status);
        assert_eq!(seen.header("retry-after").is_some(), status == 503);
        assert!(!error.contains("secret"));
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_and_compressed_ones_415() {
    let router = routed(gateway([echo("echo:1", DType::F32)], Limits { body_bytes_max: 100, ..Limits::default() }));
    // A body that says so is not waited for: this one never comes.
    let pending = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
    let seen = send(&router, Request::post(INFER).header("content-length", 101).body(pending).unwrap()).await;
    assert_eq!(
        (seen.status, seen.json()["error"].as_str()),
        (StatusCode::PAYLOAD_TOO_LARGE, Some("the request body is larger than 100 bytes, the most this gateway takes"))
    );
    let chunks = futures_util::stream::iter((0..3).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 50]))));
    assert_eq!(post(&router, INFER, Body::from_stream(chunks)).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let request = Request::post(INFER).header("content-encoding", "gzip").body(Body::empty()).unwrap();
    assert_eq!(send(&router, request).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_408() {
    let pending = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
    assert_eq!(post(&both(), INFER, pending).await.status, StatusCode::REQUEST_TIMEOUT);
}

#[tokio::test]
async fn bodies_share_one_budget() {
    let limits = Limits { body_bytes_max: 1 << 20, bodies_bytes_max: 1 << 20, ..Limits::default() };
    let gateway = gateway([echo("echo:1", DType::F32)], limits);
    let all = gateway.body_budget().clone().acquire_many_owned(1 << 10).await.unwrap();
    let router = routed(gateway);
    let seen = post(&router, INFER, "{}").await;
    assert_eq!((seen.status, seen.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, Some("1")));
    drop(all);
    assert_eq!(post(&router, INFER, "{}").await.status, StatusCode::BAD_REQUEST);
}
