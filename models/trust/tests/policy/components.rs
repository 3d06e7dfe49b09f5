//! Signatures of components: what cosign makes is accepted, and what only looks like it is not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use headland_package::Sha256Digest;
use headland_trust::{Authority, IdentityRule, Matcher, PublicKey, Signer, TrustedRoot, VerifyError, component, dsse};
use serde_json::{Value, json};

use crate::common::{Keys, app, now};

const COSIGN_BUNDLE: &[u8] = include_bytes!("cosign/cosign-v3-blob.sigstore.json");
const COSIGN_BLOB: &[u8] = include_bytes!("cosign/cosign-v3-blob.txt");
const GITHUB: &str = "https://github.com/login/oauth";

pub fn sign(manifest: &[u8], keys: &Keys) -> String {
    component::sign_with_key(&Sha256Digest::of(manifest), &keys.private).unwrap()
}

fn authority(keys: &Keys) -> Authority {
    Authority::Key(PublicKey::from_pem(keys.public_pem.as_bytes()).unwrap())
}

fn keyless(issuer: &str, subject: &str) -> Authority {
    let identities = vec![IdentityRule { issuer: Matcher::exact(issuer), subject: Matcher::regex(subject).unwrap() }];
    Authority::Keyless { identities, trusted_root: TrustedRoot::public_good().unwrap() }
}

fn verify(bundle: &str, manifest: &[u8], authority: &Authority) -> Result<Signer, VerifyError> {
    component::verify(bundle.as_bytes(), &Sha256Digest::of(manifest), authority, now())
}

/// A bundle around any statement, signed well.
fn sign_statement(statement: &Value, keys: &Keys) -> String {
    let envelope = dsse::sign_statement(statement.to_string().into_bytes(), &keys.private).unwrap();
    bundle(
        json!({ "publicKey": { "hint": "" } }),
        json!({
            "dsseEnvelope": {
                "payload": STANDARD.encode(&envelope.payload),
                "payloadType": envelope.payload_type,
                "signatures": [{ "sig": STANDARD.encode(&envelope.signature) }],
            },
        }),
    )
}

fn bundle(material: Value, content: Value) -> String {
    let mut bundle = content;
    bundle["mediaType"] = json!("application/vnd.dev.sigstore.bundle.v0.3+json");
    bundle["verificationMaterial"] = material;
    bundle.to_string()
}

fn statement(predicate_type: &str, subjects: &[&str]) -> Value {
    let subjects: Vec<Value> = subjects.iter().map(|subject| json!({ "digest": { "sha256": subject } })).collect();
    json!({
        "_type": dsse::STATEMENT_TYPE,
        "subject": subjects,
        "predicateType": predicate_type,
        "predicate": {},
    })
}

#[test]
fn a_manifest_signed_with_a_key_counts() {
    let (keys, manifest) = (Keys::generate(), app("1", b"wasm"));
    let signer = verify(&sign(&manifest, &keys), &manifest, &authority(&keys)).unwrap();
    assert_eq!(signer, Signer::Key { hint: keys.private.public().hint().to_owned() });
}

#[test]
fn the_statement_is_written_as_cosign_writes_it() {
    let (keys, manifest) = (Keys::generate(), app("1", b"wasm"));
    let bundle: Value = serde_json::from_str(&sign(&manifest, &keys)).unwrap();
    assert_eq!(bundle["mediaType"], "application/vnd.dev.sigstore.bundle.v0.3+json");
    assert_eq!(bundle["dsseEnvelope"]["payloadType"], "application/vnd.in-toto+json");
    let payload = STANDARD.decode(bundle["dsseEnvelope"]["payload"].as_str().unwrap()).unwrap();
    let expected = format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"digest":{{"sha256":"{}"}},"annotations":{{}}}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{{}}}}"#,
        Sha256Digest::of(&manifest).hex()
    );
    assert_eq!(String::from_utf8(payload).unwrap(), expected);
}

#[test]
fn a_bundle_about_another_manifest_is_refused_naming_both() {
    let keys = Keys::generate();
    let (ours, theirs) = (app("1", b"ours"), app("1", b"theirs"));
    let error = verify(&sign(&theirs, &keys), &ours, &authority(&keys)).unwrap_err().to_string();
    let (ours, theirs) = (Sha256Digest::of(&ours), Sha256Digest::of(&theirs));
    assert_eq!(error, format!("the signature is for {theirs}, not for {ours}"));
}

#[test]
fn a_manifest_signed_with_another_key_is_refused_naming_both() {
    let (ours, theirs, manifest) = (Keys::generate(), Keys::generate(), app("1", b"wasm"));
    let error = verify(&sign(&manifest, &theirs), &manifest, &authority(&ours)).unwrap_err().to_string();
    assert!(error.contains(ours.private.public().hint()) && error.contains(theirs.private.public().hint()), "{error}");
}

#[test]
fn a_forged_signature_is_refused_whatever_its_hint_says() {
    let (ours, theirs, manifest) = (Keys::generate(), Keys::generate(), app("1", b"wasm"));
    let forged = sign(&manifest, &theirs).replace(theirs.private.public().hint(), ours.private.public().hint());
    let error = verify(&forged, &manifest, &authority(&ours)).unwrap_err();
    assert!(matches!(error, VerifyError::Signature(_)), "{error}");
}

#[test]
fn a_hint_in_cosigns_form_is_no_other_key() {
    let (keys, manifest) = (Keys::generate(), app("1", b"wasm"));
    let cosigns = STANDARD.encode(Sha256Digest::of(b"the key in DER form").as_bytes());
    let bundle = sign(&manifest, &keys).replace(keys.private.public().hint(), &cosigns);
    verify(&bundle, &manifest, &authority(&keys)).unwrap();
}

#[test]
fn bundles_by_another_implementation_count() {
    let authority = Authority::Key(PublicKey::from_pem(include_bytes!("cosign/sigstore-js.pub")).unwrap());
    let signed = include_bytes!("cosign/sigstore-js.txt");
    for bundle in [
        include_str!("cosign/sigstore-js-statement.sigstore.json"),
        include_str!("cosign/sigstore-js-message.sigstore.json"),
    ] {
        verify(bundle, signed, &authority).unwrap();
        assert!(matches!(verify(bundle, b"other", &authority), Err(VerifyError::OtherArtifact { .. })));
        let error = verify(bundle, signed, &self::authority(&Keys::generate())).unwrap_err();
        assert!(matches!(error, VerifyError::Signature(_)), "{error}");
    }
}

#[test]
fn an_attestation_by_the_trusted_key_is_no_signature() {
    let (keys, manifest) = (Keys::generate(), app("1", b"wasm"));
    let digest = Sha256Digest::of(&manifest).hex();
    let attestation = sign_statement(&statement("https://slsa.dev/provenance/v1", &[&digest]), &keys);
    let error = verify(&attestation, &manifest, &authority(&keys)).unwrap_err().to_string();
    assert_eq!(
        error,
        "the signature is a statement of type `https://slsa.dev/provenance/v1`; \
         `https://sigstore.dev/cosign/sign/v1` is expected"
    );
}

#[test]
fn one_statement_may_be_about_several_manifests() {
    let (keys, manifest) = (Keys::generate(), app("1", b"wasm"));
    let (ours, other) = (Sha256Digest::of(&manifest).hex(), "ab".repeat(32));
    let both = sign_statement(&statement(component::PREDICATE_TYPE, &[&other, &ours]), &keys);
    verify(&both, &manifest, &authority(&keys)).unwrap();
    for (subjects, named) in [
        (vec![other.as_str(); 5], format!("sha256:{other} and 2 more")),
        (vec!["12"], "something without a sha256".to_owned()),
        (vec![], "nothing".to_owned()),
    ] {
        let bundle = sign_statement(&statement(component::PREDICATE_TYPE, &subjects), &keys);
        let error = verify(&bundle, &manifest, &authority(&keys)).unwrap_err().to_string();
        assert!(error.contains(&format!("{named}, not for sha256:{ours}")), "{error}");
    }
}

#[test]
fn a_message_signature_over_the_manifest_counts() {
    let (keys, manifest) = (Keys::generate(), app("1", b"wasm"));
    let signature = STANDARD.encode(keys.private.sign(&manifest).unwrap());
    let digest = STANDARD.encode(Sha256Digest::of(&manifest).as_bytes());
    let content = json!({ "messageSignature": {
        "messageDigest": { "algorithm": "SHA2_256", "digest": digest },
        "signature": signature,
    }});
    let bundle = bundle(json!({ "publicKey": { "hint": "" } }), content);
    verify(&bundle, &manifest, &authority(&keys)).unwrap();
    let other = app("2", b"wasm");
    let error = verify(&bundle, &other, &authority(&keys)).unwrap_err().to_string();
    let (signed, expected) = (Sha256Digest::of(&manifest), Sha256Digest::of(&other));
    assert_eq!(error, format!("the signature is for {signed}, not for {expected}"));
}

#[test]
fn a_model_signature_is_no_component_signature() {
    let keys = Keys::generate();
    let bundle = crate::common::sign(&crate::common::model(""), &keys);
    let error = verify(&bundle, &app("1", b"wasm"), &authority(&keys)).unwrap_err();
    assert!(matches!(error, VerifyError::StatementType { .. }), "{error}");
}

#[test]
fn a_bundle_by_cosign_itself_counts_for_its_identity_alone() {
    let bundle = std::str::from_utf8(COSIGN_BUNDLE).unwrap();
    let Signer::Keyless { issuer, subject } = verify(bundle, COSIGN_BLOB, &keyless(GITHUB, ".*@gmail\\.com")).unwrap()
    else {
        panic!("signed by an identity");
    };
    assert_eq!(issuer, GITHUB);
    let escaped = subject.replace('.', "\\.");
    verify(bundle, COSIGN_BLOB, &keyless(GITHUB, &escaped)).unwrap();
    let error = verify(bundle, COSIGN_BLOB, &keyless(GITHUB, "gmail")).unwrap_err();
    assert!(matches!(error, VerifyError::Identity { .. }), "a regular expression is anchored: {error}");
    let error = verify(bundle, COSIGN_BLOB, &keyless("https://accounts.example", &escaped)).unwrap_err();
    assert!(matches!(error, VerifyError::Identity { .. }), "{error}");
    let error = verify(bundle, b"something else", &keyless(GITHUB, &escaped)).unwrap_err();
    assert!(matches!(error, VerifyError::OtherArtifact { .. }), "{error}");
    let error = verify(bundle, COSIGN_BLOB, &authority(&Keys::generate())).unwrap_err();
    assert!(matches!(error, VerifyError::Method { .. }), "{error}");
}
