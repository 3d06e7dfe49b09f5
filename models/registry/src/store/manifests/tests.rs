//! Manifests, tags and referrers of repositories.

use std::fs;

use serde_json::json;

use crate::store::StoreOptions;
use crate::store::testing::{Fixture, IMAGE, descriptor, descriptor_of, image, referrer, repo, tag};

use super::*;

const MODEL: &str = "models/m";

fn by_tag(fixture: &Fixture, name: &str) -> Option<Manifest> {
    fixture.store.manifest(&repo(MODEL), &Reference::Tag(tag(name))).unwrap()
}

fn by_digest(fixture: &Fixture, digest: Sha256Digest) -> Option<Manifest> {
    fixture.store.manifest(&repo(MODEL), &Reference::Digest(digest)).unwrap()
}

fn entries(fixture: &Fixture) -> Vec<Sha256Digest> {
    digests(&fixture.store.layout().manifests(&repo(MODEL))).unwrap()
}

#[test]
fn a_manifest_is_found_by_tag_and_digest_after_a_restart() {
    let mut fixture = Fixture::new();
    let info = fixture.push(MODEL, "1", &["weights", "tokenizer"]);
    fixture = fixture.reopened();
    let found = by_tag(&fixture, "1").unwrap();
    assert_eq!(found.info, info);
    assert_eq!(found.bytes, image(&["weights", "tokenizer"]).to_string().as_bytes());
    assert_eq!(by_digest(&fixture, info.digest).unwrap().info, info);
    assert!(by_tag(&fixture, "2").is_none());
    assert!(fixture.store.manifest(&repo("models/other"), &Reference::Digest(info.digest)).unwrap().is_none());
}

#[test]
fn a_missing_part_is_named_and_nothing_appears() {
    let fixture = Fixture::new();
    fixture.upload(MODEL, b"config");
    fixture.upload("models/other", b"weights");
    let used = fixture.used();
    let refused = fixture.put(MODEL, "1", &image(&["weights"])).unwrap_err();
    let digest = Sha256Digest::of(b"weights");
    assert!(matches!(refused, StoreError::ManifestBlobUnknown { digest: told, .. } if told == digest), "{refused}");
    assert!(by_tag(&fixture, "1").is_none());
    assert_eq!((entries(&fixture), fixture.used()), (vec![], used));
    assert!(fs::read_dir(fixture.store.layout().staging()).unwrap().next().is_none());
}

#[test]
fn a_part_of_another_size_than_stated_is_refused() {
    let fixture = Fixture::new();
    for content in ["config", "weights"] {
        fixture.upload(MODEL, content.as_bytes());
    }
    let mut document = image(&["weights"]);
    document["layers"][0]["size"] = 8.into();
    let refused = fixture.put(MODEL, "1", &document).unwrap_err();
    assert!(refused.to_string().contains("has 8 bytes, and it has 7"), "{refused}");
    assert_eq!(entries(&fixture), []);
}

#[test]
fn a_digest_reference_must_be_the_manifests_own() {
    let fixture = Fixture::new();
    fixture.upload(MODEL, b"config");
    let refused = fixture.put(MODEL, &Sha256Digest::of(b"x").to_string(), &image(&[])).unwrap_err();
    assert!(matches!(refused, StoreError::DigestMismatch { .. }), "{refused}");
    let digest = Sha256Digest::of(image(&[]).to_string().as_bytes());
    fixture.put(MODEL, &digest.to_string(), &image(&[])).unwrap();
    assert_eq!(fixture.store.tags(&repo(MODEL), None, 10).unwrap(), Some(vec![]));
}

#[test]
fn a_manifest_over_the_quota_is_refused_and_leaves_the_tag_where_it_was() {
    let layers = ["weights"];
    let len = image(&layers).to_string().len() as u64;
    let fixture = Fixture::with(StoreOptions { quota_bytes: 2 * len + 13, ..StoreOptions::default() });
    let first = fixture.push(MODEL, "1", &layers);
    let mut second = image(&layers);
    second["annotations"] = json!({ "note": "a little more" });
    let refused = fixture.put(MODEL, "1", &second).unwrap_err();
    assert!(matches!(refused, StoreError::QuotaExceeded { .. }), "{refused}");
    assert_eq!(by_tag(&fixture, "1").unwrap().info, first);
    fixture.put(MODEL, "2", &image(&layers)).unwrap();
    assert_eq!(fixture.used(), len + 13, "the same manifest counts once");
}

#[test]
fn an_index_needs_its_manifests_in_the_same_repository() {
    let fixture = Fixture::new();
    let part = fixture.push(MODEL, "1", &["weights"]);
    let index = json!({ "schemaVersion": 2, "manifests": [descriptor_of(&part)] });
    fixture.put(MODEL, "all", &index).unwrap();
    let refused = fixture.put("models/other", "all", &index).unwrap_err();
    assert!(matches!(refused, StoreError::ManifestBlobUnknown { what: "manifest", .. }), "{refused}");
    let disguised = json!({ "schemaVersion": 2, "manifests": [descriptor("weights")] });
    assert!(fixture.put(MODEL, "all", &disguised).is_err(), "a blob is no manifest");
}

#[test]
fn referrers_are_listed_even_before_their_subject_comes_and_by_type() {
    let mut fixture = Fixture::new();
    fixture.upload(MODEL, b"config");
    let subject = Sha256Digest::of(image(&["weights"]).to_string().as_bytes());
    let about = json!({ "mediaType": IMAGE, "digest": subject.to_string(), "size": 1 });
    let signature = fixture.put(MODEL, "sig", &referrer(about.clone(), "a/signature")).unwrap();
    assert_eq!(signature.subject, Some(subject));
    fixture.put(MODEL, "bom", &referrer(about, "a/bom")).unwrap();
    assert_eq!(fixture.push(MODEL, "1", &["weights"]).digest, subject);
    fixture = fixture.reopened();
    let list = |wanted| fixture.store.referrers(&repo(MODEL), subject, wanted).unwrap();
    assert_eq!((list(None).len(), list(Some("a/signature"))), (2, vec![signature.clone()]));
    assert!(fixture.store.referrers(&repo("models/other"), subject, None).unwrap().is_empty());
    fixture.store.delete_manifest(&repo(MODEL), signature.digest).unwrap();
    assert_eq!(list(None).len(), 1);
}

#[test]
fn a_referrers_entry_without_its_manifest_shows_nothing_and_is_swept() {
    let fixture = Fixture::new();
    let info = fixture.push(MODEL, "1", &[]);
    let layout = fixture.store.layout();
    let entry = layout.referrer(&repo(MODEL), info.digest, Sha256Digest::of(b"crashed before its manifest"));
    fs::create_dir(entry.parent().unwrap()).unwrap();
    fs::write(&entry, "").unwrap();
    assert!(fixture.store.referrers(&repo(MODEL), info.digest, None).unwrap().is_empty());
    fixture.store.collect_garbage().unwrap();
    assert!(!entry.exists() && !entry.parent().unwrap().exists());
}

#[test]
fn too_many_referrers_of_one_subject_are_refused() {
    let fixture = Fixture::new();
    let subject = descriptor_of(&fixture.push(MODEL, "1", &[]));
    let folder = fixture.store.layout().referrers(&repo(MODEL), Sha256Digest::of(image(&[]).to_string().as_bytes()));
    fs::create_dir(&folder).unwrap();
    for number in 0..REFERRERS_MAX {
        fs::write(folder.join(number.to_string()), "").unwrap();
    }
    let refused = fixture.put(MODEL, "sig", &referrer(subject, "a/signature")).unwrap_err();
    assert!(matches!(refused, StoreError::TooMany { limit: REFERRERS_MAX, .. }), "{refused}");
    assert_eq!(entries(&fixture).len(), 1);
}

#[test]
fn tags_move_in_one_step_and_only_to_manifests_that_are_there() {
    let fixture = Fixture::new();
    let (one, two) = (fixture.push(MODEL, "1", &["a"]), fixture.push(MODEL, "2", &["b"]));
    let stable = tag("stable");
    fixture.store.move_tag(&repo(MODEL), &stable, one.digest).unwrap();
    assert_eq!(by_tag(&fixture, "stable").unwrap().info, one);
    fixture.store.move_tag(&repo(MODEL), &stable, two.digest).unwrap();
    assert_eq!(by_tag(&fixture, "stable").unwrap().info, two);
    let refused = fixture.store.move_tag(&repo(MODEL), &stable, Sha256Digest::of(b"x")).unwrap_err();
    assert!(matches!(refused, StoreError::ManifestUnknown { .. }), "{refused}");
    assert_eq!(fixture.store.tag(&repo(MODEL), &stable).unwrap(), Some(two.digest));
    fixture.store.delete_tag(&repo(MODEL), &stable).unwrap();
    assert!(matches!(fixture.store.delete_tag(&repo(MODEL), &stable), Err(StoreError::TagUnknown { .. })));
    assert!(by_tag(&fixture, "2").is_some());
}

#[test]
fn lists_come_in_order_and_in_pages() {
    let fixture = Fixture::new();
    fixture.push(MODEL, "b", &[]);
    for name in ["a", "C", "c", "10", "2"] {
        fixture.put(MODEL, name, &image(&[])).unwrap();
    }
    fixture.push("apps/x", "1", &[]);
    fixture.upload("models/only-uploaded", b"blob");
    let tags = |after, limit| {
        let page = fixture.store.tags(&repo(MODEL), after, limit).unwrap().unwrap();
        page.iter().map(|tag| tag.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(tags(None, 100), ["10", "2", "C", "a", "b", "c"]);
    assert_eq!(tags(Some("2"), 2), ["C", "a"]);
    assert_eq!(tags(Some("no/tag"), 2), Vec::<String>::new());
    assert_eq!(tags(None, 0), Vec::<String>::new());
    assert_eq!(fixture.store.tags(&repo("models/only-uploaded"), None, 9).unwrap(), None);
    let all = fixture.store.repositories(None, 10).unwrap();
    assert_eq!(all, [repo("apps/x"), repo(MODEL)]);
    assert_eq!(fixture.store.repositories(Some("apps/x"), 10).unwrap(), [repo(MODEL)]);
    assert_eq!(fixture.store.repositories(None, 1).unwrap(), [repo("apps/x")]);
}

#[test]
fn deleting_a_manifest_takes_its_tags_and_leaves_other_manifests() {
    let fixture = Fixture::new();
    let (one, two) = (fixture.push(MODEL, "1", &["a"]), fixture.push(MODEL, "2", &["b"]));
    fixture.store.move_tag(&repo(MODEL), &tag("stable"), one.digest).unwrap();
    fixture.store.delete_manifest(&repo(MODEL), one.digest).unwrap();
    assert!(by_digest(&fixture, one.digest).is_none());
    assert_eq!(fixture.store.tags(&repo(MODEL), None, 10).unwrap(), Some(vec![tag("2")]));
    assert_eq!(by_tag(&fixture, "2").unwrap().info, two);
    let again = fixture.store.delete_manifest(&repo(MODEL), one.digest);
    assert!(matches!(again, Err(StoreError::ManifestUnknown { .. })));
}

#[test]
fn a_blob_that_a_manifest_needs_cannot_be_deleted() {
    let fixture = Fixture::new();
    let info = fixture.push(MODEL, "1", &["weights"]);
    let digest = Sha256Digest::of(b"weights");
    let refused = fixture.store.delete_blob(&repo(MODEL), digest).unwrap_err();
    assert!(matches!(refused, StoreError::BlobInUse { manifest, .. } if manifest == info.digest), "{refused}");
    fixture.store.delete_manifest(&repo(MODEL), info.digest).unwrap();
    fixture.store.delete_blob(&repo(MODEL), digest).unwrap();
}

#[test]
fn damaged_manifests_and_tags_are_told_and_can_be_deleted() {
    let fixture = Fixture::new();
    let info = fixture.push(MODEL, "1", &["weights"]);
    let path = fixture.store.layout().blob(info.digest);
    fs::remove_file(&path).unwrap();
    let refused = fixture.store.manifest(&repo(MODEL), &Reference::Digest(info.digest)).unwrap_err();
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
    for evil in [&b"{}"[..], &vec![b' '; MANIFEST_BYTES_MAX + 1]] {
        fs::write(&path, evil).unwrap();
        let refused = fixture.store.manifest(&repo(MODEL), &Reference::Tag(tag("1"))).unwrap_err().to_string();
        assert!(refused.contains(&path.display().to_string()), "{refused}");
    }
    let refused = fixture.store.collect_garbage().unwrap_err().to_string();
    assert!(
        refused.contains(&path.display().to_string()),
        "nothing is collected while a manifest is damaged: {refused}"
    );
    fixture.store.delete_manifest(&repo(MODEL), info.digest).unwrap();
    fixture.store.collect_garbage().unwrap();
    let info = fixture.push(MODEL, "1", &["weights"]);
    fs::write(fixture.store.layout().tag(&repo(MODEL), &tag("1")), "junk").unwrap();
    assert!(matches!(fixture.store.tag(&repo(MODEL), &tag("1")), Err(StoreError::Damaged { .. })));
    fixture.store.move_tag(&repo(MODEL), &tag("1"), info.digest).unwrap();
    assert_eq!(by_tag(&fixture, "1").unwrap().info, info);
}

#[test]
fn every_change_is_counted_and_no_reading() {
    let fixture = Fixture::new();
    let before = fixture.store.changes();
    let info = fixture.push(MODEL, "1", &["weights"]);
    let pushed = fixture.store.changes();
    assert!(pushed > before);
    assert!(by_tag(&fixture, "1").is_some());
    assert_eq!(fixture.store.changes(), pushed);
    fixture.store.move_tag(&repo(MODEL), &tag("stable"), info.digest).unwrap();
    let moved = fixture.store.changes();
    fixture.store.delete_tag(&repo(MODEL), &tag("stable")).unwrap();
    let untagged = fixture.store.changes();
    fixture.store.delete_manifest(&repo(MODEL), info.digest).unwrap();
    assert!(pushed < moved && moved < untagged && untagged < fixture.store.changes());
}
