//! The signature of an app's or component's manifest.
//!
//! An input that begins with `s` is a statement that the forger signs; every other input is a bundle.

#![no_main]

use std::sync::LazyLock;
use std::time::SystemTime;

use headland_fuzz::{forger, show};
use headland_package::Sha256Digest;
use headland_trust::{Authority, PublicKey, TrustedRoot, component};
use libfuzzer_sys::fuzz_target;

const COSIGN: &str = "models/trust/tests/policy/cosign";

static FORGER: LazyLock<Authority> = LazyLock::new(forger::authority);
static CERTIFICATES: LazyLock<Authority> = LazyLock::new(forger::certificates);
/// The holder of the key of the signatures in sigstore-js form, and everybody on the public instance.
static KEY: LazyLock<Authority> = LazyLock::new(|| {
    let pem = forger::repository_file(&format!("{COSIGN}/sigstore-js.pub"));
    Authority::Key(PublicKey::from_pem(&pem).expect("a key"))
});
static PUBLIC: LazyLock<Authority> =
    LazyLock::new(|| forger::identities(TrustedRoot::public_good().expect("the built-in root")));
/// What those have signed.
static BY_KEY: LazyLock<Sha256Digest> = LazyLock::new(|| digest("sigstore-js.txt"));
static BY_IDENTITY: LazyLock<Sha256Digest> = LazyLock::new(|| digest("cosign-v3-blob.txt"));

fn digest(name: &str) -> Sha256Digest {
    Sha256Digest::of(&forger::repository_file(&format!("{COSIGN}/{name}")))
}

fuzz_target!(|input: &[u8]| {
    if let Some((b's', statement)) = input.split_first() {
        return verify(&forger::sign(statement), &BY_KEY, &FORGER);
    }
    verify(input, &BY_KEY, &KEY);
    verify(input, &BY_KEY, &CERTIFICATES);
    verify(input, &BY_IDENTITY, &PUBLIC);
});

fn verify(bundle: &[u8], manifest: &Sha256Digest, authority: &Authority) {
    if let Err(error) = component::verify(bundle, manifest, authority, SystemTime::now()) {
        show(&error);
    }
}
