//! Blobs out: whole, in part, not at all.

use axum::body::Body;
use http::{Method, StatusCode, header};

use super::registry::{TestRegistry, request};

const BLOB: &[u8] = b"0123456789";

async fn with_blob() -> (TestRegistry, String) {
    let registry = TestRegistry::new();
    let digest = registry.push_blob("library/x", BLOB).await;
    (registry, format!("/v2/library/x/blobs/{digest}"))
}

#[tokio::test]
async fn the_registry_says_that_it_is_one() {
    let registry = TestRegistry::new();
    for path in ["/v2/", "/v2"] {
        let answer = registry.get(path).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.header("docker-distribution-api-version"), "registry/2.0");
    }
}

#[tokio::test]
async fn a_blob_comes_whole_with_its_digest_as_entity_tag() {
    let (registry, path) = with_blob().await;
    let answer = registry.get(&path).await;
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, BLOB));
    assert_eq!(answer.header("content-length"), "10");
    assert_eq!(answer.header("accept-ranges"), "bytes");
    assert_eq!(answer.header("etag"), format!("\"{}\"", answer.header("docker-content-digest")));

    let head = registry.call(Method::HEAD, &path, Body::empty()).await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    assert_eq!(head.header("content-length"), "10");

    let again = request(Method::GET, &path, &[(header::IF_NONE_MATCH, answer.header("etag"))], "");
    let again = registry.send(again).await;
    assert_eq!((again.status, again.body.len()), (StatusCode::NOT_MODIFIED, 0));
}

#[tokio::test]
async fn a_range_comes_as_206_and_one_beyond_the_end_as_416() {
    let (registry, path) = with_blob().await;
    for (range, expected, content_range) in [
        ("bytes=2-4", &BLOB[2..5], "bytes 2-4/10"),
        ("bytes=8-", &BLOB[8..], "bytes 8-9/10"),
        ("bytes=-3", &BLOB[7..], "bytes 7-9/10"),
        ("bytes=0-999", BLOB, "bytes 0-9/10"),
    ] {
        let answer = registry.send(request(Method::GET, &path, &[(header::RANGE, range)], "")).await;
        assert_eq!((answer.status, &answer.body[..]), (StatusCode::PARTIAL_CONTENT, expected), "{range}");
        assert_eq!(answer.header("content-range"), content_range);
        assert_eq!(answer.header("content-length"), expected.len().to_string());
    }
    let answer = registry.send(request(Method::GET, &path, &[(header::RANGE, "bytes=10-")], "")).await;
    answer.assert_failure("416 SIZE_INVALID", "the blob has 10 bytes");
    assert_eq!(answer.header("content-range"), "bytes */10");
}

#[tokio::test]
async fn a_range_of_content_that_has_changed_is_answered_with_the_whole() {
    let (registry, path) = with_blob().await;
    let etag = registry.get(&path).await.header("etag").to_owned();
    for (tag, status) in [(&etag[..], StatusCode::PARTIAL_CONTENT), ("\"other\"", StatusCode::OK)] {
        let headers = [(header::RANGE, "bytes=2-4"), (header::IF_RANGE, tag)];
        assert_eq!(registry.send(request(Method::GET, &path, &headers, "")).await.status, status, "{tag}");
    }
}

#[tokio::test]
async fn a_large_blob_comes_in_pieces_that_add_up() {
    let registry = TestRegistry::new();
    let blob: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let digest = registry.push_blob("library/x", &blob).await;
    let answer = registry.get(&format!("/v2/library/x/blobs/{digest}")).await;
    assert!(answer.body == blob);
    let part =
        request(Method::GET, &format!("/v2/library/x/blobs/{digest}"), &[(header::RANGE, "bytes=1000001-9000000")], "");
    assert!(registry.send(part).await.body == blob[1_000_001..=9_000_000]);
}

#[tokio::test]
async fn a_blob_is_read_only_through_repositories_that_have_it() {
    let (registry, path) = with_blob().await;
    registry.get(&path.replace("library/x", "library/y")).await.assert_failure("404 BLOB_UNKNOWN", "in library/y");
}

#[tokio::test]
async fn a_deleted_blob_is_gone_and_one_in_use_stays() {
    let (registry, path) = with_blob().await;
    assert_eq!(registry.call(Method::DELETE, &path, "").await.status, StatusCode::ACCEPTED);
    registry.get(&path).await.assert_failure("404 BLOB_UNKNOWN", "there is no blob");
    registry.call(Method::DELETE, &path, "").await.assert_failure("404 BLOB_UNKNOWN", "there is no blob");

    registry.push_model("m", "1", &[("model.onnx", BLOB)]).await;
    let path = path.replace("library/x", "models/m");
    registry.call(Method::DELETE, &path, "").await.assert_failure("409 DENIED", "is part of manifest");
    assert_eq!(registry.get(&path).await.status, StatusCode::OK);
}
