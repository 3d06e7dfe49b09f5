//! `docs/policy.md` shows a policy and what it means; both are true.

use std::fs;

use headland_trust::Policy;

const DOCUMENT: &str = include_str!("../../../../docs/policy.md");

/// The first block in this language.
fn block(language: &str) -> &'static str {
    let (_, rest) = DOCUMENT.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

#[test]
fn the_example_in_the_documentation_is_read_and_means_what_it_says_there() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("keys")).unwrap();
    for (name, text) in [
        ("policy.toml", block("toml")),
        ("keys/release.pub", include_str!("keys/release.pub")),
        ("keys/ca.pem", include_str!("keys/ca.pem")),
        ("keys/trusted_root.json", sigstore_trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let policy = Policy::read(&folder.path().join("policy.toml")).unwrap();
    let explained = policy.explain().to_string();
    assert_eq!(explained.replace(&format!("{}/", folder.path().display()), ""), block("text"));
    let decides = |repository: &str| policy.decide(repository).map(|rule| rule.name());
    assert_eq!(decides("models/acme-digits"), Some("released models"));
    assert_eq!(decides("models/digits-nightly"), Some("built by our pipeline"));
    assert_eq!(decides("models/chat-1"), Some("withdrawn"));
    assert_eq!(decides("models/chat-2"), None);
    let json = serde_json::to_value(policy.explain()).unwrap();
    assert_eq!(json["rules"][0]["minimum_version"], "2.0");
    assert_eq!(json["rules"][3]["mode"], "warn");
}
