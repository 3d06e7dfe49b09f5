//! The policy's file: what is refused, and that the refusal says where and what to do.

use std::error::Error as _;
use std::path::Path;

use headland_trust::Policy;
use proptest::prelude::*;

fn error(text: &str) -> String {
    let error = Policy::parse(text, "policy.toml".as_ref()).unwrap_err();
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn rule(more: &str) -> String {
    format!("version = 1\n[[rule]]\nname = \"a\"\nartifact = \"models/*\"\n{more}")
}

fn authority(more: &str) -> String {
    rule(&format!("[[rule.authority]]\n{more}"))
}

#[test]
fn a_typo_is_named_with_its_line_and_what_was_meant() {
    for (text, expected) in [
        (rule("mod = \"warn\""), "policy.toml:5:1: unknown key `mod`; did you mean `mode`?"),
        (
            rule("minimal_version = \"2\""),
            "policy.toml:5:1: unknown key `minimal_version`; did you mean `minimum_version`?",
        ),
        ("version = 1\n[[rules]]".to_owned(), "policy.toml:2:3: unknown key `rules`; did you mean `rule`?"),
        (authority("kye = \"x\""), "policy.toml:6:1: unknown key `kye`; did you mean `key`?"),
        (authority("certificate = { root = [\"x\"] }"), "unknown key `root`; did you mean `roots`?"),
        (authority("keyless = { identity = [] }"), "unknown key `identity`; did you mean `identities`?"),
        (
            authority("keyless = { identities = [{ issuer = \"x\", subjct = \"y\" }] }"),
            "unknown key `subjct`; did you mean `subject`?",
        ),
        (rule("mode = \"warm\""), "policy.toml:5:8: unknown variant `warm`, expected `enforce` or `warn`"),
    ] {
        let error = error(&text);
        assert!(error.contains(expected), "{expected}\n{error}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused_where_it_stands() {
    for (text, expected) in [
        ("".to_owned(), "policy.toml:1:1: missing field `version`"),
        ("version = 2".to_owned(), "policy.toml: `version = 2` is not known here; write `version = 1`"),
        ("version = 1\n[[rule]]\nname = \"a\"".to_owned(), "missing field `artifact`"),
        (
            "version = 1\n[[rule]]\nname = \"a\"\nartifact = \"acme-*\"".to_owned(),
            "policy.toml:4:12: no artifact can fit `acme-*`",
        ),
        ("version = 1\n[[rule]]\nname = \"a\"\nartifact = \"models/[a\"".to_owned(), "policy.toml:4:12: not a pattern"),
        (rule("[[rule]]\nname = \"a\"\nartifact = \"apps/*\""), "two rules are called `a`"),
        ("version = 1\n[[rule]]\nname = \" \"\nartifact = \"**\"".to_owned(), "a rule's name is one line"),
        (rule("regions = []"), "rule `a`: `regions = []` allows none; leave `regions` out to allow all"),
        (rule("regions = [\"e u\"]"), "policy.toml:5:11: a region is"),
        (rule("accelerators = [\"gpu\"]"), "unknown accelerator `gpu`; the classes are `cpu`, `cuda`"),
        (rule("minimum_version = \"2/0\""), "policy.toml:5:19: `2/0` is not a model version"),
        (authority(""), "exactly one of `key`, `certificate` and `keyless`"),
        (authority("key = \"a\"\nkeyless = { identities = [] }"), "exactly one of `key`, `certificate` and `keyless`"),
        (authority("keyless = { identities = [] }"), "rule `a`: cannot use keyless: `identities` has 1 to 100 entries"),
        (authority("certificate = { roots = [] }"), "rule `a`: cannot use certificate: `roots` has 1 to 100 entries"),
        (
            authority("keyless = { identities = [{ issuer_regex = \"(\", subject = \"x\" }] }"),
            "policy.toml:6:44: not a regular expression",
        ),
        (
            authority("keyless = { identities = [{ issuer = \"x\" }] }"),
            "rule `a`: cannot use `subject`: give exactly one of `subject` and `subject_regex`",
        ),
        (
            authority("keyless = { identities = [{ issuer = \"x\", issuer_regex = \"x\", subject = \"x\" }] }"),
            "give exactly one of `issuer` and `issuer_regex`",
        ),
        (
            authority("keyless = { identities = [{ issuer_regex = \"(a{1000}){1000}\", subject = \"x\" }] }"),
            "not a regular expression",
        ),
    ] {
        let error = error(&text);
        assert!(error.contains(expected), "{expected}\n{error}");
    }
}

#[test]
fn a_key_or_root_that_cannot_be_used_is_named_with_its_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("not.pem"), "hello").unwrap();
    std::fs::write(folder.path().join("large.pem"), vec![b'x'; (1 << 20) + 1]).unwrap();
    for (authority_text, expected) in [
        ("key = \"missing.pub\"", "cannot use key FOLDER/missing.pub: No such file"),
        ("key = \"not.pem\"", "cannot use key FOLDER/not.pem: holds no public key in PEM form"),
        ("key = \"large.pem\"", "cannot use key FOLDER/large.pem: it is larger than 1 MiB"),
        ("key = \".\"", "it is not a file"),
        ("key = \"/dev/zero\"", "cannot use key /dev/zero: it is not a file"),
        ("key = \"-----BEGIN PUBLIC KEY-----\"", "cannot use key in the policy: "),
        ("certificate = { roots = [\"not.pem\"] }", "cannot use certificate FOLDER/not.pem: "),
        (
            "keyless = { trusted_root = \"not.pem\", identities = [{ issuer = \"x\", subject = \"x\" }] }",
            "cannot use trusted root FOLDER/not.pem: ",
        ),
    ] {
        let file = folder.path().join("policy.toml");
        std::fs::write(&file, authority(authority_text)).unwrap();
        let error = Policy::read(&file).unwrap_err();
        let error =
            format!("{error}: {}", error.source().unwrap()).replace(&folder.path().display().to_string(), "FOLDER");
        assert!(error.starts_with("FOLDER/policy.toml: rule `a`: cannot use ") && error.contains(expected), "{error}");
    }
}

#[test]
fn a_policy_beyond_its_limits_is_refused() {
    let rules: String = (0..1_001).map(|n| format!("[[rule]]\nname = \"{n}\"\nartifact = \"**\"\n")).collect();
    assert!(error(&format!("version = 1\n{rules}")).contains("1001 rules; at most 1000 are read"));
    assert!(error(&rule(&"[[rule.authority]]\nkey = \"x\"\n".repeat(101))).contains("101 authorities; at most 100"));
    assert!(error(&format!("version = 1 #{}", "x".repeat(1 << 20))).contains("larger than 1 MiB"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    std::fs::write(&file, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(
        Policy::read(&file)
            .unwrap_err()
            .to_string()
            .ends_with("larger than 1 MiB, the most a configuration file may be")
    );
    assert!(Policy::read(Path::new("nowhere.toml")).unwrap_err().to_string().contains("cannot read nowhere.toml"));
}

#[test]
fn a_policy_without_rules_refuses_everything_and_says_so() {
    let policy = crate::common::parse("version = 1");
    assert_eq!(policy.explain().to_string(), "policy.toml: no rules, so that everything is refused.\n");
    assert!(policy.decide("models/x").is_none());
}

#[test]
fn a_rule_that_never_decides_is_pointed_out() {
    let text = rule("[[rule]]\nname = \"b\"\nartifact = \"models/*\"");
    let explained = crate::common::parse(&text).explain().to_string();
    assert!(explained.contains("never decides: rule `a` fits the same artifacts and comes first"), "{explained}");
}

/// A sound policy, with one piece of it replaced.
fn nearly_a_policy() -> impl Strategy<Value = String> {
    let sound = [
        "version = 1\n[[rule]]\nname = \"a\"\nartifact = \"{models,apps}/[a-z]*\"\nmode = \"warn\"\n",
        "minimum_version = \"1.2\"\nregions = [\"eu\"]\naccelerators = [\"cpu\"]\n[[rule.authority]]\nkey = '''",
        include_str!("keys/release.pub"),
        "'''\n[[rule.authority]]\ncertificate = { subject_regex = \"CN=.*\", roots = ['''",
        include_str!("keys/ca.pem"),
        "'''] }\n[[rule.authority]]\n",
        "keyless = { identities = [{ issuer = \"https://a\", subject_regex = \"(a|b)*\" }] }\n",
    ]
    .concat();
    crate::common::parse(&sound);
    let piece = prop_oneof![any::<String>(), "[\\[\\]{}='\"#,.*?\\\\a1]{0,8}"];
    (0..sound.len(), 0..40_usize, piece).prop_map(move |(start, length, piece)| {
        let end = (start + length).min(sound.len());
        format!("{}{piece}{}", &sound[..start], &sound[end..])
    })
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        let _ = Policy::parse(&text, "policy.toml".as_ref());
    }

    #[test]
    fn no_change_to_a_policy_makes_the_parser_panic(text in nearly_a_policy()) {
        if let Ok(policy) = Policy::parse(&text, "policy.toml".as_ref()) {
            let _ = policy.explain().to_string();
        }
    }

    #[test]
    fn no_pattern_makes_the_parser_panic(pattern in any::<String>(), name in any::<String>()) {
        let text = format!("version = 1\n[[rule]]\nname = \"a\"\nartifact = {}", toml_string(&pattern));
        if let Ok(policy) = Policy::parse(&text, "policy.toml".as_ref()) {
            let _ = policy.decide(&name);
        }
    }
}

fn toml_string(text: &str) -> String {
    let escaped: String = text.chars().map(|c| format!("\\U{:08X}", c as u32)).collect();
    format!("\"{escaped}\"")
}
