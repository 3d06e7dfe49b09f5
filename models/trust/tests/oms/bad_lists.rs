//! Lists of files that are honestly signed and still must not be believed.

use serde_json::{Value, json};

use crate::support::*;

fn judge(resources: &[Value], serialization: Value) -> String {
    let key = key();
    refusal(verify(&forge(&statement(resources, serialization), &key), &model(), &trusts(&key)))
}

fn judge_statement(change: impl FnOnce(&mut Value)) -> String {
    let (key, weights) = (key(), sha256(b"x"));
    let mut statement = statement(&[resource("a", &weights)], by_files());
    change(&mut statement);
    refusal(verify(&forge(&statement, &key), &files([("a", "x")]), &trusts(&key)))
}

#[test]
fn names_that_lead_out_of_the_model_are_refused() {
    for (name, why) in [
        ("../x", "it leads out of the model"),
        ("a/../../x", "it leads out of the model"),
        ("/etc/passwd", "it is absolute"),
        ("a//b", "it is not in its simplest form"),
        ("./a", "it is not in its simplest form"),
        ("a/", "it is not in its simplest form"),
        ("", "it is empty"),
        ("..\\x", "it contains a NUL or a backslash"),
        ("a\0b", "it contains a NUL or a backslash"),
    ] {
        let refusal = judge(&[resource(name, &sha256(b""))], by_files());
        let shown = name.replace('\0', "\\0");
        assert_eq!(refusal, format!("the signature lists `{shown}`, which cannot be a file of a model: {why}"));
    }
    let long = "a".repeat(5000);
    assert!(judge(&[resource(&long, &sha256(b""))], by_files()).ends_with("it is too long"));
}

#[test]
fn names_that_terminals_would_obey_are_shown_harmlessly() {
    let refusal = judge(&[resource("\x1b[2J\r", &sha256(b""))], by_files());
    assert_eq!(refusal, "`\\u{1b}[2J\\r` is signed, but missing from the model");
}

#[test]
fn a_name_listed_twice_is_refused() {
    let twice = [resource("config.json", &sha256(b"{}")), resource("config.json", &sha256(b"other"))];
    assert_eq!(judge(&twice, by_files()), "the signature lists `config.json` twice");
    let shards = json!({ "method": "shards", "shard_size": 4, "hash_type": "sha256", "allow_symlinks": false });
    let twice = [resource("weights:0:4", &sha256(b"0123")), resource("weights:0:4", &sha256(b"0123"))];
    assert_eq!(judge(&twice, shards), "the signature lists `weights:0:4` twice");
}

#[test]
fn a_list_that_is_absurdly_long_or_empty_is_refused() {
    let digest = sha256(b"");
    let many: Vec<Value> = (0..=50_000).map(|index| resource(&index.to_string(), &digest)).collect();
    assert_eq!(judge(&many, by_files()), "the signature lists 50001 resources; at most 50000 are read");
    assert_eq!(judge(&[], by_files()), "the signature is malformed: it lists no files");
}

#[test]
fn digests_that_are_none_are_refused() {
    for digest in ["", "00", "zz", &"0".repeat(63), &"0".repeat(66), &"0".repeat(128), &"é".repeat(32)] {
        let refusal = judge(&[resource("config.json", digest)], by_files());
        assert_eq!(refusal, "the signature is malformed: `config.json` has no sha256 digest", "{digest}");
    }
}

#[test]
fn unknown_hashes_and_serializations_are_refused() {
    let serialization =
        |method: &str, hash: &str| json!({ "method": method, "hash_type": hash, "allow_symlinks": false });
    let weights = [resource("config.json", &sha256(b"{}"))];
    assert_eq!(
        judge(&weights, serialization("files", "md5")),
        "the signature uses the hash `md5`, which is not known here; known are `sha256`, `blake2b` and `blake3`"
    );
    assert_eq!(
        judge(&weights, serialization("tensors", "sha256")),
        "the signature uses the serialization `tensors`, which is not known here; known are `files` and `shards`"
    );
    assert_eq!(
        judge(&weights, serialization("files", "blake3")),
        "the signature is malformed: `config.json` is hashed by sha256, the rest by blake3"
    );
}

#[test]
fn shards_that_make_no_sense_are_refused() {
    let sharded =
        |size: Value| json!({ "method": "shards", "shard_size": size, "hash_type": "sha256", "allow_symlinks": false });
    for size in [json!(0), json!(-1), json!(1.5), json!(1e300), Value::Null] {
        let refusal = judge(&[resource("weights:0:4", &sha256(b""))], sharded(size.clone()));
        assert_eq!(refusal, "the signature is malformed: it has shards, but no positive shard_size", "{size}");
    }
    for name in [
        "weights",
        "weights:0",
        "weights:4:4",
        "weights:5:4",
        "weights:-1:4",
        "weights:+0:4",
        "weights:0:4x",
        "weights:0:99999999999999999999",
        ":0:4",
    ] {
        let refusal = judge(&[resource(name, &sha256(b""))], sharded(json!(4)));
        assert!(refusal.contains("cannot be a file of a model"), "{name}: {refusal}");
    }
    // Alone in its model, so that nothing else is wrong.
    let judge = |resources: &[Value], size: Value| {
        let key = key();
        let bundle = forge(&statement(resources, sharded(size)), &key);
        refusal(verify(&bundle, &files([("weights", "0123456789abcdef")]), &trusts(&key)))
    };
    let gap = [resource("weights:0:4", &sha256(b"0123")), resource("weights:8:12", &sha256(b"89ab"))];
    assert!(judge(&gap, json!(4)).ends_with("it has 16 bytes, and bytes 8 to 12 are signed"));
    let part = [resource("weights:0:4", &sha256(b"0123"))];
    assert!(judge(&part, json!(4)).ends_with("it has 16 bytes, and 4 are signed"));
    let overlap = [resource("weights:0:8", &sha256(b"01234567")), resource("weights:4:16", &sha256(b""))];
    assert!(judge(&overlap, json!(8)).ends_with("it has 16 bytes, and bytes 4 to 16 are signed"));
    let huge = [resource(&format!("weights:0:{}", u64::MAX), &sha256(b""))];
    assert!(judge(&huge, json!(u64::MAX)).ends_with("it has 16 bytes, and bytes 0 to 18446744073709551615 are signed"));
}

#[test]
fn shards_of_floating_point_size_are_what_the_reference_tool_writes() {
    let key = key();
    let sharded = json!({ "method": "shards", "shard_size": 4.0, "hash_type": "sha256", "allow_symlinks": false });
    let resources = [resource("a:b:0:4", &sha256(b"0123")), resource("a:b:4:6", &sha256(b"45"))];
    let bundle = forge(&statement(&resources, sharded), &key);
    assert!(verify(&bundle, &files([("a:b", "012345")]), &trusts(&key)).is_ok());
}

#[test]
fn a_subject_that_is_not_the_digest_of_its_files_is_refused() {
    let zero = "0".repeat(64);
    let refusal = judge_statement(|statement| statement["subject"][0]["digest"]["sha256"] = zero.clone().into());
    let computed = sha256(&headland_package::Sha256Digest::of(b"x").as_bytes()[..]);
    assert_eq!(
        refusal,
        format!("the signature contradicts itself: its files hash to {computed}, its subject says {zero}")
    );
    let refusal = judge_statement(|statement| statement["subject"] = json!([]));
    assert_eq!(refusal, "the signature is malformed: its statement has 0 subjects, one is needed");
    let refusal = judge_statement(|statement| statement["subject"][0]["digest"] = json!({ "sha512": "00" }));
    assert_eq!(refusal, "the signature is malformed: its subject has no sha256");
}

#[test]
fn statements_about_other_things_are_refused() {
    let refusal = judge_statement(|statement| statement["predicateType"] = "https://slsa.dev/provenance/v1".into());
    assert!(refusal.starts_with("the signature is a statement of type `https://slsa.dev/provenance/v1`"), "{refusal}");
    let refusal = judge_statement(|statement| statement["_type"] = "https://in-toto.io/Statement/v0.1".into());
    assert!(refusal.starts_with("the signature is a statement of type `https://in-toto.io/Statement/v0.1`"));
    for broken in [Value::Null, json!({}), json!({ "resources": 1 }), json!([])] {
        let refusal = judge_statement(|statement| statement["predicate"] = broken);
        assert!(refusal.starts_with("the statement of the signature cannot be read: "), "{refusal}");
    }
}

#[test]
fn signatures_from_before_1_0_are_refused_with_advice() {
    let refusal = judge_statement(|statement| statement["predicateType"] = "https://model_signing/Digests/v0.1".into());
    assert_eq!(
        refusal,
        "the signature is of a format from before Model Signing 1.0 (`https://model_signing/Digests/v0.1`); sign the \
         model again"
    );
}

#[test]
fn a_signer_who_ignores_everything_has_still_not_signed_it() {
    let key = key();
    for ignored in [".", "./", "", "/", ".."] {
        let mut serialization = by_files();
        serialization["ignore_paths"] = json!([ignored]);
        let bundle = forge(&statement(&[resource("config.json", &sha256(b"{}"))], serialization), &key);
        assert!(refusal(verify(&bundle, &model(), &trusts(&key))).ends_with("is in the model, but not signed"));
    }
}
