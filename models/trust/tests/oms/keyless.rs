//! Keyless signatures, by a sigstore instance of our own.

use headland_trust::{Matcher, Signer, TrustedRoot};
use serde_json::{Value, json};

use crate::sigstore::{ISSUER, Instance, Ticket};
use crate::support::{altered, by_files, files, forge, model, refusal, resource, sha256, statement, verify};

const SIGNER: &str = "signer@acme.example";
/// Something done to a bundle.
type Change<'a> = &'a dyn Fn(&mut Value);

const UNVERIFIED: &str = "the keyless signature does not verify against the trusted root: ";

#[test]
fn an_identity_of_a_trusted_instance_counts() {
    let (instance, model) = (Instance::new(), model());
    let verdict = verify(&instance.sign(&model), &model, &instance.trusts(SIGNER)).unwrap();
    let signer = Signer::Keyless { subject: SIGNER.to_owned(), issuer: ISSUER.to_owned() };
    assert_eq!(verdict.signer, signer);
    assert_eq!(signer.to_string(), format!("{SIGNER} (as known to {ISSUER})"));
    assert_eq!(verdict.signed, model.keys().cloned().collect::<Vec<_>>());
}

#[test]
fn identities_match_whole_and_with_their_issuer() {
    let (instance, model) = (Instance::new(), model());
    let bundle = instance.sign(&model);
    let judge = |issuer: Matcher, subject: Matcher| verify(&bundle, &model, &instance.trusts_whom(issuer, subject));
    let regex = |pattern: &str| Matcher::regex(pattern).unwrap();
    assert!(judge(Matcher::exact(ISSUER), regex(r".*@acme\.example")).is_ok());
    assert!(judge(regex("https://.*"), regex("^signer@acme[.]example$|nobody")).is_ok());
    let refused = format!("signed by {SIGNER} (as known to {ISSUER}), whom no trusted identity matches");
    for (issuer, subject) in [
        (Matcher::exact(ISSUER), Matcher::exact("other@acme.example")),
        (Matcher::exact(ISSUER), Matcher::exact("signer@acme.exampl")),
        (Matcher::exact(ISSUER), Matcher::exact("Signer@acme.example")),
        (Matcher::exact("https://accounts.evil.example"), Matcher::exact(SIGNER)),
        (Matcher::exact(ISSUER), regex("signer@acme")),
        (Matcher::exact(ISSUER), regex("gner@acme.example")),
        (Matcher::exact(ISSUER), regex("nobody|signer@acme")),
        (regex("https://accounts"), Matcher::exact(SIGNER)),
    ] {
        assert_eq!(refusal(judge(issuer, subject)), refused);
    }
    assert!(Matcher::regex("a)|(b").is_err(), "brackets cannot break out of the anchors");
    assert!(Matcher::regex("(a{1000}){1000}").is_err(), "nor can a pattern grow without bound");
}

#[test]
fn another_instance_is_not_trusted() {
    let (instance, other, model) = (Instance::new(), Instance::new(), model());
    let refusal = refusal(verify(&instance.sign(&model), &model, &other.trusts(SIGNER)));
    assert!(refusal.starts_with(UNVERIFIED), "{refusal}");
    let public = TrustedRoot::public_good().unwrap();
    let mut authority = instance.trusts(SIGNER);
    if let headland_trust::Authority::Keyless { trusted_root, .. } = &mut authority {
        *trusted_root = public;
    }
    assert!(verify(&instance.sign(&model), &model, &authority).is_err());
}

#[test]
fn certificates_must_be_for_signing_logged_and_valid_when_the_signature_was_logged() {
    let (instance, model) = (Instance::new(), model());
    let judge = |ticket: Ticket| {
        let refusal = refusal(verify(&instance.sign_as(&model, &ticket), &model, &instance.trusts(SIGNER)));
        refusal.strip_prefix(UNVERIFIED).unwrap_or_else(|| panic!("{refusal}")).to_owned()
    };
    let unlogged = judge(Ticket { certificate_logged: false, ..Default::default() });
    assert!(unlogged.contains("signed certificate timestamp"), "{unlogged}");
    let other_use = judge(Ticket { code_signing: false, ..Default::default() });
    assert!(other_use.contains("certificate chain is invalid"), "{other_use}");
    let late = judge(Ticket { begun_ago: 1200, logged_ago: 60, ..Default::default() });
    assert!(late.contains("expired") || late.contains("Expired"), "{late}");
    let early = judge(Ticket { begun_ago: 60, logged_ago: 600, ..Default::default() });
    assert!(early.contains("NotValidYet") || early.contains("not yet valid") || early.contains("not valid"), "{early}");
}

#[test]
fn an_old_signature_outlives_its_certificate() {
    let (instance, model) = (Instance::new(), model());
    let year = Ticket { begun_ago: 31_536_000, logged_ago: 31_535_900, ..Default::default() };
    assert!(verify(&instance.sign_as(&model, &year), &model, &instance.trusts(SIGNER)).is_ok());
}

#[test]
fn every_piece_of_evidence_is_needed_and_checked() {
    let (instance, model) = (Instance::new(), model());
    let bundle = instance.sign(&model);
    let other: Value = serde_json::from_str(&instance.sign(&files([("a", "b")]))).unwrap();
    let entry = |bundle: &mut Value, change: &dyn Fn(&mut Value)| {
        change(&mut bundle["verificationMaterial"]["tlogEntries"][0]);
    };
    let changes: [(&str, Change<'_>); 9] = [
        ("no log entry", &|b| b["verificationMaterial"]["tlogEntries"] = json!([])),
        ("no promise", &|b| entry(b, &|e| e["inclusionPromise"] = Value::Null)),
        ("no proof", &|b| entry(b, &|e| e["inclusionProof"] = Value::Null)),
        ("another time", &|b| entry(b, &|e| e["integratedTime"] = "1735689600".into())),
        ("a forged promise", &|b| {
            entry(b, &|e| e["inclusionPromise"]["signedEntryTimestamp"] = e["inclusionProof"]["rootHash"].clone());
        }),
        ("another tree", &|b| entry(b, &|e| e["inclusionProof"]["rootHash"] = "A".repeat(43).into())),
        ("another's log entry", &|b| {
            b["verificationMaterial"]["tlogEntries"] = other["verificationMaterial"]["tlogEntries"].clone();
        }),
        ("another's certificate", &|b| {
            b["verificationMaterial"]["certificate"] = other["verificationMaterial"]["certificate"].clone();
        }),
        ("another's statement", &|b| b["dsseEnvelope"] = other["dsseEnvelope"].clone()),
    ];
    assert!(verify(&altered(&bundle, |_| {}), &model, &instance.trusts(SIGNER)).is_ok());
    for (what, change) in changes {
        let refusal = refusal(verify(&altered(&bundle, change), &model, &instance.trusts(SIGNER)));
        assert!(refusal.starts_with(UNVERIFIED), "{what}: {refusal}");
    }
}

#[test]
fn a_file_that_was_changed_is_named() {
    let (instance, mut model) = (Instance::new(), model());
    let bundle = instance.sign(&model);
    model.insert("weights".to_owned(), "other".into());
    assert!(refusal(verify(&bundle, &model, &instance.trusts(SIGNER))).starts_with("`weights` is not the file"));
}

#[test]
fn a_statement_with_two_subjects_is_not_a_model_signature() {
    // The library is content when one of them fits; a model signature has one.
    let instance = Instance::new();
    let mut statement = statement(&[resource("a", &sha256(b"b"))], by_files());
    let subject = statement["subject"][0].clone();
    statement["subject"] = json!([subject, subject]);
    let bundle = instance.vouch(&Ticket::default(), |key| forge(&statement, key));
    assert_eq!(
        refusal(verify(&bundle, &files([("a", "b")]), &instance.trusts(SIGNER))),
        "the signature is malformed: its statement has 2 subjects, one is needed"
    );
}

#[test]
fn trusted_roots_that_are_none_are_refused() {
    let read = |json: &str| TrustedRoot::from_json(json).unwrap_err().to_string();
    assert!(read("{}").starts_with("is not a usable sigstore trusted root: "));
    let mut root = Instance::new().trusted_root();
    root["certificateAuthorities"][0]["certChain"]["certificates"] = json!([]);
    assert!(read(&root.to_string()).contains("empty certificate chain"));
    assert!(TrustedRoot::public_good().is_ok());
}

#[test]
fn an_instance_without_a_certificate_log_cannot_ask_for_its_proofs() {
    let (instance, model) = (Instance::new(), model());
    let mut root = instance.trusted_root();
    root["ctlogs"] = json!([]);
    let mut authority = instance.trusts(SIGNER);
    if let headland_trust::Authority::Keyless { trusted_root, .. } = &mut authority {
        *trusted_root = TrustedRoot::from_json(&root.to_string()).unwrap();
    }
    let ticket = Ticket { certificate_logged: false, ..Default::default() };
    assert!(verify(&instance.sign_as(&model, &ticket), &model, &authority).is_ok());
}
