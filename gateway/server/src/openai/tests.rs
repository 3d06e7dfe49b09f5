//! OpenAI's API as its SDK meets it.

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use headland_nn_core::DType;
use http::StatusCode;
use serde_json::json;

use super::*;
use crate::test_support::{Seen, echo, embedder, get, plane, post};

fn router() -> Router {
    plane([echo("echo:1", DType::F32), embedder("words:1")])
}

async fn embed(body: impl Into<Body>) -> Seen {
    post(&router(), "/v1/embeddings", body).await
}

#[tokio::test]
async fn texts_become_vectors_with_usage() {
    let seen = embed(r#"{"model": "words", "input": ["a cat", "dog"], "user": "u", "future_field": {}}"#).await;
    assert_eq!(
        seen.text(),
        r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[2.0,2.0,0.5]},{"object":"embedding","index":1,"embedding":[1.0,4.0,0.5]}],"model":"words","usage":{"prompt_tokens":3,"total_tokens":3}}"#
    );
    assert_eq!(seen.header("x-headland-truncated"), None);
}

#[tokio::test]
async fn one_text_is_one_vector() {
    let seen = embed(r#"{"model": "words:1", "input": "dog", "dimensions": 3}"#).await;
    assert_eq!(seen.json()["data"], json!([{"object": "embedding", "index": 0, "embedding": [1.0, 4.0, 0.5]}]));
}

#[tokio::test]
async fn base64_is_little_endian_single_precision() {
    let seen = embed(r#"{"model": "words", "input": "dog", "encoding_format": "base64"}"#).await;
    let raw = BASE64.decode(seen.json()["data"][0]["embedding"].as_str().unwrap()).unwrap();
    assert_eq!(raw, [1.0f32, 4.0, 0.5].map(f32::to_le_bytes).concat());
}

#[tokio::test]
async fn token_ids_are_taken_as_they_are_and_counted() {
    let seen = embed(r#"{"model": "words", "input": [2, 3]}"#).await;
    assert_eq!(seen.json()["data"][0]["embedding"], json!([2.0, 2.0, 0.5]));
    let seen = embed(r#"{"model": "words", "input": [[4], [3, 3, 3, 3, 3, 3, 3]]}"#).await;
    assert_eq!(seen.json()["data"][1]["embedding"], json!([6.0, 3.0, 0.5]));
    assert_eq!(seen.json()["usage"], json!({"prompt_tokens": 7, "total_tokens": 7}));
    assert_eq!(seen.header("x-headland-truncated"), Some("1 of 2 texts cut to 6 tokens"));
}

#[tokio::test]
async fn errors_have_openais_shape() {
    for (body, status, param, code, message) in [
        (
            r#"{"model": "gpt", "input": "x"}"#,
            404,
            json!("model"),
            "model_not_found",
            "model `gpt` is not loaded; loaded: echo:1, words:1",
        ),
        (
            r#"{"model": "echo", "input": "x"}"#,
            400,
            json!("model"),
            "invalid_input",
            "does not embed text; these can: words",
        ),
        (
            r#"{"model": "words", "input": "x", "dimensions": 2}"#,
            400,
            json!("dimensions"),
            "invalid_input",
            "vectors of 3 dimensions",
        ),
        (r#"{"model": "words", "input": [99]}"#, 400, json!(null), "invalid_input", "token id 99 in sequence 0"),
        (
            r#"{"model": "words", "input": []}"#,
            400,
            json!(null),
            "malformed_body",
            "line 1, column 31: `input` is empty",
        ),
        (r#"{"input": "x"}"#, 400, json!(null), "malformed_body", "missing field `model`"),
        (
            r#"{"model": "words", "input": "x", "encoding_format": "hex"}"#,
            400,
            json!(null),
            "malformed_body",
            "unknown variant `hex`",
        ),
    ] {
        let seen = embed(body).await;
        let error = &seen.json()["error"];
        assert_eq!(
            (seen.status.as_u16(), &error["param"], error["code"].as_str()),
            (status, &param, Some(code)),
            "{error}"
        );
        assert_eq!(error["type"], "invalid_request_error");
        assert!(error["message"].as_str().unwrap().contains(message), "{error}");
    }
}

#[tokio::test]
async fn models_are_listed_and_shown() {
    let list = get(&router(), "/v1/models").await.json();
    let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!((list["object"].as_str(), ids), (Some("list"), vec!["echo", "words"]));
    let shown = get(&router(), "/v1/models/words").await.json();
    assert_eq!((shown["id"].as_str(), shown["object"].as_str()), (Some("words"), Some("model")));
    let missing = get(&router(), "/v1/models/gpt").await;
    assert_eq!((missing.status, &missing.json()["error"]["code"]), (StatusCode::NOT_FOUND, &json!("model_not_found")));
}

#[tokio::test]
async fn unknown_routes_and_methods_are_answered_in_openais_shape() {
    let seen = post(&router(), "/v1/images/generations", "{}").await;
    assert_eq!((seen.status, &seen.json()["error"]["code"]), (StatusCode::NOT_FOUND, &json!("route_not_found")));
    let seen = get(&router(), "/v1/embeddings").await;
    assert_eq!((seen.status, seen.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, Some("POST")));
    assert_eq!(seen.json()["error"]["code"], "method_not_allowed");
}
