//! Which documents are manifests.

use serde_json::{Value, json};

use super::*;

const IMAGE: &str = MANIFEST_TYPES[0];
const INDEX: &str = INDEX_TYPES[0];

fn descriptor(content: &str) -> Value {
    json!({ "mediaType": "x/y", "digest": Sha256Digest::of(content.as_bytes()).to_string(), "size": content.len() })
}

fn image() -> Value {
    json!({ "schemaVersion": 2, "mediaType": IMAGE, "config": descriptor("c"), "layers": [descriptor("layer")] })
}

fn refusal(media_type: &str, document: &Value) -> String {
    parse(media_type, document.to_string().as_bytes()).unwrap_err().to_string()
}

#[test]
fn an_image_manifest_names_its_layers_config_and_subject() {
    let mut document = image();
    document["subject"] = descriptor("subject");
    document["annotations"] = json!({ "a": "b" });
    let parsed = parse(IMAGE, document.to_string().as_bytes()).unwrap();
    let digests: Vec<_> = parsed.blobs.iter().map(|part| part.digest).collect();
    assert_eq!(digests, [Sha256Digest::of(b"layer"), Sha256Digest::of(b"c")]);
    assert_eq!(parsed.subject, Some(Sha256Digest::of(b"subject")));
    assert_eq!(parsed.artifact_type.as_deref(), Some("x/y"), "the config's type stands in for the artifact's");
    assert!(parsed.manifests.is_empty());
}

#[test]
fn an_index_names_manifests() {
    let document = json!({ "schemaVersion": 2, "manifests": [descriptor("m")], "artifactType": "a/b" });
    let parsed = parse(INDEX, document.to_string().as_bytes()).unwrap();
    assert_eq!(parsed.manifests, [Part { digest: Sha256Digest::of(b"m"), size: 1 }]);
    assert_eq!(parsed.artifact_type.as_deref(), Some("a/b"));
}

#[test]
fn a_document_of_two_kinds_or_another_kind_than_it_came_as_is_refused() {
    let mut both = image();
    both["manifests"] = json!([descriptor("m")]);
    assert!(refusal(IMAGE, &both).contains("no `manifests`"));
    let mut other = image();
    other["mediaType"] = INDEX.into();
    assert!(refusal(IMAGE, &other).contains("came as"));
    let mut kindless = image();
    kindless.as_object_mut().unwrap().remove("mediaType");
    assert!(refusal(INDEX, &kindless).contains("an index has `manifests`"));
    let refused = parse("text/html\u{1b}", b"{}").unwrap_err();
    assert!(
        matches!(&refused, StoreError::ManifestType { .. }) && !refused.to_string().contains('\u{1b}'),
        "{refused}"
    );
}

#[test]
fn too_large_too_many_and_malformed_are_refused() {
    let mut many = image();
    many["layers"] = (0..10_000).map(|_| descriptor("x")).collect();
    assert!(refusal(IMAGE, &many).contains("10000 parts"));
    let mut padded = image().to_string().into_bytes();
    padded.resize(MANIFEST_BYTES_MAX + 1, b' ');
    assert!(parse(IMAGE, &padded).unwrap_err().to_string().contains("4194304 are the most"));
    let mut annotated = image();
    annotated["annotations"] = json!({ "a": "b".repeat(70_000) });
    assert!(refusal(IMAGE, &annotated).contains("annotations"));
    let mut version = image();
    version["schemaVersion"] = 1.into();
    assert!(refusal(IMAGE, &version).contains("schemaVersion"));
    for bad in ["md5:12", "sha512:ab", "../x", ""] {
        let mut document = image();
        document["layers"][0]["digest"] = bad.into();
        assert!(
            matches!(parse(IMAGE, document.to_string().as_bytes()), Err(StoreError::ManifestInvalid { .. })),
            "{bad}"
        );
    }
    for bad in [&b""[..], b"{", b"[]", b"null", b"\xff", b"{\"schemaVersion\":2,\"schemaVersion\":2}"] {
        assert!(matches!(parse(IMAGE, bad), Err(StoreError::ManifestInvalid { .. })), "{bad:?}");
    }
    let deep = [b"[".repeat(100_000)].concat();
    assert!(matches!(parse(IMAGE, &deep), Err(StoreError::ManifestInvalid { .. })));
}

#[test]
fn negative_sizes_are_refused() {
    let mut document = image();
    document["layers"][0]["size"] = (-1).into();
    assert!(matches!(parse(IMAGE, document.to_string().as_bytes()), Err(StoreError::ManifestInvalid { .. })));
}
