//! Tags, repositories and referrers, in pages.

use headland_package::Sha256Digest;
use headland_package::oci::{ARTIFACT_TYPE_SIGNATURE, Descriptor, MEDIA_TYPE_INDEX, MEDIA_TYPE_MANIFEST, Manifest};
use http::StatusCode;
use serde_json::json;

use super::registry::{Answer, TestRegistry};

const FILES: &[(&str, &[u8])] = &[("model.onnx", b"weights")];

/// The path in an answer's `Link` to the next page.
fn next(answer: &Answer) -> String {
    let link = answer.header("link").strip_suffix(">; rel=\"next\"").unwrap();
    link.strip_prefix('<').unwrap().to_owned()
}

#[tokio::test]
async fn tags_come_in_order_and_in_pages() {
    let registry = TestRegistry::new();
    for version in ["3", "1", "2"] {
        registry.push_model("m", version, FILES).await;
    }
    let all = registry.get("/v2/models/m/tags/list").await;
    assert_eq!(all.json(), json!({ "name": "models/m", "tags": ["1", "2", "3"] }));
    assert!(all.headers.get("link").is_none());

    let first = registry.get("/v2/models/m/tags/list?n=2").await;
    assert_eq!(first.json()["tags"], json!(["1", "2"]));
    let second = registry.get(&next(&first)).await;
    assert_eq!(second.json()["tags"], json!(["3"]));
    assert!(second.headers.get("link").is_none());
    assert_eq!(registry.get("/v2/models/m/tags/list?n=0").await.json()["tags"], json!([]));
    assert_eq!(registry.get("/v2/models/m/tags/list?last=2").await.json()["tags"], json!(["3"]));
}

#[tokio::test]
async fn a_repository_nobody_pushed_to_has_no_tags() {
    let registry = TestRegistry::new();
    registry.push_blob("models/m", b"only a blob").await;
    registry.get("/v2/models/m/tags/list").await.assert_failure("404 NAME_UNKNOWN", "no repository models/m");
    registry.get("/v2/models/m/tags/list?n=x").await.assert_failure("400 UNSUPPORTED", "`n` is a number");
    registry.get("/v2/models/m/tags/list?n=1&n=2").await.assert_failure("400 UNSUPPORTED", "duplicate field");
}

#[tokio::test]
async fn repositories_come_in_pages_too() {
    let registry = TestRegistry::new();
    for name in ["b", "a", "c"] {
        registry.push_model(name, "1", FILES).await;
    }
    let first = registry.get("/v2/_catalog?n=2").await;
    assert_eq!(first.json(), json!({ "repositories": ["models/a", "models/b"] }));
    assert_eq!(registry.get(&next(&first)).await.json(), json!({ "repositories": ["models/c"] }));
}

#[tokio::test]
async fn referrers_are_an_index_filtered_by_type() {
    let registry = TestRegistry::new();
    let subject = registry.push_model("m", "1", FILES).await;
    let path = format!("/v2/models/m/referrers/{}", subject.digest);
    let none = registry.get(&path).await;
    assert_eq!((none.status, none.header("content-type")), (StatusCode::OK, MEDIA_TYPE_INDEX));
    assert_eq!(none.json(), json!({ "schemaVersion": 2, "mediaType": MEDIA_TYPE_INDEX, "manifests": [] }));

    registry.push_signature("models/m", b"bundle", subject.clone()).await;
    let mut sbom = Manifest::new("text/sbom", Manifest::empty_config(), Vec::new());
    sbom.subject = Some(subject.clone());
    sbom.annotations.insert("by".into(), "somebody".into());
    let sbom = sbom.to_bytes();
    let answer = registry.put_manifest("models/m", &Sha256Digest::of(&sbom).to_string(), &sbom).await;
    assert_eq!((answer.status, answer.header("oci-subject")), (StatusCode::CREATED, &subject.digest.to_string()[..]));

    assert_eq!(registry.get(&path).await.json()["manifests"].as_array().unwrap().len(), 2);
    let filtered = registry.get(&format!("{path}?artifactType=text/sbom")).await;
    assert_eq!(filtered.header("oci-filters-applied"), "artifactType");
    let expected = json!([{
        "mediaType": MEDIA_TYPE_MANIFEST, "digest": Sha256Digest::of(&sbom), "size": sbom.len(),
        "artifactType": "text/sbom", "annotations": { "by": "somebody" },
    }]);
    assert_eq!(filtered.json()["manifests"], expected);
    let unknown = registry.get(&format!("/v2/models/m/referrers/{}", Sha256Digest::of(b"?"))).await;
    assert_eq!(unknown.json()["manifests"], json!([]));
}

#[tokio::test]
async fn many_referrers_come_in_pages_that_keep_the_filter() {
    let registry = TestRegistry::new();
    let subject = Descriptor::of(MEDIA_TYPE_MANIFEST, b"to come");
    for n in 0..53 {
        registry.push_signature("models/m", format!("bundle {n}").as_bytes(), subject.clone()).await;
    }
    let filter = ARTIFACT_TYPE_SIGNATURE.replace('+', "%2B");
    let first = registry.get(&format!("/v2/models/m/referrers/{}?artifactType={filter}", subject.digest)).await;
    let second = registry.get(&next(&first)).await;
    let count = |answer: &Answer| answer.json()["manifests"].as_array().unwrap().len();
    assert_eq!((count(&first), count(&second)), (50, 3));
    assert_eq!(second.header("oci-filters-applied"), "artifactType");
}
