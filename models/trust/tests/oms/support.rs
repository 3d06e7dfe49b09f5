//! Models, keys and bundles to test with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use headland_package::Sha256Digest;
use headland_trust::bundle::Envelope;
use headland_trust::contents::Files;
use headland_trust::oms::{self, SignOptions, Verdict, VerifyOptions};
use headland_trust::{Authority, SigningKey, VerifyError, dsse};
use serde_json::{Value, json};

pub type Model = BTreeMap<String, Bytes>;

/// Every curve, by name.
pub const CURVES: [(&str, &EcdsaSigningAlgorithm); 3] = [
    ("p256", &ECDSA_P256_SHA256_ASN1_SIGNING),
    ("p384", &ECDSA_P384_SHA384_ASN1_SIGNING),
    ("p521", &ECDSA_P521_SHA512_ASN1_SIGNING),
];

pub fn golden(name: &str) -> PathBuf {
    Path::new("test-data/oms").join(name)
}

pub fn read(name: &str) -> Vec<u8> {
    std::fs::read(golden(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A small model with folders, an empty file, and a name that sorts differently as text and as a path.
pub fn model() -> Model {
    files([
        ("config.json", "{}"),
        ("empty", ""),
        ("sub.txt", "beside"),
        ("sub/a", "inner"),
        ("weights", "0123456789abcdef"),
    ])
}

pub fn files<const N: usize>(files: [(&str, &str); N]) -> Model {
    files.into_iter().map(|(path, text)| (path.to_owned(), Bytes::copy_from_slice(text.as_bytes()))).collect()
}

pub fn write(model: &Model, folder: &Path) {
    for (path, bytes) in model {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

pub fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

pub fn private_pem(curve: &'static EcdsaSigningAlgorithm) -> String {
    let pair = EcdsaKeyPair::generate(curve).unwrap();
    pem("PRIVATE KEY", pair.to_pkcs8v1().unwrap().as_ref())
}

pub fn key_on(curve: &'static EcdsaSigningAlgorithm) -> SigningKey {
    SigningKey::from_pem(private_pem(curve).as_bytes()).unwrap()
}

pub fn key() -> SigningKey {
    key_on(&ECDSA_P256_SHA256_ASN1_SIGNING)
}

pub fn trusts(key: &SigningKey) -> Authority {
    Authority::Key(key.public().clone())
}

pub fn sign(model: &Model, key: &SigningKey) -> String {
    oms::sign_with_key(&Files(model), "model", key, &SignOptions::default()).unwrap()
}

pub fn verify(bundle: &str, model: &Model, authority: &Authority) -> Result<Verdict, VerifyError> {
    oms::verify(bundle.as_bytes(), &Files(model), authority, &VerifyOptions::default())
}

/// The whole chain of an error, as people see it.
pub fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// Why a verification failed.
#[track_caller]
pub fn refusal(result: Result<Verdict, VerifyError>) -> String {
    text(&result.expect_err("this must be refused"))
}

/// A resource of a signature.
pub fn resource(name: &str, digest: &str) -> Value {
    json!({ "name": name, "digest": digest, "algorithm": "sha256" })
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256Digest::of(bytes).hex()
}

/// A statement with a root digest that fits.
pub fn statement(resources: &[Value], serialization: Value) -> Value {
    let digests: Vec<u8> = resources.iter().flat_map(|r| unhex(r["digest"].as_str().unwrap_or_default())).collect();
    json!({
        "_type": dsse::STATEMENT_TYPE,
        "subject": [{ "name": "model", "digest": { "sha256": sha256(&digests) } }],
        "predicateType": oms::PREDICATE_TYPE,
        "predicate": { "serialization": serialization, "resources": resources },
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    text.as_bytes().chunks(2).filter_map(byte).collect()
}

pub fn by_files() -> Value {
    json!({ "method": "files", "hash_type": "sha256", "allow_symlinks": false })
}

/// A bundle over any statement, honestly signed: what a careless or malicious owner of a trusted key could make.
pub fn forge(statement: &Value, key: &SigningKey) -> String {
    forge_envelope(&dsse::sign_statement(statement.to_string().into_bytes(), key).unwrap(), key)
}

pub fn forge_envelope(envelope: &Envelope, key: &SigningKey) -> String {
    json!({
        "mediaType": headland_trust::bundle::MEDIA_TYPE,
        "verificationMaterial": { "publicKey": { "hint": key.public().hint() } },
        "dsseEnvelope": {
            "payload": STANDARD.encode(&envelope.payload),
            "payloadType": envelope.payload_type,
            "signatures": [{ "sig": STANDARD.encode(&envelope.signature), "keyid": null }],
        },
    })
    .to_string()
}

/// A bundle with one thing in it changed.
pub fn altered(bundle: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut bundle: Value = serde_json::from_str(bundle).unwrap();
    change(&mut bundle);
    bundle.to_string()
}
