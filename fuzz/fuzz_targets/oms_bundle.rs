//! A model's signature.
//!
//! An input that begins with `s` is a statement that the forger signs as it is; with `r`, after repairing its root
//! digest, so that the comparison with the model's files is reached. Every other input is a bundle.

#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;
use headland_fuzz::{forger, show};
use headland_package::Sha256Digest;
use headland_trust::contents::{Files, Listing};
use headland_trust::oms::{self, VerifyOptions};
use headland_trust::{Authority, Contents, PublicKey, TrustedRoot};
use libfuzzer_sys::fuzz_target;

/// The model that the reference tool's test signatures are of.
static MODEL: LazyLock<BTreeMap<String, Bytes>> = LazyLock::new(|| {
    let paths = ["config.json", "notes.txt", "sub/vocabulary.txt", "sub.txt", "weights.bin"];
    let read = |path: &str| forger::repository_file(&format!("models/trust/test-data/oms/model/{path}")).into();
    paths.into_iter().map(|path| (path.to_owned(), read(path))).collect()
});
static LISTING: LazyLock<Listing> = LazyLock::new(|| {
    let listed = |bytes: &Bytes| (bytes.len() as u64, Sha256Digest::of(bytes));
    Listing(MODEL.iter().map(|(path, bytes)| (path.clone(), listed(bytes))).collect())
});
static FORGER: LazyLock<Authority> = LazyLock::new(forger::authority);
/// A key, the roots of certificates, and a sigstore instance: those of the repository's test signatures.
static OTHERS: LazyLock<[Authority; 3]> = LazyLock::new(|| {
    let key = PublicKey::from_pem(&forger::repository_file("models/trust/test-data/oms/p256.pub")).expect("a key");
    let root = String::from_utf8(forger::repository_file("test-data/signing/trusted_root.json")).expect("text");
    let root = TrustedRoot::from_json(&root).expect("a root");
    [Authority::Key(key), forger::certificates(), forger::identities(root)]
});
static OPTIONS: LazyLock<VerifyOptions> = LazyLock::new(VerifyOptions::default);

fuzz_target!(|input: &[u8]| {
    match input.split_first() {
        Some((b's', statement)) => verify(&forger::sign(statement), &FORGER),
        Some((b'r', statement)) => {
            if let Some(statement) = forger::with_root_digest(statement) {
                verify(&forger::sign(&statement), &FORGER);
            }
        }
        _ => match oms::parse(input) {
            Err(error) => show(&error),
            Ok(_) => OTHERS.iter().for_each(|authority| verify(input, authority)),
        },
    }
});

fn verify(bundle: &[u8], authority: &Authority) {
    judge(bundle, authority, &Files(&MODEL));
    judge(bundle, authority, &*LISTING);
}

fn judge(bundle: &[u8], authority: &Authority, contents: &dyn Contents) {
    match oms::verify(bundle, contents, authority, &OPTIONS) {
        Err(error) => show(&error),
        Ok(verdict) => {
            let mut paths = [verdict.signed, verdict.unsigned].concat();
            paths.sort();
            assert_eq!(paths, contents.paths(), "each file is signed or is not");
            assert_eq!(verdict.complete, contents.is_here());
        }
    }
}
