//! Bundles that are broken, or try to be two things at once.

use headland_trust::bundle::BUNDLE_BYTES_MAX;
use serde_json::{Value, json};

use crate::support::*;

fn judge(change: impl FnOnce(&mut Value)) -> String {
    let (key, model) = (key(), model());
    let bundle = sign(&model, &key);
    refusal(verify(&altered(&bundle, change), &model, &trusts(&key)))
}

fn judge_text(bundle: &str) -> String {
    refusal(verify(bundle, &model(), &trusts(&key())))
}

#[test]
fn what_is_not_json_says_where() {
    assert_eq!(
        judge_text("{"),
        "the bundle of the signature cannot be read: EOF while parsing an object at line 1 column 1"
    );
    assert!(judge_text("[]").starts_with("the bundle of the signature cannot be read: "));
    assert!(judge_text("").starts_with("the bundle of the signature cannot be read: "));
    let deep = format!(r#"{{"deep":{}"#, "[".repeat(1_000_000));
    assert!(judge_text(&deep).starts_with("the bundle of the signature cannot be read: "));
    assert!(judge_text(r#"{"mediaType":"a","mediaType":"b"}"#).contains("duplicate field `mediaType`"));
}

#[test]
fn what_is_too_large_is_not_read() {
    let refusal = judge_text(&" ".repeat(BUNDLE_BYTES_MAX + 1));
    assert_eq!(refusal, "the signature is 16777217 bytes long; at most 16777216 are read");
}

#[test]
fn other_versions_are_named() {
    let refusal = judge(|bundle| bundle["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1".into());
    assert!(
        refusal.starts_with("the signature's media type is `application/vnd.dev.sigstore.bundle+json;version=0.1`")
    );
}

#[test]
fn broken_base64_says_which_part() {
    assert!(
        judge(|b| b["dsseEnvelope"]["payload"] = "%".into()).starts_with("the signature is malformed: its payload")
    );
    let refusal = judge(|b| b["dsseEnvelope"]["signatures"][0]["sig"] = "a".into());
    assert!(refusal.starts_with("the signature is malformed: its signature is not base64"));
}

#[test]
fn one_signature_is_needed_and_one_only() {
    let refusal = judge(|bundle| bundle["dsseEnvelope"]["signatures"] = json!([]));
    assert_eq!(refusal, "the signature is malformed: its envelope has 0 signatures, one is needed");
    let refusal = judge(|bundle| {
        let one = bundle["dsseEnvelope"]["signatures"][0].clone();
        bundle["dsseEnvelope"]["signatures"] = json!([one, one]);
    });
    assert_eq!(refusal, "the signature is malformed: its envelope has 2 signatures, one is needed");
}

#[test]
fn material_and_content_are_one_each() {
    let material = "the signature is malformed: it needs exactly one of a key, a certificate and a certificate chain";
    assert_eq!(judge(|bundle| bundle["verificationMaterial"] = json!({})), material);
    assert_eq!(judge(|bundle| bundle["verificationMaterial"]["certificate"] = json!({ "rawBytes": "" })), material);
    let content = "the signature is malformed: it needs either an envelope or a message signature";
    assert_eq!(judge(|bundle| bundle["dsseEnvelope"] = Value::Null), content);
    assert_eq!(judge(|bundle| bundle["messageSignature"] = json!({ "signature": "" })), content);
    let message = judge(|bundle| {
        bundle["dsseEnvelope"] = Value::Null;
        bundle["messageSignature"] = json!({ "signature": "" });
    });
    assert_eq!(message, "the signature is malformed: it carries no statement");
}

#[test]
fn chains_are_neither_empty_nor_endless() {
    let chain = |certificates: Value| {
        judge(|bundle| {
            bundle["verificationMaterial"] = json!({ "x509CertificateChain": { "certificates": certificates } });
        })
    };
    assert_eq!(chain(json!([])), "the signature is malformed: its certificate chain is empty");
    let many = vec![json!({ "rawBytes": "" }); 11];
    assert_eq!(chain(json!(many)), "the signature is malformed: its chain has 11 certificates, at most 10 are read");
}

#[test]
fn a_payload_of_another_type_is_not_a_statement() {
    let refusal = judge(|bundle| bundle["dsseEnvelope"]["payloadType"] = "text/plain".into());
    assert_eq!(refusal, "the signed content is `text/plain`; `application/vnd.in-toto+json` is expected");
}

#[test]
fn a_changed_payload_or_signature_does_not_fit() {
    let (key, model) = (key(), model());
    let (one, other) = (sign(&model, &key), sign(&files([("config.json", "{}")]), &key));
    let other: Value = serde_json::from_str(&other).unwrap();
    for part in ["payload", "signatures"] {
        let mixed = altered(&one, |bundle| bundle["dsseEnvelope"][part] = other["dsseEnvelope"][part].clone());
        assert!(refusal(verify(&mixed, &model, &trusts(&key))).contains("does not fit what it claims to sign"));
    }
}
