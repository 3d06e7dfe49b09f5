//! Signatures with a certificate: chains that count, and all that makes one not count.

use std::time::{Duration, SystemTime};

use headland_trust::contents::Files;
use headland_trust::oms::{self, SignOptions, VerifyOptions};
use headland_trust::{Authority, Certificate, Matcher, Signer, Validity};
use rcgen::{ExtendedKeyUsagePurpose, KeyPair, SanType, date_time_ymd};

use crate::pki::{self, Identity, authority_params, code_signing, issued, root, signer_params};
use crate::support::{self, model, pem, refusal, verify};

fn sign(signer: &Identity, issuers: &[&Identity]) -> String {
    let issuers: Vec<Certificate> = issuers.iter().map(|issuer| issuer.certificate.clone()).collect();
    let (model, options) = (model(), SignOptions::default());
    let (key, leaf) = (signer.signing_key(), &signer.certificate);
    oms::sign_with_certificate(&Files(&model), "model", &key, leaf, &issuers, &options).unwrap()
}

#[test]
fn a_chain_to_a_trusted_root_counts_whatever_the_curve() {
    let top = root(authority_params("Top"));
    let middle = issued(authority_params("Middle"), &top);
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ECDSA_P521_SHA512] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let leaf = pki::issued_for(signer_params("Release"), key, &middle);
        let verdict = verify(&sign(&leaf, &[&middle]), &model(), &pki::trusts(&[&top])).unwrap();
        let signer = Signer::Certificate { subject: "CN=Release".to_owned(), issuer: "CN=Middle".to_owned() };
        assert_eq!(verdict.signer, signer);
        assert_eq!(signer.to_string(), "CN=Release (certified by CN=Middle)");
    }
}

#[test]
fn a_chain_to_another_root_does_not_count_even_with_the_root_in_the_bundle() {
    let (top, other) = (root(authority_params("Top")), root(authority_params("Other")));
    let leaf = issued(signer_params("Release"), &other);
    let refusal = refusal(verify(&sign(&leaf, &[&other]), &model(), &pki::trusts(&[&top])));
    assert_eq!(
        refusal,
        "the signing certificate does not count: CN=Release, issued by CN=Other, does not chain to a trusted root: no \
         trusted root issued it"
    );
    assert!(verify(&sign(&leaf, &[]), &model(), &pki::trusts(&[&top, &other])).is_ok());
}

#[test]
fn a_root_with_the_right_name_and_the_wrong_key_does_not_count() {
    let (top, impostor) = (root(authority_params("Top")), root(authority_params("Top")));
    let leaf = issued(signer_params("Release"), &impostor);
    assert!(refusal(verify(&sign(&leaf, &[&impostor]), &model(), &pki::trusts(&[&top]))).contains("does not chain"));
}

#[test]
fn a_missing_issuer_breaks_the_chain() {
    let top = root(authority_params("Top"));
    let middle = issued(authority_params("Middle"), &top);
    let leaf = issued(signer_params("Release"), &middle);
    assert!(refusal(verify(&sign(&leaf, &[]), &model(), &pki::trusts(&[&top]))).contains("does not chain"));
}

#[test]
fn a_signer_cannot_certify_others() {
    let top = root(authority_params("Top"));
    let signer = issued(signer_params("Release"), &top);
    let child = issued(signer_params("Mallory"), &signer);
    assert!(refusal(verify(&sign(&child, &[&signer]), &model(), &pki::trusts(&[&top]))).contains("does not chain"));
}

#[test]
fn an_expired_certificate_does_not_count_unless_time_of_issue_is_asked_for() {
    let top = root(authority_params("Top"));
    let mut params = signer_params("Release");
    params.not_after = date_time_ymd(2025, 2, 1);
    let bundle = sign(&issued(params, &top), &[]);
    assert_eq!(
        refusal(verify(&bundle, &model(), &pki::trusts(&[&top]))),
        "the signing certificate does not count: CN=Release expired on 2025-02-01T00:00:00Z"
    );
    let (model, then) = (model(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_736_000_000));
    let options = VerifyOptions { now: then, ..Default::default() };
    assert!(oms::verify(bundle.as_bytes(), &Files(&model), &pki::trusts(&[&top]), &options).is_ok());
    let roots = vec![top.certificate.clone()];
    let lasting = Authority::Certificate { roots, subject: None, validity: Validity::AtIssue };
    assert!(verify(&bundle, &model, &lasting).is_ok());
}

#[test]
fn a_certificate_that_is_not_valid_yet_does_not_count() {
    let top = root(authority_params("Top"));
    let mut params = signer_params("Release");
    params.not_before = date_time_ymd(2100, 1, 1);
    let bundle = sign(&issued(params, &top), &[]);
    assert_eq!(
        refusal(verify(&bundle, &model(), &pki::trusts(&[&top]))),
        "the signing certificate does not count: CN=Release is not valid before 2100-01-01T00:00:00Z"
    );
}

#[test]
fn expired_issuers_and_roots_do_not_count_either() {
    let mut late = authority_params("Late");
    late.not_after = date_time_ymd(2025, 2, 1);
    let top = root(late.clone());
    let leaf = issued(signer_params("Release"), &top);
    assert_eq!(
        refusal(verify(&sign(&leaf, &[]), &model(), &pki::trusts(&[&top]))),
        "the signing certificate does not count: CN=Late expired on 2025-02-01T00:00:00Z"
    );
    let top = root(authority_params("Top"));
    let middle = issued(late, &top);
    let leaf = issued(signer_params("Release"), &middle);
    assert!(refusal(verify(&sign(&leaf, &[&middle]), &model(), &pki::trusts(&[&top]))).contains("does not chain"));
}

#[test]
fn only_certificates_for_signing_count() {
    let top = root(authority_params("Top"));
    let sign_and_verify = |leaf: &Identity| verify(&sign(leaf, &[]), &model(), &pki::trusts(&[&top]));
    assert!(sign_and_verify(&issued(code_signing(signer_params("Code")), &top)).is_ok());

    let mut tls = signer_params("Server");
    tls.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    assert!(refusal(sign_and_verify(&issued(tls, &top))).contains("does not chain"));

    let bare = issued(pki::params("Bare"), &top);
    let (key, options, files) = (bare.signing_key(), SignOptions::default(), model());
    let refused = oms::sign_with_certificate(&Files(&files), "m", &key, &bare.certificate, &[], &options);
    let why =
        "CN=Bare is not for signing: it has neither the key usage digitalSignature nor the extended usage codeSigning";
    assert_eq!(support::text(&refused.unwrap_err()), format!("the signing certificate cannot be used: {why}"));
    let good = issued(signer_params("Good"), &top);
    let bundle = with_leaf(&sign(&good, &[]), bare.certificate.der());
    assert_eq!(
        refusal(verify(&bundle, &model(), &pki::trusts(&[&top]))),
        format!("the signing certificate does not count: {why}")
    );
}

#[test]
fn a_certificate_for_another_key_is_noticed_by_signer_and_verifier() {
    let top = root(authority_params("Top"));
    let (one, other) = (issued(signer_params("One"), &top), issued(signer_params("Other"), &top));
    let (key, options, files) = (one.signing_key(), SignOptions::default(), model());
    let refused = oms::sign_with_certificate(&Files(&files), "m", &key, &other.certificate, &[], &options);
    assert!(refused.unwrap_err().to_string().starts_with("the certificate is for key "));
    let bundle = with_leaf(&sign(&one, &[]), other.certificate.der());
    assert!(refusal(verify(&bundle, &files, &pki::trusts(&[&top]))).contains("does not fit what it claims to sign"));
}

#[test]
fn under_a_root_only_the_subject_asked_for_counts() {
    let top = root(authority_params("Top"));
    let mut params = signer_params("Release");
    params.subject_alt_names = vec![SanType::Rfc822Name("release@acme.example".try_into().unwrap())];
    let bundle = sign(&issued(params, &top), &[]);
    let judge = |subject: Matcher| {
        let roots = vec![top.certificate.clone()];
        verify(&bundle, &model(), &Authority::Certificate { roots, subject: Some(subject), validity: Validity::Now })
    };
    assert!(judge(Matcher::exact("CN=Release")).is_ok());
    assert!(judge(Matcher::exact("release@acme.example")).is_ok());
    assert!(judge(Matcher::regex(".*@acme\\.example").unwrap()).is_ok());
    assert_eq!(
        refusal(judge(Matcher::exact("CN=Rel"))),
        "the signing certificate does not count: CN=Release is not the subject that is trusted here"
    );
}

#[test]
fn a_bundle_by_another_method_says_so() {
    let top = root(authority_params("Top"));
    let key = support::key();
    let by_key = support::sign(&model(), &key);
    assert_eq!(
        refusal(verify(&by_key, &model(), &pki::trusts(&[&top]))),
        "the signature is made with a key, and what is trusted here is a certificate chain"
    );
    let by_certificate = sign(&issued(signer_params("Release"), &top), &[]);
    assert_eq!(
        refusal(verify(&by_certificate, &model(), &support::trusts(&key))),
        "the signature is made with a certificate chain, and what is trusted here is a key"
    );
}

#[test]
fn certificates_that_are_none_are_refused() {
    let read = |pem: &str| Certificate::all_from_pem(pem.as_bytes()).unwrap_err().to_string();
    assert_eq!(read(""), "it cannot be read: there is no certificate in PEM form");
    assert!(read(&pem("CERTIFICATE", b"garbage")).starts_with("it cannot be read: "));
    let top = root(authority_params("Top"));
    let bundle = with_leaf(&sign(&issued(signer_params("Release"), &top), &[]), b"garbage");
    assert!(refusal(verify(&bundle, &model(), &pki::trusts(&[&top]))).contains("it cannot be read"));
    let two = pem("CERTIFICATE", top.certificate.der()).repeat(2);
    assert_eq!(Certificate::all_from_pem(two.as_bytes()).unwrap().len(), 2);
}

fn with_leaf(bundle: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    support::altered(bundle, |bundle| {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        bundle["verificationMaterial"]["x509CertificateChain"]["certificates"][0]["rawBytes"] = text.into();
    })
}
