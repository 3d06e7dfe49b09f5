//! Manifests as anyone may write them.

use super::super::{ANNOTATIONS_MAX, LAYERS_MAX};
use super::*;
use crate::Sha256Digest;

fn digest() -> Sha256Digest {
    Sha256Digest::of(b"x")
}

fn layer() -> String {
    format!(r#"{{"mediaType":"a/b","digest":"{}","size":1}}"#, digest())
}

fn manifest(layers: &str, more: &str) -> String {
    let config = layer();
    format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}]{more}}}"#)
}

fn refusal(media_type: &str, json: &str) -> String {
    let error = Document::parse(media_type, json.as_bytes()).unwrap_err();
    match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[test]
fn a_manifest_written_is_the_manifest_read() {
    let mut written =
        Manifest::new("a/b", Manifest::empty_config(), vec![Descriptor::of("c/d", b"x").annotated("k", "v")]);
    written.subject = Some(Descriptor::new(MEDIA_TYPE_MANIFEST, digest(), 7));
    assert_eq!(Manifest::parse(&written.to_bytes()).unwrap(), written);
}

#[test]
fn the_kind_is_the_artifact_type_or_else_the_configs() {
    for (more, kind) in [
        (format!(r#","artifactType":"{ARTIFACT_TYPE_MODEL}""#), ArtifactKind::Model),
        (format!(r#","artifactType":"{ARTIFACT_TYPE_APP}""#), ArtifactKind::App),
        (format!(r#","artifactType":"{ARTIFACT_TYPE_SIGNATURE}""#), ArtifactKind::Signature),
        (r#","artifactType":"x/y""#.to_owned(), ArtifactKind::Other),
        (String::new(), ArtifactKind::Other),
    ] {
        let document = Document::parse(MEDIA_TYPE_MANIFEST, manifest("", &more).as_bytes()).unwrap();
        assert_eq!(document.kind(), kind, "{more}");
    }
    let plain = Manifest::parse(manifest("", "").as_bytes()).unwrap();
    assert_eq!(plain.artifact_type(), "a/b");
}

#[test]
fn indexes_and_dockers_forms_are_read_too() {
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, layer());
    for media_type in [MEDIA_TYPE_INDEX, MEDIA_TYPE_DOCKER_LIST] {
        assert!(matches!(Document::parse(media_type, index.as_bytes()), Ok(Document::Index(_))));
    }
    let docker = manifest(&layer(), &format!(r#","mediaType":"{MEDIA_TYPE_DOCKER_MANIFEST}""#));
    assert!(matches!(Document::parse(MEDIA_TYPE_DOCKER_MANIFEST, docker.as_bytes()), Ok(Document::Manifest(_))));
}

#[test]
fn what_is_no_manifest_is_refused_each_for_its_reason() {
    let both = manifest(&layer(), r#","manifests":[]"#);
    let sha512 = manifest("", "").replace("sha256:", "sha512:");
    let stated = manifest("", &format!(r#","mediaType":"{MEDIA_TYPE_INDEX}""#));
    for (media_type, json, expected) in [
        ("text/plain", manifest("", ""), "media type `text/plain` are not accepted"),
        (MEDIA_TYPE_MANIFEST, String::new(), "EOF"),
        (MEDIA_TYPE_MANIFEST, "[]".to_owned(), "not a manifest"),
        (MEDIA_TYPE_MANIFEST, "{}".to_owned(), "missing field"),
        (MEDIA_TYPE_MANIFEST, manifest("", "").replace(":2", ":1"), "schemaVersion is 1; it must be 2"),
        (MEDIA_TYPE_MANIFEST, manifest("", "").replace("\"size\":1", "\"size\":-1"), "invalid value"),
        (MEDIA_TYPE_MANIFEST, sha512, "a digest is `sha256:` and 64"),
        (MEDIA_TYPE_MANIFEST, stated, "but the manifest says `mediaType` is"),
        (MEDIA_TYPE_MANIFEST, both.clone(), "neither has the other's"),
        (MEDIA_TYPE_INDEX, both, "neither has the other's"),
        (MEDIA_TYPE_MANIFEST, manifest("", r#","layers":[]"#), "duplicate field `layers`"),
        (MEDIA_TYPE_MANIFEST, manifest("", r#","annotations":{"a":"1","a":"2"}"#), "stands twice"),
        (MEDIA_TYPE_MANIFEST, manifest("", r#"} {"#), "trailing characters"),
    ] {
        let error = refusal(media_type, &json);
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn ten_thousand_layers_are_refused_while_reading() {
    let layers = vec![layer(); 10_000].join(",");
    assert!(refusal(MEDIA_TYPE_MANIFEST, &manifest(&layers, "")).contains("more than 2000 descriptors"));
    let layers = vec![layer(); LAYERS_MAX].join(",");
    assert!(Manifest::parse(manifest(&layers, "").as_bytes()).is_ok());
}

#[test]
fn a_bomb_of_annotations_is_refused_while_reading() {
    let many: Vec<String> = (0..=ANNOTATIONS_MAX).map(|n| format!(r#""{n}":"""#)).collect();
    let more = format!(r#","annotations":{{{}}}"#, many.join(","));
    assert!(refusal(MEDIA_TYPE_MANIFEST, &manifest("", &more)).contains("more than 64 annotations"));
}

#[test]
fn a_huge_manifest_is_refused_unread() {
    let padded = manifest("", "") + &" ".repeat(MANIFEST_BYTES_MAX);
    assert!(refusal(MEDIA_TYPE_MANIFEST, &padded).contains("at most 4194304 are accepted"));
}

#[test]
fn deep_nesting_is_refused_even_where_nobody_looks() {
    let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
    assert!(refusal(MEDIA_TYPE_MANIFEST, &manifest("", &format!(r#","extra":{deep}"#))).contains("nests deeper"));
    assert!(refusal(MEDIA_TYPE_MANIFEST, &"[".repeat(1_000_000)).contains("nests deeper"));
}
