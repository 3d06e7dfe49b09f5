//! Manifests by tag and digest, versions that never change, signatures as referrers.

use headland_package::Sha256Digest;
use headland_package::oci::{Descriptor, MEDIA_TYPE_INDEX, MEDIA_TYPE_MANIFEST, Manifest};
use http::{Method, StatusCode, header};

use super::registry::{TestRegistry, model, request};

const FILES: &[(&str, &[u8])] = &[("config.json", b"{}"), ("model.onnx", b"weights")];

#[tokio::test]
async fn a_manifest_is_found_by_tag_and_digest_as_it_was_put() {
    let registry = TestRegistry::new();
    let pushed = registry.push_model("m", "1.0", FILES).await;
    let bytes = model("m", "1.0", FILES).manifest;
    for reference in ["1.0", &pushed.digest.to_string()] {
        let path = format!("/v2/models/m/manifests/{reference}");
        let answer = registry.get(&path).await;
        assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &bytes[..]));
        assert_eq!(answer.header("content-type"), MEDIA_TYPE_MANIFEST);
        assert_eq!(answer.header("docker-content-digest"), pushed.digest.to_string());
        let head = registry.call(Method::HEAD, &path, "").await;
        assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
        assert_eq!(head.header("content-length"), bytes.len().to_string());
        let known = request(Method::GET, &path, &[(header::IF_NONE_MATCH, answer.header("etag"))], "");
        assert_eq!(registry.send(known).await.status, StatusCode::NOT_MODIFIED);
    }
}

#[tokio::test]
async fn a_missing_manifest_is_404_whatever_its_reference_looks_like() {
    let registry = TestRegistry::new();
    for reference in ["1.0", ".INVALID", &Sha256Digest::of(b"").to_string()] {
        let path = format!("/v2/models/m/manifests/{reference}");
        registry.get(&path).await.assert_failure("404 MANIFEST_UNKNOWN", "");
        assert_eq!(registry.call(Method::HEAD, &path, "").await.status, StatusCode::NOT_FOUND);
        registry.call(Method::DELETE, &path, "").await.assert_failure("404 MANIFEST_UNKNOWN", "");
    }
}

#[tokio::test]
async fn a_version_never_changes_but_may_be_pushed_again() {
    let registry = TestRegistry::new();
    let first = registry.push_model("m", "1.0", FILES).await;
    registry.push_model("m", "1.0", FILES).await;
    let other = model("m", "1.0", &[("model.onnx", b"weights")]);
    registry.push_blob("models/m", &other.config).await;
    let before = registry.snapshot();
    let answer = registry.put_manifest("models/m", "1.0", &other.manifest).await;
    answer.assert_failure("409 DENIED", "versions never change; choose another version");
    assert!(answer.failure().contains(&first.digest.to_string()), "{answer:?}");
    assert_eq!(registry.snapshot(), before);
    assert_eq!(registry.put_manifest("models/m", "1.1", &other.manifest).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn of_two_first_pushes_of_a_version_one_counts() {
    let registry = TestRegistry::new();
    let (a, b) = (model("m", "1", &[("a.onnx", b"a")]), model("m", "1", &[("b.onnx", b"b")]));
    for blob in [&a.config[..], &b.config, b"a", b"b"] {
        registry.push_blob("models/m", blob).await;
    }
    let (a, b) = tokio::join!(
        registry.put_manifest("models/m", "1", &a.manifest),
        registry.put_manifest("models/m", "1", &b.manifest)
    );
    let mut statuses = [a.status.as_u16(), b.status.as_u16()];
    statuses.sort();
    assert_eq!(statuses, [201, 409]);
}

#[tokio::test]
async fn tags_elsewhere_move() {
    let registry = TestRegistry::new();
    let manifest = |kind: &str| Manifest::new(kind, Manifest::empty_config(), Vec::new()).to_bytes();
    registry.push_blob("library/x", b"{}").await;
    for kind in ["a/b", "c/d"] {
        assert_eq!(registry.put_manifest("library/x", "latest", &manifest(kind)).await.status, StatusCode::CREATED);
        assert_eq!(registry.get("/v2/library/x/manifests/latest").await.body, manifest(kind));
    }
}

#[tokio::test]
async fn a_manifest_sent_first_is_told_every_blob_it_misses() {
    let registry = TestRegistry::new();
    let packed = model("m", "1", FILES);
    registry.push_blob("models/m", b"{}").await;
    let answer = registry.put_manifest("models/m", "1", &packed.manifest).await;
    answer.assert_failure("404 MANIFEST_BLOB_UNKNOWN", "names 2 blobs that are not in models/m");
    let missing = serde_json::json!([Sha256Digest::of(&packed.config), Sha256Digest::of(b"weights")]);
    assert_eq!(answer.json()["errors"][0]["detail"]["missing"], missing);
    registry.get("/v2/models/m/manifests/1").await.assert_failure("404 MANIFEST_UNKNOWN", "");
}

#[tokio::test]
async fn an_index_needs_its_manifests() {
    let registry = TestRegistry::new();
    registry.push_blob("library/x", b"{}").await;
    let inner = Manifest::new("a/b", Manifest::empty_config(), Vec::new()).to_bytes();
    let descriptor = Descriptor::of(MEDIA_TYPE_MANIFEST, &inner);
    let index = serde_json::json!({ "schemaVersion": 2, "mediaType": MEDIA_TYPE_INDEX, "manifests": [descriptor] });
    let index = index.to_string().into_bytes();
    let put = || registry.put_as("library/x", "all", MEDIA_TYPE_INDEX, &index);
    put().await.assert_failure("404 MANIFEST_BLOB_UNKNOWN", &descriptor.digest.to_string());
    registry.put_manifest("library/x", &descriptor.digest.to_string(), &inner).await;
    assert_eq!(put().await.status, StatusCode::CREATED);
    assert_eq!(registry.get("/v2/library/x/manifests/all").await.header("content-type"), MEDIA_TYPE_INDEX);
}

#[tokio::test]
async fn a_signature_may_come_before_and_after_what_it_signs() {
    let registry = TestRegistry::new();
    let packed = model("m", "1", FILES);
    let subject = Descriptor::of(MEDIA_TYPE_MANIFEST, &packed.manifest);
    let answer = registry.push_signature("models/m", b"first", subject.clone()).await;
    assert_eq!((answer.status, answer.header("oci-subject")), (StatusCode::CREATED, &subject.digest.to_string()[..]));
    assert_eq!(registry.push_model("m", "1", FILES).await, subject);
    assert_eq!(registry.push_signature("models/m", b"second", subject.clone()).await.status, StatusCode::CREATED);
    let index = registry.get(&format!("/v2/models/m/referrers/{}", subject.digest)).await.json();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_tag_is_deleted_alone_and_a_manifest_with_its_tags() {
    let registry = TestRegistry::new();
    let pushed = registry.push_model("m", "1", FILES).await;
    let bytes = model("m", "1", FILES).manifest;
    registry.put_manifest("models/m", "2", &bytes).await;
    let delete = |reference: String| {
        let path = format!("/v2/models/m/manifests/{reference}");
        let registry = &registry;
        async move { registry.call(Method::DELETE, &path, "").await.status }
    };
    assert_eq!(delete("1".into()).await, StatusCode::ACCEPTED);
    assert_eq!(registry.get("/v2/models/m/manifests/1").await.status, StatusCode::NOT_FOUND);
    assert_eq!(registry.get("/v2/models/m/manifests/2").await.status, StatusCode::OK);
    assert_eq!(delete(pushed.digest.to_string()).await, StatusCode::ACCEPTED);
    assert_eq!(registry.get("/v2/models/m/manifests/2").await.status, StatusCode::NOT_FOUND);
    assert_eq!(delete(pushed.digest.to_string()).await, StatusCode::NOT_FOUND);
}
