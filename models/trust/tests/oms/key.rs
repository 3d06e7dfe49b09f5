//! Signatures with a key: round trips, and what is wrong with a model or a key.

use aws_lc_rs::encoding::{AsDer as _, EcPrivateKeyRfc5915Der};
use aws_lc_rs::signature::EcdsaKeyPair;
use headland_package::Sha256Digest;
use headland_trust::contents::{Files, Folder, Listing};
use headland_trust::oms::{self, SignOptions, VerifyOptions};
use headland_trust::{HashAlgorithm, PublicKey, Signer, SigningKey};

use crate::support::*;

#[test]
fn what_is_signed_verifies_on_every_curve_with_every_hash_whole_and_in_shards() {
    let model = model();
    for (_, curve) in CURVES {
        let key = key_on(curve);
        for hash in HashAlgorithm::ALL {
            for shard_bytes in [None, Some(1), Some(5), Some(16), Some(1000)] {
                let options = SignOptions { hash, shard_bytes, ..Default::default() };
                let bundle = oms::sign_with_key(&Files(&model), "m", &key, &options).unwrap();
                let verdict = verify(&bundle, &model, &trusts(&key)).unwrap();
                assert_eq!(verdict.signer, Signer::Key { hint: key.public().hint().to_owned() });
                assert!(verdict.complete);
                let whole = shard_bytes.is_none() || hash == HashAlgorithm::Blake3;
                assert_eq!(verdict.unsigned, if whole { vec![] } else { vec!["empty"] }, "{options:?}");
                assert_eq!(verdict.signed.len() + verdict.unsigned.len(), model.len());
            }
        }
    }
}

#[test]
fn a_changed_file_is_named_with_both_digests() {
    let (key, mut model) = (key(), model());
    let bundle = sign(&model, &key);
    model.insert("sub/a".to_owned(), "other".into());
    let refusal = refusal(verify(&bundle, &model, &trusts(&key)));
    let (signed, found) = (sha256(b"inner"), sha256(b"other"));
    assert_eq!(refusal, format!("`sub/a` is not the file that was signed: its sha256 is {found}, signed is {signed}"));
}

#[test]
fn swapped_files_are_noticed() {
    let (key, mut model) = (key(), model());
    let bundle = sign(&model, &key);
    let config = model.insert("config.json".to_owned(), model["weights"].clone()).unwrap();
    model.insert("weights".to_owned(), config);
    assert!(refusal(verify(&bundle, &model, &trusts(&key))).starts_with("`config.json` is not the file"));
}

#[test]
fn a_missing_file_is_named() {
    let (key, mut model) = (key(), model());
    let bundle = sign(&model, &key);
    model.remove("sub/a");
    assert_eq!(refusal(verify(&bundle, &model, &trusts(&key))), "`sub/a` is signed, but missing from the model");
}

#[test]
fn an_extra_file_is_named_unless_extras_are_allowed_and_never_counts_as_signed() {
    let (key, mut model) = (key(), model());
    let bundle = sign(&model, &key);
    model.insert("sub/b".to_owned(), "more".into());
    assert_eq!(refusal(verify(&bundle, &model, &trusts(&key))), "`sub/b` is in the model, but not signed");
    for options in [
        VerifyOptions { ignore_unsigned: true, ..Default::default() },
        VerifyOptions { ignore_paths: vec!["sub/b".to_owned()], ..Default::default() },
        VerifyOptions { ignore_paths: vec!["sub".to_owned()], ..Default::default() },
    ] {
        let verdict = oms::verify(bundle.as_bytes(), &Files(&model), &trusts(&key), &options).unwrap();
        assert_eq!(verdict.unsigned, ["sub/b"]);
        assert!(!verdict.signed.contains(&"sub/b".to_owned()));
    }
}

#[test]
fn what_a_verifier_ignores_is_still_checked_when_it_is_signed() {
    let (key, mut model) = (key(), model());
    let bundle = sign(&model, &key);
    model.insert("sub/a".to_owned(), "other".into());
    let options = VerifyOptions { ignore_paths: vec!["sub".to_owned()], ignore_unsigned: true, ..Default::default() };
    let result = oms::verify(bundle.as_bytes(), &Files(&model), &trusts(&key), &options);
    assert!(refusal(result).starts_with("`sub/a` is not the file"));
}

#[test]
fn a_bundle_for_another_model_is_refused() {
    let key = key();
    let other = files([("model.onnx", "graph")]);
    assert_eq!(
        refusal(verify(&sign(&other, &key), &model(), &trusts(&key))),
        "`model.onnx` is signed, but missing from the model"
    );
}

#[test]
fn another_key_is_named_by_both_hints() {
    let (signing, trusted, model) = (key(), key(), model());
    let refusal = refusal(verify(&sign(&model, &signing), &model, &trusts(&trusted)));
    let (found, trusted) = (signing.public().hint(), trusted.public().hint());
    assert_eq!(refusal, format!("signed with key {found}; the trusted key is {trusted}"));
}

#[test]
fn a_key_that_lies_about_its_name_does_not_fit() {
    let (signing, trusted, model) = (key(), key(), model());
    let bundle = altered(&sign(&model, &signing), |bundle| {
        bundle["verificationMaterial"]["publicKey"]["hint"] = trusted.public().hint().into();
    });
    assert!(refusal(verify(&bundle, &model, &trusts(&trusted))).contains("does not fit what it claims to sign"));
}

#[test]
fn a_bundle_without_a_hint_is_judged_by_its_signature() {
    let (signing, other, model) = (key(), key(), model());
    let bundle = altered(&sign(&model, &signing), |bundle| {
        bundle["verificationMaterial"]["publicKey"] = serde_json::json!({ "rawBytes": "", "keyDetails": "" });
    });
    assert!(verify(&bundle, &model, &trusts(&signing)).is_ok());
    assert!(refusal(verify(&bundle, &model, &trusts(&other))).contains("does not fit"));
}

#[test]
fn shards_that_do_not_cover_a_file_are_refused() {
    let (key, model) = (key(), files([("weights", "0123456789abcdef")]));
    let options = SignOptions { shard_bytes: Some(6), ..Default::default() };
    let bundle = oms::sign_with_key(&Files(&model), "m", &key, &options).unwrap();
    assert!(verify(&bundle, &model, &trusts(&key)).is_ok());
    let longer = files([("weights", "0123456789abcdef+")]);
    assert_eq!(
        refusal(verify(&bundle, &longer, &trusts(&key))),
        "`weights` is not the file that was signed: it has 17 bytes, and bytes 12 to 16 are signed"
    );
    let much_longer = files([("weights", "0123456789abcdef0123456789abcdef")]);
    assert!(refusal(verify(&bundle, &much_longer, &trusts(&key))).contains("it has 32 bytes"));
    let shorter = files([("weights", "0123")]);
    assert!(refusal(verify(&bundle, &shorter, &trusts(&key))).contains("it has 4 bytes, and bytes 0 to 6 are signed"));
    let changed = files([("weights", "0123456789abcdeX")]);
    assert!(refusal(verify(&bundle, &changed, &trusts(&key))).starts_with("`weights:12:16` is not the file"));
}

#[test]
fn a_listing_is_judged_by_names_and_whole_digests() {
    let (key, model) = (key(), model());
    let listed = |model: &Model| {
        Listing(
            model.iter().map(|(path, bytes)| (path.clone(), (bytes.len() as u64, Sha256Digest::of(bytes)))).collect(),
        )
    };
    let judge = |bundle: &str, listing: &Listing| {
        oms::verify(bundle.as_bytes(), listing, &trusts(&key), &VerifyOptions::default())
    };
    let bundle = sign(&model, &key);
    let verdict = judge(&bundle, &listed(&model)).unwrap();
    assert!(!verdict.complete);
    assert_eq!(verdict.signed.len(), model.len());
    let mut changed = model.clone();
    changed.insert("weights".to_owned(), "other".into());
    assert!(refusal(judge(&bundle, &listed(&changed))).starts_with("`weights` is not the file"));
    // A hash that no listing knows: the names are all there is to judge by.
    let options = SignOptions { hash: HashAlgorithm::Blake3, ..Default::default() };
    let bundle = oms::sign_with_key(&Files(&model), "m", &key, &options).unwrap();
    assert!(!judge(&bundle, &listed(&changed)).unwrap().complete);
    changed.remove("weights");
    assert_eq!(refusal(judge(&bundle, &listed(&changed))), "`weights` is signed, but missing from the model");
}

#[test]
fn a_folder_is_its_files_and_a_file_is_a_model_of_its_own() {
    let (key, model) = (key(), model());
    let folder = tempfile::tempdir().unwrap();
    write(&model, folder.path());
    std::fs::create_dir_all(folder.path().join(".git/objects")).unwrap();
    std::fs::write(folder.path().join(".git/objects/x"), "x").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join(".git/socket")).unwrap();
    let contents = Folder::open(folder.path()).unwrap();
    let bundle = oms::sign_with_key(&contents, &contents.name(), &key, &SignOptions::default()).unwrap();
    let verdict = verify(&bundle, &model, &trusts(&key)).unwrap();
    assert_eq!(verdict.signed, model.keys().cloned().collect::<Vec<_>>());

    let weights = Folder::open(&folder.path().join("weights")).unwrap();
    let bundle = oms::sign_with_key(&weights, &weights.name(), &key, &SignOptions::default()).unwrap();
    let (_, manifest) = oms::parse(bundle.as_bytes()).unwrap();
    assert_eq!((manifest.name.as_str(), manifest.resources[0].path.as_str()), ("weights", "."));
    // The one file may go by its name, and the other way round; next to another it may not.
    let alone = files([("weights", "0123456789abcdef")]);
    assert_eq!(verify(&bundle, &alone, &trusts(&key)).unwrap().signed, ["weights"]);
    let named = sign(&alone, &key);
    let verdict = oms::verify(named.as_bytes(), &weights, &trusts(&key), &VerifyOptions::default()).unwrap();
    assert_eq!(verdict.signed, ["."]);
    assert_eq!(refusal(verify(&bundle, &model, &trusts(&key))), "`.` is signed, but missing from the model");
    let other = files([("weights", "other")]);
    assert!(refusal(verify(&bundle, &other, &trusts(&key))).starts_with("`weights` is not the file"));
}

#[test]
fn links_are_signed_and_accepted_only_where_both_sides_allow_them() {
    let (key, folder) = (key(), tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("real"), "content").unwrap();
    std::os::unix::fs::symlink("real", folder.path().join("link")).unwrap();
    let contents = Folder::open(folder.path()).unwrap();
    let sign = |options: &SignOptions| oms::sign_with_key(&contents, "m", &key, options);
    assert_eq!(
        sign(&SignOptions::default()).unwrap_err().to_string(),
        "`link` is a symbolic link; allow links, or ignore it"
    );
    let allowing = sign(&SignOptions { allow_symlinks: true, ..Default::default() }).unwrap();
    let verify = |bundle: &str| oms::verify(bundle.as_bytes(), &contents, &trusts(&key), &VerifyOptions::default());
    assert_eq!(verify(&allowing).unwrap().signed, ["link", "real"]);
    // Signed without links, as two real files: the link does not pass for one.
    let files = files([("link", "content"), ("real", "content")]);
    let bundle = crate::support::sign(&files, &key);
    assert_eq!(refusal(verify(&bundle)), "`link` is a symbolic link, and the signature does not allow links");
    // Once allowed, what the link leads to is what counts.
    std::fs::write(folder.path().join("real"), "changed").unwrap();
    assert!(refusal(verify(&allowing)).starts_with("`link` is not the file"));
}

#[test]
fn a_folder_with_what_no_signature_covers_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("real")).unwrap();
    std::os::unix::fs::symlink("real", folder.path().join("link")).unwrap();
    assert!(Folder::open(folder.path()).unwrap_err().to_string().contains("a symbolic link to a folder"));
    std::fs::remove_file(folder.path().join("link")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    assert!(Folder::open(folder.path()).unwrap_err().to_string().contains("neither a file nor a folder"));
    std::fs::remove_file(folder.path().join("socket")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path().join("dangling")).unwrap();
    assert!(text(&Folder::open(folder.path()).unwrap_err()).contains("dangling"));
}

#[test]
fn what_cannot_be_signed_says_why() {
    let key = key();
    let sign = |model: &Model, options: &SignOptions| {
        oms::sign_with_key(&Files(model), "m", &key, options).unwrap_err().to_string()
    };
    let default = SignOptions::default();
    assert_eq!(sign(&Model::new(), &default), "the model has no files to sign");
    let ignoring = SignOptions { ignore_paths: vec!["a".to_owned()], ..default.clone() };
    assert_eq!(sign(&files([("a/b", "")]), &ignoring), "the model has no files to sign");
    assert!(sign(&files([("a\\b", "")]), &default).contains("a NUL or a backslash"));
    let sharding = |bytes| SignOptions { shard_bytes: Some(bytes), ..default.clone() };
    assert_eq!(sign(&files([("a", "b")]), &sharding(0)), "shards of zero bytes cover nothing");
    assert!(sign(&files([("a:b", "c")]), &sharding(9)).contains("a name has no colon"));
    let large = [("a".to_owned(), vec![0; 60_000].into())].into();
    assert_eq!(sign(&large, &sharding(1)), "the model has more than 50000 files or shards");
}

#[test]
fn keys_of_other_kinds_are_refused_by_name() {
    let public = |pem: &str| PublicKey::from_pem(pem.as_bytes()).unwrap_err().to_string();
    let private = |pem: &str| SigningKey::from_pem(pem.as_bytes()).unwrap_err().to_string();
    assert_eq!(public("not a key"), "holds no public key in PEM form");
    assert_eq!(private(""), "holds no private key in PEM form");
    assert_eq!(private(&pem("ENCRYPTED PRIVATE KEY", b"x")).split(';').next(), Some("is encrypted"));
    assert!(public(&pem("PUBLIC KEY", b"garbage")).starts_with("is not a key that can be read"));
    assert_eq!(private(&pem("PRIVATE KEY", b"garbage")), "is not an elliptic-curve key on P-256, P-384 or P-521");
    let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    assert_eq!(public(&ed25519.public_key_pem()), "is not an elliptic-curve key on P-256, P-384 or P-521");
    assert_eq!(private(&ed25519.serialize_pem()), "is not an elliptic-curve key on P-256, P-384 or P-521");
}

#[test]
fn a_private_key_is_read_in_both_usual_forms() {
    for (_, curve) in CURVES {
        let pair = EcdsaKeyPair::generate(curve).unwrap();
        let pkcs8 = pem("PRIVATE KEY", pair.to_pkcs8v1().unwrap().as_ref());
        let sec1: EcPrivateKeyRfc5915Der<'_> = pair.private_key().as_der().unwrap();
        // `openssl ecparam -genkey` writes the curve first.
        let sec1 = pem("EC PARAMETERS", b"\x06\x00") + &pem("EC PRIVATE KEY", sec1.as_ref());
        let [one, other] = [pkcs8, sec1].map(|pem| SigningKey::from_pem(pem.as_bytes()).unwrap());
        assert_eq!(one.public(), other.public());
        assert!(one.public().verify(b"message", &other.sign(b"message").unwrap()));
        assert!(!one.public().verify(b"another", &other.sign(b"message").unwrap()));
    }
}
