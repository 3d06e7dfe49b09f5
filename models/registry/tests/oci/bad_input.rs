//! What nobody should send: each gets its own error, changes nothing, and the next good request works.

use axum::body::Body;
use headland_package::Sha256Digest;
use headland_package::oci::{
    ANNOTATION_FILEPATH, ARTIFACT_TYPE_MODEL, Descriptor, MANIFEST_BYTES_MAX, MEDIA_TYPE_INDEX, MEDIA_TYPE_MANIFEST,
    Manifest, pack_signature,
};
use headland_registry::oci::OpenGate;
use http::{Method, StatusCode, header};

use super::registry::{Answer, TestRegistry, model, request};

const FILES: &[(&str, &[u8])] = &[("config.json", b"{}"), ("model.onnx", b"weights")];

/// A registry with a good model's blobs, so that only what is bad about a manifest can be what is refused.
async fn prepared() -> TestRegistry {
    let registry = TestRegistry::new();
    registry.push_model("m", "1", FILES).await;
    registry
}

/// A good model's manifest, changed.
fn changed(change: impl FnOnce(&mut Manifest)) -> Vec<u8> {
    let mut manifest = Manifest::parse(&model("m", "1", FILES).manifest).unwrap();
    change(&mut manifest);
    manifest.to_bytes()
}

fn with_path(path: &str) -> Vec<u8> {
    changed(|manifest| {
        manifest.layers[0].annotations.insert(ANNOTATION_FILEPATH.into(), path.into());
    })
}

async fn put(registry: &TestRegistry, manifest: &[u8]) -> Answer {
    registry.put_manifest("models/m", "2", manifest).await
}

#[tokio::test]
async fn manifests_that_are_no_models_are_refused_each_for_its_reason() {
    let registry = prepared().await;
    let before = registry.snapshot();
    let layers = |count: usize| changed(|manifest| manifest.layers = vec![manifest.layers[0].clone(); count]);
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000)).into_bytes();
    for (manifest, code, message) in [
        (with_path("../x"), "400 MANIFEST_INVALID", "file path `../x` has a part `..`"),
        (with_path("/etc/passwd"), "400 MANIFEST_INVALID", "is absolute"),
        (with_path("a\\b"), "400 MANIFEST_INVALID", "backslash"),
        (with_path("model.onnx"), "400 MANIFEST_INVALID", "is there twice"),
        (with_path("model.onnx/x"), "400 MANIFEST_INVALID", "both file and folder"),
        (layers(0), "400 MANIFEST_INVALID", "a model without files"),
        (layers(10_000), "400 MANIFEST_INVALID", "more than 2000 descriptors"),
        (deep, "400 MANIFEST_INVALID", "nests deeper than 32"),
        (vec![b' '; MANIFEST_BYTES_MAX + 1], "413 SIZE_INVALID", "at most 4194304"),
        (b"not JSON".to_vec(), "400 MANIFEST_INVALID", "not a manifest"),
        (changed(|m| m.layers[0].media_type = "x/tar".into()), "400 MANIFEST_INVALID", "only raw ModelPack layers"),
        (changed(|m| m.config.media_type = "x/y".into()), "400 MANIFEST_INVALID", "config has media type `x/y`"),
        (changed(|m| m.artifact_type = Some("x/y".into())), "400 MANIFEST_INVALID", "models/m holds models"),
        (changed(|m| m.layers[1].size = 6), "400 MANIFEST_INVALID", "has 6 bytes, and it has 7"),
        (changed(|m| m.layers[1].digest = Sha256Digest::of(b"?")), "404 MANIFEST_BLOB_UNKNOWN", "upload it first"),
    ] {
        put(&registry, &manifest).await.assert_failure(code, message);
    }
    assert_eq!(registry.snapshot(), before);
    assert_eq!(put(&registry, &model("m", "1", FILES).manifest).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_manifest_under_a_foreign_digest_type_or_encoding_is_refused() {
    let registry = prepared().await;
    let before = registry.snapshot();
    let good = model("m", "1", FILES).manifest;
    let other = Sha256Digest::of(b"other").to_string();
    registry.put_manifest("models/m", &other, &good).await.assert_failure("400 DIGEST_INVALID", &other);
    let sha512 = format!("sha512:{}", "ab".repeat(64));
    registry.put_manifest("models/m", &sha512, &good).await.assert_failure("400 UNSUPPORTED", "sha512 digests");
    registry.put_manifest("models/m", "-x", &good).await.assert_failure("400 NAME_INVALID", "`-x` is not a tag");
    registry.put_manifest("models/m", "_x", &good).await.assert_failure("400 NAME_INVALID", "model version");
    for (media_type, message) in [
        ("text/plain", "media type `text/plain` are not accepted"),
        (MEDIA_TYPE_INDEX, "neither has the other's"),
        ("", "say in `Content-Type`"),
    ] {
        let answer = registry.put_as("models/m", "2", media_type, &good).await;
        answer.assert_failure("400 MANIFEST_INVALID", message);
    }
    let headers = [(header::CONTENT_TYPE, MEDIA_TYPE_MANIFEST), (header::CONTENT_ENCODING, "gzip")];
    let bomb = registry.send(request(Method::PUT, "/v2/models/m/manifests/2", &headers, vec![0; 1_000])).await;
    bomb.assert_failure("400 UNSUPPORTED", "without `Content-Encoding`");
    assert_eq!(registry.snapshot(), before);
}

#[tokio::test]
async fn a_huge_manifest_is_refused_by_its_length_before_it_is_read() {
    let registry = TestRegistry::new();
    let headers = [(header::CONTENT_TYPE, MEDIA_TYPE_MANIFEST), (header::CONTENT_LENGTH, "99999999999999")];
    let never_read = Body::from_stream(futures_util::stream::pending::<std::io::Result<bytes::Bytes>>());
    let answer = registry.send(request(Method::PUT, "/v2/models/m/manifests/1", &headers, never_read)).await;
    answer.assert_failure("413 SIZE_INVALID", "has 99999999999999 bytes");
}

#[tokio::test]
async fn a_manifest_that_trickles_in_is_given_up() {
    let registry =
        TestRegistry::with(OpenGate, |limits, _| limits.manifest_receive_max = std::time::Duration::from_millis(20));
    let trickle = Body::from_stream(futures_util::stream::pending::<std::io::Result<bytes::Bytes>>());
    let headers = [(header::CONTENT_TYPE, MEDIA_TYPE_MANIFEST)];
    let answer = registry.send(request(Method::PUT, "/v2/models/m/manifests/1", &headers, trickle)).await;
    answer.assert_failure("408 SIZE_INVALID", "");
}

#[tokio::test]
async fn signatures_that_are_none_are_refused_each_for_its_reason() {
    let registry = prepared().await;
    let subject = Descriptor::of(MEDIA_TYPE_MANIFEST, &model("m", "1", FILES).manifest);
    let signature = |change: fn(&mut Manifest)| {
        let mut manifest = Manifest::parse(&pack_signature(b"{}", subject.clone()).manifest).unwrap();
        change(&mut manifest);
        manifest.to_bytes()
    };
    let before = registry.snapshot();
    for (manifest, code, message) in [
        (signature(|m| m.layers.clear()), "400 MANIFEST_INVALID", "0 layers; a signature has exactly one"),
        (signature(|m| m.layers[0].media_type = "x/y".into()), "400 MANIFEST_INVALID", "is a sigstore bundle"),
        (signature(|m| m.layers[0].size = 1 << 40), "400 MANIFEST_INVALID", "at most 8388608"),
        (signature(|m| m.layers[0].digest = Sha256Digest::of(b"?")), "404 MANIFEST_BLOB_UNKNOWN", "upload it first"),
        (signature(|m| m.subject = None), "400 MANIFEST_INVALID", "models/m holds models"),
    ] {
        let reference = Sha256Digest::of(&manifest).to_string();
        registry.put_manifest("models/m", &reference, &manifest).await.assert_failure(code, message);
    }
    assert_eq!(registry.snapshot(), before);
}

#[tokio::test]
async fn blobs_that_are_not_what_they_say_are_refused_and_leave_nothing() {
    let registry = prepared().await;
    let before = registry.snapshot();
    let post = |digest: String| format!("/v2/models/m/blobs/uploads/?digest={digest}");
    let wrong = Sha256Digest::of(b"right").to_string();
    let answer = registry.call(Method::POST, &post(wrong.clone()), "wrong").await;
    answer.assert_failure("400 DIGEST_INVALID", &format!("should have digest {wrong} and has"));
    for (digest, code, message) in [
        ("sha256:12".to_owned(), "400 DIGEST_INVALID", "`sha256:12` is not a digest"),
        ("md5:d41d8cd98f00b204e9800998ecf8427e".to_owned(), "400 DIGEST_INVALID", "is not a digest"),
        (format!("sha512:{}", "ab".repeat(64)), "400 UNSUPPORTED", "kept by its sha256 digest"),
        (String::new(), "400 DIGEST_INVALID", "is not a digest"),
    ] {
        registry.call(Method::POST, &post(digest), "x").await.assert_failure(code, message);
    }
    assert_eq!(registry.snapshot(), before);
}

#[tokio::test]
async fn an_upload_finished_with_the_wrong_digest_is_over() {
    let registry = prepared().await;
    let location = registry.call(Method::POST, "/v2/models/m/blobs/uploads/", "").await.header("location").to_owned();
    registry.call(Method::PUT, &location, "x").await.assert_failure("400 DIGEST_INVALID", "an upload ends with");
    let wrong = Sha256Digest::of(b"right");
    let answer = registry.call(Method::PUT, &format!("{location}?digest={wrong}"), "wrong").await;
    answer.assert_failure("400 DIGEST_INVALID", "should have digest");
    registry.get(&location).await.assert_failure("404 BLOB_UPLOAD_UNKNOWN", "begin a new one");
    registry.get(&format!("/v2/models/m/blobs/{wrong}")).await.assert_failure("404 BLOB_UNKNOWN", "");
}

#[tokio::test]
async fn chunks_that_contradict_themselves_are_refused() {
    let registry = TestRegistry::new();
    let location = registry.call(Method::POST, "/v2/models/m/blobs/uploads/", "").await.header("location").to_owned();
    let chunk = |range: &'static str, length: Option<&'static str>, body: &'static str| {
        let mut headers = vec![(header::CONTENT_RANGE, range)];
        headers.extend(length.map(|length| (header::CONTENT_LENGTH, length)));
        registry.send(request(Method::PATCH, &location, &headers, body))
    };
    chunk("0-9", Some("3"), "abc").await.assert_failure("400 SIZE_INVALID", "they must agree");
    chunk("nonsense", None, "abc").await.assert_failure("400 BLOB_UPLOAD_INVALID", "first and last byte");
    chunk("0-18446744073709551615", None, "abc").await.assert_failure("400 BLOB_UPLOAD_INVALID", "first and last");
    chunk("0-1", None, "abc").await.assert_failure("400 SIZE_INVALID", "is longer than its `Content-Range`");
    chunk("0-9", None, "abc").await.assert_failure("400 SIZE_INVALID", "is shorter than its `Content-Range`");
}

#[tokio::test]
async fn names_and_paths_that_cannot_be_are_refused() {
    let registry = TestRegistry::new();
    let before = registry.snapshot();
    for (path, code) in [
        ("/v2/UPPER/tags/list", "400 NAME_INVALID"),
        ("/v2/..%2F..%2Fetc/tags/list", "400 NAME_INVALID"),
        ("/v2/a/../../etc/blobs/uploads/", "400 NAME_INVALID"),
        ("/v2/a%00b/tags/list", "400 NAME_INVALID"),
        ("/v2/a%FF/tags/list", "404 UNSUPPORTED"),
        ("/v2/nothing", "404 UNSUPPORTED"),
        ("/v2/a/blobs/uploads/..%2F..%2Fx", "404 UNSUPPORTED"),
        ("/v2/a/blobs/uploads/zzz", "404 BLOB_UPLOAD_UNKNOWN"),
    ] {
        registry.get(path).await.assert_failure(code, "");
    }
    let long = format!("/v2/{}/blobs/uploads/", "a".repeat(256));
    registry.call(Method::POST, &long, "").await.assert_failure("400 NAME_INVALID", "longer than 255 bytes");
    assert_eq!(registry.snapshot(), before);
}

#[tokio::test]
async fn methods_that_a_path_does_not_have_are_405_with_those_it_has() {
    let registry = TestRegistry::new();
    for (method, path, allow) in [
        (Method::POST, "/v2/", "GET, HEAD"),
        (Method::DELETE, "/v2/_catalog", "GET"),
        (Method::PATCH, "/v2/a/manifests/1", "GET, HEAD, PUT, DELETE"),
        (Method::GET, "/v2/a/blobs/uploads/", "POST"),
    ] {
        let answer = registry.call(method, path, "").await;
        answer.assert_failure("405 UNSUPPORTED", allow);
        assert_eq!(answer.header("allow"), allow);
    }
}

#[tokio::test]
async fn a_model_may_lie_in_another_repository_but_must_be_one_there_too() {
    let registry = TestRegistry::new();
    let broken = Manifest::new(ARTIFACT_TYPE_MODEL, Manifest::empty_config(), Vec::new()).to_bytes();
    registry.put_manifest("library/x", "1", &broken).await.assert_failure("400 MANIFEST_INVALID", "a model");
}

#[tokio::test]
async fn one_manifest_too_many_is_told_to_come_back() {
    let registry = TestRegistry::with(OpenGate, |limits, _| limits.manifests_running_max = 0);
    let answer = registry.put_manifest("models/m", "1", &model("m", "1", FILES).manifest).await;
    answer.assert_failure("429 TOOMANYREQUESTS", "manifests are running already");
}
