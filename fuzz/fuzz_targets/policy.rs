//! A trust policy's text, then what it says and what it decides.

#![no_main]

use std::path::Path;
use std::time::SystemTime;

use headland_fuzz::{forger, show};
use headland_trust::{Artifact, Policy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    // Where it stands, the trusted root of the repository's test signatures can be named.
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../test-data/signing/policy.toml"));
    let policy = match Policy::parse(text, path) {
        // Lines of the operator's own file are quoted as they stand, so this is not held to `show`.
        Err(error) => return drop(error.to_string()),
        Ok(policy) => policy,
    };
    let explained = policy.explain();
    serde_json::to_string(&explained).expect("an explanation is JSON");
    _ = explained.to_string();
    let signature = forger::sign(b"{}");
    for artifact in ["models/acme-search:2.1", "models/chat-1:1", "apps/lab-x:0", "apps/search-nightly:v2"] {
        let artifact: Artifact = artifact.parse().expect("an artifact");
        if policy.decide(&artifact.repository()).is_none() {
            let denied = policy.verify_app(&artifact, b"{}", &[&signature], SystemTime::UNIX_EPOCH);
            show(&denied.expect_err("what no rule fits is refused"));
        } else {
            _ = policy.test_app(&artifact, b"{}", &[&signature], SystemTime::UNIX_EPOCH).to_string();
        }
    }
});
