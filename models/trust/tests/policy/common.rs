//! Keys, models and manifests to judge.

use std::collections::BTreeMap;
use std::time::SystemTime;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use headland_package::Sha256Digest;
use headland_package::oci::{ANNOTATION_VERSION, ARTIFACT_TYPE_APP, Descriptor, MEDIA_TYPE_WASM, Manifest};
use headland_trust::contents::{Files, Listing};
use headland_trust::oms::{self, SignOptions};
use headland_trust::{Artifact, Policy, SigningKey};

/// A key pair of its own, in PEM form.
pub struct Keys {
    pub private: SigningKey,
    pub public_pem: String,
}

impl Keys {
    pub fn generate() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let private = pem("PRIVATE KEY", pair.to_pkcs8v1().unwrap().as_ref());
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        Keys {
            private: SigningKey::from_pem(private.as_bytes()).unwrap(),
            public_pem: pem("PUBLIC KEY", public.as_ref()),
        }
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let lines: Vec<String> =
        STANDARD.encode(der).as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

pub type ModelBytes = BTreeMap<String, Bytes>;

/// A model that states what it is.
pub fn model(manifest: &str) -> ModelBytes {
    let files = [("config.json", "{}"), ("headland.model.toml", manifest), ("model.safetensors", "weights")];
    files.into_iter().map(|(path, text)| (path.to_owned(), Bytes::from(text.to_owned()))).collect()
}

pub fn listing(files: &ModelBytes) -> Listing {
    Listing(files.iter().map(|(path, bytes)| (path.clone(), (bytes.len() as u64, Sha256Digest::of(bytes)))).collect())
}

pub fn sign(files: &ModelBytes, keys: &Keys) -> String {
    oms::sign_with_key(&Files(files), "model", &keys.private, &SignOptions::default()).unwrap()
}

/// An app's manifest with one component.
pub fn app(version: &str, component: &[u8]) -> Vec<u8> {
    let layer = Descriptor::of(MEDIA_TYPE_WASM, component);
    let mut manifest = Manifest::new(ARTIFACT_TYPE_APP, Manifest::empty_config(), vec![layer]);
    manifest.annotations.insert(ANNOTATION_VERSION.to_owned(), version.to_owned());
    manifest.to_bytes()
}

/// One rule about everything of this kind, that takes this key.
pub fn policy(more: &str, keys: &Keys) -> Policy {
    let key = &keys.public_pem;
    parse(&format!(
        "version = 1\n[[rule]]\nname = \"ours\"\nartifact = \"**\"\n{more}\n[[rule.authority]]\nkey = '''\n{key}'''"
    ))
}

pub fn parse(text: &str) -> Policy {
    Policy::parse(text, "policy.toml".as_ref()).unwrap()
}

pub fn artifact(text: &str) -> Artifact {
    text.parse().unwrap()
}

pub fn now() -> SystemTime {
    SystemTime::now()
}
