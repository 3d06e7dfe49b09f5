//! What may be a name, and that a name never leaves its folder.

use std::path::{Component, Path};

use proptest::prelude::*;

use super::*;

/// The specification's grammar for one part of a repository name.
const PART: &str = "[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,8}){0,3}";

fn is_one_plain_component(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!((components.next(), components.next()), (Some(Component::Normal(only)), None) if only == name)
        && name.len() <= 255
        && !name.contains('\0')
}

#[test]
fn repository_names_follow_the_specification() {
    for good in ["a", "models/all-minilm-l6-v2", "a/b/c", "a.b_c__d-e---f", "0/1", &"x".repeat(255)] {
        assert!(good.parse::<Repository>().is_ok(), "{good:?}");
    }
    for bad in [
        "",
        "/",
        "a/",
        "/a",
        "a//b",
        "..",
        "../x",
        "a/../b",
        "a/./b",
        ".a",
        "a.",
        "a..b",
        "a___b",
        "a._b",
        "A",
        "a b",
        "a+b",
        "a\0b",
        "a\nb",
        "ä",
        "a%2fb",
        "a\\b",
        "_uploads",
        "-a",
        "a:b",
        "a@b",
        &"x".repeat(256),
    ] {
        assert!(bad.parse::<Repository>().is_err(), "{bad:?}");
    }
}

#[test]
fn tags_and_upload_ids_with_path_parts_are_refused() {
    for good in ["latest", "1.0", "_x", "V2-rc.1", &"x".repeat(128)] {
        assert!(good.parse::<Tag>().is_ok(), "{good:?}");
    }
    for bad in ["", ".", "..", "../x", "a/b", ".hidden", "-x", "a\0", "a b", "ä", &"x".repeat(129)] {
        assert!(bad.parse::<Tag>().is_err(), "{bad:?}");
    }
    for bad in ["", "..", "../../../../../../../etc/passwd1", "0123456789abcdef0123456789ABCDEF"] {
        assert!(bad.parse::<UploadId>().is_err(), "{bad:?}");
    }
    let id = UploadId::random().unwrap();
    assert_eq!(id.as_str().parse(), Ok(id.clone()));
    assert_ne!(id, UploadId::random().unwrap());
}

#[test]
fn a_reference_with_a_colon_is_a_digest_or_nothing() {
    let digest = Sha256Digest::of(b"x");
    assert_eq!(digest.to_string().parse(), Ok(Reference::Digest(digest)));
    assert_eq!("1.0".parse(), Ok(Reference::Tag("1.0".parse().unwrap())));
    for bad in ["sha256:12", "sha512:12", "md5:x", ":", "../x:1"] {
        assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
    }
}

#[test]
fn a_refused_name_is_shown_short_and_printable() {
    let shown = format!("evil\u{1b}[31m\n{}", "x".repeat(10_000)).parse::<Repository>().unwrap_err().to_string();
    assert!(shown.len() < 400 && !shown.contains(['\u{1b}', '\n']), "{shown}");
}

proptest! {
    #[test]
    fn any_text_is_refused_or_safe_as_a_file_name(text in any::<String>()) {
        if let Ok(repository) = text.parse::<Repository>() {
            prop_assert!(is_one_plain_component(&repository.to_file_name()));
        }
        if let Ok(tag) = text.parse::<Tag>() {
            prop_assert!(is_one_plain_component(tag.as_str()));
        }
        if let Ok(id) = text.parse::<UploadId>() {
            prop_assert!(is_one_plain_component(id.as_str()));
        }
    }

    #[test]
    fn text_made_of_dangerous_parts_is_refused_or_safe(parts in prop::collection::vec("[a/.+_A\\-\0%:]{0,3}", 0..6)) {
        let text = parts.concat();
        if let Ok(repository) = text.parse::<Repository>() {
            let name = repository.to_file_name();
            prop_assert!(is_one_plain_component(&name) && !name.starts_with('.'), "{name}");
            prop_assert_eq!(Repository::from_file_name(&name), Some(repository));
        }
        if let Ok(tag) = text.parse::<Tag>() {
            prop_assert!(is_one_plain_component(tag.as_str()) && !tag.as_str().starts_with('.'));
        }
    }

    #[test]
    fn what_the_specification_allows_is_accepted_and_keeps_its_own_folder(
        one in prop::collection::vec(PART, 1..4), other in prop::collection::vec(PART, 1..4),
    ) {
        let (one, other) = (one.join("/"), other.join("/"));
        let (a, b): (Repository, Repository) = (one.parse().unwrap(), other.parse().unwrap());
        prop_assert!(is_one_plain_component(&a.to_file_name()));
        prop_assert_eq!(one == other, a.to_file_name() == b.to_file_name());
        prop_assert_eq!(Repository::from_file_name(&a.to_file_name()), Some(a));
    }

    #[test]
    fn every_tag_of_the_specification_is_accepted(tag in "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}") {
        prop_assert!(tag.parse::<Tag>().is_ok());
    }
}
