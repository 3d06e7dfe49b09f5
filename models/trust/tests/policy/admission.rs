//! What a policy admits and refuses, and that a refusal says why.

use headland_trust::policy::Verdict;
use headland_trust::{Admission, Signer};

use crate::common::{Keys, ModelBytes, app, artifact, listing, model, now, parse, policy, sign};

const STATED: &str = "name = \"digits\"\nversion = \"3\"\n";

fn refused(text: &str, files: ModelBytes, signatures: &[String], policy: &headland_trust::Policy) -> String {
    policy.verify_model(&artifact(text), files, signatures, now()).unwrap_err().to_string()
}

#[test]
fn a_model_signed_with_the_trusted_key_comes_back_with_its_evidence() {
    let keys = Keys::generate();
    let files = model(STATED);
    let verified = policy("regions = [\"eu\"]", &keys)
        .verify_model(&artifact("models/digits:3"), files.clone(), &[sign(&files, &keys)], now())
        .unwrap();
    assert_eq!(verified.get(), &files);
    let evidence = verified.evidence().clone();
    assert_eq!(evidence.admission, Admission::Rule { policy: "policy.toml".into(), rule: "ours".into() });
    assert_eq!(evidence.signer, Some(Signer::Key { hint: keys.private.public().hint().to_owned() }));
    assert!(evidence.warnings.is_empty());
    assert!(evidence.allows_region("eu") && !evidence.allows_region("us") && evidence.allows_device("cuda:0"));
    let length = verified.map(|files| files.len());
    assert_eq!((*length.get(), length.evidence()), (3, &evidence));
    let failed: Result<headland_trust::Verified<()>, &str> = length.try_map(|_| Err("did not load"));
    assert_eq!(failed.unwrap_err(), "did not load");
}

#[test]
fn what_no_rule_names_is_refused_whoever_signed_it() {
    let keys = Keys::generate();
    let key = &keys.public_pem;
    let policy = parse(&format!(
        "version = 1\n[[rule]]\nname = \"a\"\nartifact = \"models/a*\"\n[[rule.authority]]\nkey = '''{key}'''"
    ));
    let files = model("");
    assert!(policy.decide("models/b").is_none());
    let error = refused("models/b:1", files.clone(), &[sign(&files, &keys)], &policy);
    assert_eq!(
        error,
        "models/b:1 is refused by policy.toml: no rule of the policy fits it, and what no rule names is refused"
    );
}

#[test]
fn the_first_rule_that_fits_decides_and_no_other() {
    let keys = Keys::generate();
    let key = &keys.public_pem;
    let policy = parse(&format!(
        "version = 1\n[[rule]]\nname = \"withdrawn\"\nartifact = \"models/old\"\n\
         [[rule]]\nname = \"rest\"\nartifact = \"models/*\"\n[[rule.authority]]\nkey = '''{key}'''"
    ));
    let files = model("");
    let signature = sign(&files, &keys);
    assert_eq!(policy.decide("models/old").unwrap().name(), "withdrawn");
    let error = refused("models/old:1", files.clone(), std::slice::from_ref(&signature), &policy);
    assert_eq!(
        error,
        "models/old:1 is refused by rule `withdrawn` of policy.toml: the rule names no authority, so that no signature counts"
    );
    policy.verify_model(&artifact("models/new:1"), files, &[signature], now()).unwrap();
}

#[test]
fn a_signature_by_an_unknown_key_names_both_keys() {
    let (ours, theirs) = (Keys::generate(), Keys::generate());
    let files = model(STATED);
    let error = refused("models/digits:3", files.clone(), &[sign(&files, &theirs)], &policy("", &ours));
    let (ours, theirs) = (ours.private.public().hint(), theirs.private.public().hint());
    assert!(
        error.starts_with("models/digits:3 is refused by rule `ours` of policy.toml: signature 1 does not count under")
    );
    assert!(error.contains(ours) && error.contains(theirs), "{error}");
}

#[test]
fn an_artifact_without_signature_is_refused_and_told_so() {
    let keys = Keys::generate();
    let error = refused("models/digits:3", model(STATED), &[], &policy("", &keys));
    assert_eq!(error, "models/digits:3 is refused by rule `ours` of policy.toml: it carries no signature");
}

#[test]
fn a_swapped_file_is_named() {
    let keys = Keys::generate();
    let mut files = model(STATED);
    let signature = sign(&files, &keys);
    files.insert("model.safetensors".into(), "weighty".into());
    let error = refused("models/digits:3", files, &[signature], &policy("", &keys));
    assert!(error.contains("`model.safetensors` is not the file that was signed"), "{error}");
}

#[test]
fn a_bundle_for_another_model_is_refused() {
    let keys = Keys::generate();
    let other = sign(&model("name = \"letters\"\n"), &keys);
    let error = refused("models/digits:3", model(STATED), &[other], &policy("", &keys));
    assert!(error.contains("not the file that was signed"), "{error}");
}

#[test]
fn a_bundle_that_is_no_bundle_is_refused() {
    let keys = Keys::generate();
    let error = refused("models/digits:3", model(STATED), &["{}".to_owned()], &policy("", &keys));
    assert!(error.contains("the bundle of the signature cannot be read"), "{error}");
}

#[test]
fn a_replayed_old_version_is_refused_by_what_it_states() {
    let keys = Keys::generate();
    let policy = policy("minimum_version = \"2\"", &keys);
    let old = model("name = \"digits\"\nversion = \"1\"\n");
    let signature = [sign(&old, &keys)];
    let error = refused("models/digits:1", old.clone(), &signature, &policy);
    assert!(error.ends_with("version 1 is older than 2, the oldest the rule admits"), "{error}");
    let error = refused("models/digits:3", old.clone(), &signature, &policy);
    assert!(error.contains("offered with version `3`, but the package itself states version `1`"), "{error}");
    let silent = model("");
    let error = refused("models/digits:3", silent.clone(), &[sign(&silent, &keys)], &policy);
    assert!(error.contains("nothing that is signed says which version this is"), "{error}");
}

#[test]
fn a_package_that_states_another_name_is_refused() {
    let keys = Keys::generate();
    let files = model("name = \"letters\"\n");
    let error = refused("models/digits:3", files.clone(), &[sign(&files, &keys)], &policy("", &keys));
    assert!(error.contains("name `digits`") && error.contains("states name `letters`"), "{error}");
}

#[test]
fn a_manifest_that_is_no_toml_is_refused_with_its_line() {
    let keys = Keys::generate();
    let files = model("name = digits");
    let error = refused("models/digits:3", files.clone(), &[sign(&files, &keys)], &policy("", &keys));
    assert!(error.contains("headland.model.toml:1:"), "{error}");
}

#[test]
fn mode_warn_admits_what_fails_and_carries_the_warning_along() {
    let (ours, theirs) = (Keys::generate(), Keys::generate());
    let policy = policy("mode = \"warn\"\naccelerators = [\"cpu\"]", &ours);
    let files = model(STATED);
    let verified =
        policy.verify_model(&artifact("models/digits:4"), files.clone(), &[sign(&files, &theirs)], now()).unwrap();
    let evidence = verified.evidence();
    assert_eq!(evidence.signer, None);
    assert_eq!(evidence.warnings.len(), 2, "{:?}", evidence.warnings);
    assert!(
        evidence.to_string().starts_with("admitted by rule `ours` of policy.toml although signature 1 does not count")
    );
    assert!(!evidence.allows_device("cuda"), "where it may run holds all the same");
}

#[test]
fn a_second_signature_may_be_the_one_that_counts() {
    let (ours, theirs) = (Keys::generate(), Keys::generate());
    let files = model(STATED);
    let signatures = [sign(&files, &theirs), sign(&files, &ours)];
    let decision = policy("", &ours).test_model(&artifact("models/digits:3"), &files, &signatures, now());
    assert_eq!(decision.verdict, Verdict::Admitted);
    let refusals: Vec<bool> = decision.attempts.iter().map(|attempt| attempt.refusal.is_some()).collect();
    assert_eq!(refusals, [true, false]);
}

#[test]
fn only_so_many_signatures_are_looked_at() {
    let (ours, theirs) = (Keys::generate(), Keys::generate());
    let files = model(STATED);
    let mut signatures = vec![sign(&files, &theirs); 16];
    signatures.push(sign(&files, &ours));
    let error = refused("models/digits:3", files, &signatures, &policy("", &ours));
    assert!(
        error.contains("and 13 more attempts failed; of its 17 signatures, only the first 16 are looked at"),
        "{error}"
    );
}

#[test]
fn a_model_is_judged_by_its_listing_before_its_files_are_there() {
    let (ours, theirs) = (Keys::generate(), Keys::generate());
    let files = model(STATED);
    let policy = policy("minimum_version = \"2\"", &ours);
    let digits = artifact("models/digits:3");
    let judgement = policy.judge_model(&digits, &listing(&files), &[sign(&files, &ours)], now()).unwrap();
    assert!(!judgement.complete && judgement.allows_device("cpu") && judgement.allows_region("eu"));
    assert!(policy.judge_model(&digits, &listing(&files), &[sign(&files, &theirs)], now()).is_err());
    let signature = [sign(&files, &ours)];
    let mut swapped = files.clone();
    swapped.insert("model.safetensors".into(), "weighty".into());
    let error = policy.judge_model(&digits, &listing(&swapped), &signature, now()).unwrap_err().to_string();
    assert!(error.contains("`model.safetensors` is not the file that was signed"), "{error}");
    let error = policy.judge_model(&artifact("models/digits:1"), &listing(&files), &signature, now()).unwrap_err();
    assert!(error.to_string().contains("version 1 is older than 2"), "{error}");
}

#[test]
fn a_decision_explains_itself_to_people_and_programs() {
    let (ours, theirs) = (Keys::generate(), Keys::generate());
    let policy = parse(&format!(
        "version = 1\n[[rule]]\nname = \"apps\"\nartifact = \"apps/*\"\n\
         [[rule]]\nname = \"ours\"\nartifact = \"models/*\"\nregions = [\"eu\"]\n\
         [[rule.authority]]\nkey = '''{}'''\n[[rule.authority]]\nkey = '''{}'''",
        theirs.public_pem, ours.public_pem
    ));
    let files = model(STATED);
    let decision = policy.test_model(&artifact("models/digits:3"), &files, &[sign(&files, &ours)], now());
    let (ours, theirs) = (ours.private.public().hint(), theirs.private.public().hint());
    let expected = format!(
        "models/digits:3 is admitted by policy.toml.\n\
         \x20 rule `apps` does not fit: it is about apps/*\n\
         \x20 rule `ours` decides: it is about models/*\n\
         \x20 signature 1 does not count under the key in the policy ({}…): signed with key {ours}; the trusted key is {theirs}\n\
         \x20 signature 1 counts under the key in the policy ({}…)\n\
         \x20 signed by key {ours}\n\
         \x20 runs only in eu\n",
        &theirs[..12],
        &ours[..12],
    );
    assert_eq!(decision.to_string(), expected);
    let json = serde_json::to_value(&decision).unwrap();
    assert_eq!(json["verdict"], "admitted");
    assert_eq!(json["artifact"], "models/digits:3");
    assert_eq!(json["rule"]["name"], "ours");
    assert_eq!(json["passed_over"][0]["name"], "apps");
    assert_eq!(json["signer"]["hint"], ours);
}

#[test]
fn an_app_is_admitted_by_its_manifest_and_its_blobs_by_their_digests() {
    let keys = Keys::generate();
    let (component, manifest) = (b"component".as_slice(), app("3", b"component"));
    let digest = headland_package::Sha256Digest::of(component);
    let signature = crate::components::sign(&manifest, &keys);
    let policy = policy("minimum_version = \"2\"", &keys);
    let verified = policy.verify_app(&artifact("apps/hello:3"), manifest.clone(), &[&signature], now()).unwrap();
    let blob = verified.admit_blob(digest, component.to_vec()).unwrap();
    assert_eq!((blob.get().as_slice(), blob.evidence()), (component, verified.evidence()));
    let foreign = headland_package::Sha256Digest::of(b"foreign");
    let error = verified.admit_blob(foreign, b"foreign".to_vec()).unwrap_err().to_string();
    assert_eq!(error, format!("the signed manifest lists no blob {foreign}"));
    let error = verified.admit_blob(digest, b"Component".to_vec()).unwrap_err().to_string();
    assert!(error.contains("its bytes hash to"), "{error}");
    let error = verified.admit_blob(digest, b"short".to_vec()).unwrap_err().to_string();
    assert!(error.ends_with("has 5 bytes; the signed manifest lists 9"), "{error}");
    let error = policy.verify_app(&artifact("apps/hello:4"), manifest, &[&signature], now()).unwrap_err().to_string();
    assert!(error.contains("offered with version `4`, but the package itself states version `3`"), "{error}");
}
