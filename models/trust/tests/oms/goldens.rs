//! Signatures the reference tool made, kept in `test-data/oms`.

use headland_trust::contents::Folder;
use headland_trust::oms::{self, Verdict, VerifyOptions};
use headland_trust::{Authority, Certificate, PublicKey, Validity, VerifyError};

use crate::support::{golden, read, refusal};

fn key(name: &str) -> Authority {
    Authority::Key(PublicKey::from_pem(&read(&format!("{name}.pub"))).unwrap())
}

fn root(validity: Validity) -> Authority {
    Authority::Certificate { roots: Certificate::all_from_pem(&read("root.pem")).unwrap(), subject: None, validity }
}

fn verify(signature: &str, model: &str, authority: &Authority) -> Result<Verdict, VerifyError> {
    let contents = Folder::open(&golden(model)).unwrap();
    oms::verify(&read(signature), &contents, authority, &VerifyOptions::default())
}

#[test]
fn every_curve_hash_and_serialization_verifies() {
    for (signature, signer) in [
        ("key-p256.sig", "p256"),
        ("key-p384.sig", "p384"),
        ("key-p521.sig", "p521"),
        ("files-blake2b.sig", "p256"),
        ("files-blake3.sig", "p256"),
        ("shards-sha256.sig", "p256"),
        ("shards-blake2b.sig", "p256"),
    ] {
        let verdict = verify(signature, "model", &key(signer)).unwrap_or_else(|error| panic!("{signature}: {error}"));
        assert_eq!(verdict.signed.len() + verdict.unsigned.len(), 5, "{signature}");
        let other = if signer == "p256" { "p384" } else { "p256" };
        assert!(refusal(verify(signature, "model", &key(other))).starts_with("signed with key "));
    }
}

#[test]
fn ignored_files_are_not_signed() {
    let verdict = verify("ignoring.sig", "model", &key("p256")).unwrap();
    assert_eq!(verdict.signed, ["config.json", "sub.txt", "weights.bin"]);
    assert_eq!(verdict.unsigned, ["notes.txt", "sub/vocabulary.txt"]);
}

#[test]
fn a_model_that_is_one_file_verifies() {
    assert_eq!(verify("single-file.sig", "model/weights.bin", &key("p256")).unwrap().signed, ["."]);
    assert!(refusal(verify("single-file.sig", "model/config.json", &key("p256"))).starts_with("`.` is not the file"));
}

#[test]
fn certificates_verify_while_they_last() {
    let verdict = verify("certificate.sig", "model", &root(Validity::Now)).unwrap();
    assert_eq!(verdict.signer.to_string(), "CN=Golden leaf (certified by CN=Golden middle)");
    let refused = verify("certificate-expired.sig", "model", &root(Validity::Now));
    assert!(refusal(refused).ends_with("CN=Golden late expired on 2025-02-01T00:00:00Z"));
    assert!(verify("certificate-expired.sig", "model", &root(Validity::AtIssue)).is_ok());
}
