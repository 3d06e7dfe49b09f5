//! A key that signs anything, so that what stands behind a valid signature is fuzzed as well.

use std::path::Path;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use headland_package::Sha256Digest;
use headland_trust::bundle::MEDIA_TYPE;
use headland_trust::{Authority, Certificate, IdentityRule, Matcher, SigningKey, TrustedRoot, Validity, dsse};
use serde_json::{Value, json};

/// The forger's key: the P-256 key whose secret is the bytes 1 to 32 (RFC 5915 around it), a secret to nobody.
static KEY: LazyLock<SigningKey> = LazyLock::new(|| {
    let secret: Vec<u8> = (1..=32).collect();
    let curve = [0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let der = [&[0x30, 0x31, 0x02, 0x01, 0x01, 0x04, 0x20], &secret[..], &curve].concat();
    let label = "EC PRIVATE KEY";
    let pem = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der));
    SigningKey::from_pem(pem.as_bytes()).expect("a key")
});

/// Trusts the forger.
pub fn authority() -> Authority {
    Authority::Key(KEY.public().clone())
}

/// A bundle in which the forger signs `statement`.
pub fn sign(statement: &[u8]) -> Vec<u8> {
    let envelope = dsse::sign_statement(statement.to_vec(), &KEY).expect("the key signs");
    let bundle = json!({
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": { "publicKey": {}, "tlogEntries": [] },
        "dsseEnvelope": {
            "payload": STANDARD.encode(&envelope.payload),
            "payloadType": envelope.payload_type,
            "signatures": [{ "sig": STANDARD.encode(&envelope.signature), "keyid": "" }],
        },
    });
    bundle.to_string().into_bytes()
}

/// The statement of a model signature with the root digest that its resources call for: what no fuzzer guesses.
pub fn with_root_digest(statement: &[u8]) -> Option<Vec<u8>> {
    let mut statement: Value = serde_json::from_slice(statement).ok()?;
    let resources = statement.get("predicate")?.get("resources")?.as_array()?;
    let digests: Vec<u8> =
        resources.iter().filter_map(|resource| unhex(resource.get("digest")?.as_str()?)).flatten().collect();
    let subject = statement.get_mut("subject")?.get_mut(0)?.as_object_mut()?;
    subject.insert("digest".to_owned(), json!({ "sha256": Sha256Digest::of(&digests).hex() }));
    Some(statement.to_string().into_bytes())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()).collect()
}

/// The bytes of a file of the repository.
pub fn repository_file(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Trusts whoever holds a certificate under the root of the reference tool's test signatures.
pub fn certificates() -> Authority {
    let roots = Certificate::all_from_pem(&repository_file("models/trust/test-data/oms/root.pem"));
    Authority::Certificate { roots: roots.expect("a root"), subject: None, validity: Validity::AtIssue }
}

/// Trusts every identity that a sigstore instance vouches for.
pub fn identities(trusted_root: TrustedRoot) -> Authority {
    let anyone = || Matcher::regex(".*").expect("a pattern");
    Authority::Keyless { identities: vec![IdentityRule { issuer: anyone(), subject: anyone() }], trusted_root }
}
