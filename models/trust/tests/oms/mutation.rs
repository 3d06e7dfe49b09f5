//! No bytes whatsoever make a verification panic, and no changed bytes verify as somebody else's statement.

use std::sync::LazyLock;

use headland_trust::contents::Files;
use headland_trust::oms::{self, VerifyOptions};
use headland_trust::{Certificate, PublicKey, SigningKey, TrustedRoot};
use proptest::prelude::*;

use crate::sigstore::Instance;
use crate::support::*;
use crate::{pki, support};

/// One bundle of each method, and who is trusted for it.
static BUNDLES: LazyLock<Vec<(String, headland_trust::Authority)>> = LazyLock::new(|| {
    let (key, model, instance) = (key(), model(), Instance::new());
    let top = pki::root(pki::authority_params("Top"));
    let leaf = pki::issued(pki::signer_params("Release"), &top);
    let (files, options) = (Files(&model), oms::SignOptions::default());
    let chain = std::slice::from_ref(&top.certificate);
    let by_certificate =
        oms::sign_with_certificate(&files, "m", &leaf.signing_key(), &leaf.certificate, chain, &options).unwrap();
    vec![
        (support::sign(&model, &key), trusts(&key)),
        (by_certificate, pki::trusts(&[&top])),
        (instance.sign(&model), instance.trusts("signer@acme.example")),
    ]
});

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_bundles_do_not_panic_and_sign_nothing_new(
        which in 0..3_usize,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..4),
    ) {
        let (bundle, authority) = &BUNDLES[which];
        let mut bytes = bundle.clone().into_bytes();
        for (at, byte, kind) in edits {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => { bytes.remove(at); }
                _ => bytes.truncate(at.max(1)),
            }
        }
        let model = model();
        let _ = oms::parse(&bytes);
        if let Ok(verdict) = oms::verify(&bytes, &Files(&model), authority, &VerifyOptions::default()) {
            // Something that is not signed has changed, such as white space: the verdict is the same.
            prop_assert_eq!(verdict.signed.len(), model.len());
        }
    }

    #[test]
    fn mutated_statements_do_not_panic(at in any::<prop::sample::Index>(), with in "\\PC{0,8}", cut in 0..6_usize) {
        static KEY: LazyLock<SigningKey> = LazyLock::new(key);
        let shards = serde_json::json!({ "method": "shards", "shard_size": 4, "hash_type": "sha256",
            "allow_symlinks": false, "ignore_paths": ["x"] });
        let whole = statement(&[resource("a:0:4", &sha256(b"0123")), resource("a:4:6", &sha256(b"45"))], shards);
        let mut text: Vec<char> = whole.to_string().chars().collect();
        let at = at.index(text.len());
        text.splice(at..(at + cut).min(text.len()), with.chars());
        let text: String = text.into_iter().collect();
        let envelope = headland_trust::dsse::sign_statement(text.into_bytes(), &KEY).unwrap();
        let bundle = forge_envelope(&envelope, &KEY);
        let _ = verify(&bundle, &files([("a", "012345")]), &trusts(&KEY));
    }

    #[test]
    fn any_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = oms::parse(&bytes);
        let _ = PublicKey::from_der(&bytes);
        let _ = PublicKey::from_pem(pem("PUBLIC KEY", &bytes).as_bytes());
        let _ = SigningKey::from_pem(pem("PRIVATE KEY", &bytes).as_bytes());
        let _ = Certificate::from_der(&bytes);
        let _ = TrustedRoot::from_json(&String::from_utf8_lossy(&bytes));
    }
}
