//! Escaping: any string goes in and comes back, nothing else is read.

use proptest::prelude::*;

use super::*;

#[test]
fn a_key_renders_its_kind_and_parts() {
    assert_eq!(Key::new("desired", ["fra2"]).unwrap().as_str(), "desired.fra2");
    assert_eq!(Key::new("model", ["all MiniLM", "1.0"]).unwrap().as_str(), "model.all=20MiniLM.1=2E0");
    assert_eq!(Key::new("app", ["", "*", ">", "é", "="]).unwrap().as_str(), "app.=.=2A.=3E.=C3=A9.=3D");
}

#[test]
fn what_we_would_not_write_is_not_read() {
    for foreign in
        ["", ".", "a", "a.", ".a", "a..b", "a.b c", "a.*", "a.>", "a.=4", "a.=41", "a.=2e", "a.=FF", "a.b=", "a.ü"]
    {
        foreign.parse::<Key>().expect_err(foreign);
    }
}

#[test]
fn keys_are_bounded() {
    assert_eq!(Key::new("a", [] as [&str; 0]), Err(KeyError::NoParts("a".into())));
    assert_eq!(Key::new("a", ["b"; KEY_TOKENS_MAX]), Err(KeyError::TooManyTokens(KEY_TOKENS_MAX + 1)));
    assert_eq!(Key::new("a", ["é".repeat(100)]), Err(KeyError::TooLong(602)));
    assert!(Key::new("a", ["b".repeat(KEY_BYTES_MAX - 2)]).is_ok());
    assert!(format!("a.{}", "b".repeat(KEY_BYTES_MAX - 1)).parse::<Key>().is_err());
}

#[test]
fn a_prefix_ends_where_a_token_does() {
    let key = Key::new("model", ["mini", "1"]).unwrap();
    assert!(Prefix::All.contains(&key));
    assert!(Prefix::kind("model").unwrap().contains(&key));
    assert!(Prefix::under("model", ["mini"]).unwrap().contains(&key));
    assert!(Prefix::from(&key).contains(&key));
    assert!(!Prefix::kind("mod").unwrap().contains(&key));
    assert!(!Prefix::under("model", ["min"]).unwrap().contains(&key));
    assert!(!Prefix::under("model", ["mini", "1"]).unwrap().contains(&key));
}

proptest! {
    #[test]
    fn any_parts_come_back_as_they_were(kind in ".{0,12}", parts in prop::collection::vec(".{0,12}", 1..6)) {
        prop_assume!(kind.len() + parts.iter().map(String::len).sum::<usize>() < 160);
        let key = Key::new(&kind, &parts).unwrap();
        prop_assert!(key.as_str().bytes().all(|byte| is_plain(byte) || byte == b'.' || byte == b'='));
        prop_assert_eq!(key.as_str().parse::<Key>().unwrap(), key.clone());
        prop_assert_eq!((key.kind(), key.parts()), (kind, parts));
    }

    #[test]
    fn any_text_is_refused_or_reads_as_what_wrote_it(text in "[-A-Za-z0-9_=.*> é]{0,40}|.{0,40}") {
        if let Ok(key) = text.parse::<Key>() {
            prop_assert_eq!(Key::new(&key.kind(), key.parts()).unwrap(), key.clone());
            prop_assert_eq!(key.as_str(), text);
        }
    }

    #[test]
    fn keys_differ_where_their_parts_do(a in prop::collection::vec(".{0,4}", 1..4), b in prop::collection::vec(".{0,4}", 1..4)) {
        prop_assert_eq!(Key::new("k", &a).unwrap() == Key::new("k", &b).unwrap(), a == b);
    }
}
