//! What is garbage and what is not. `tests/store_gc.rs` has the races.

use std::fs;

use serde_json::json;

use crate::store::testing::{Fixture, descriptor_of, image, referrer, repo, tag};

use super::*;

const MODEL: &str = "models/m";

fn blobs(fixture: &Fixture) -> usize {
    fixture.store.layout().all_blobs().unwrap().len()
}

#[test]
fn what_a_manifest_names_stays_and_what_nothing_names_goes() {
    let mut fixture = Fixture::without_grace();
    fixture.push(MODEL, "1", &["weights"]);
    let orphan = fixture.upload(MODEL, b"nobody names this");
    let before = fixture.used();
    let report = fixture.store.collect_garbage().unwrap();
    assert_eq!(report, GcReport { blobs: 1, bytes: 17, links: 1, uploads: 0 });
    assert_eq!((fixture.used(), blobs(&fixture)), (before - 17, 3));
    assert_eq!(fixture.store.has_blob(&repo(MODEL), orphan).unwrap(), None);
    assert!(disk::names(&fixture.store.layout().trash()).unwrap().is_empty());
    assert_eq!(fixture.store.collect_garbage().unwrap(), GcReport::default());
    fixture = fixture.reopened();
    assert_eq!(fixture.used(), before - 17, "counting along and counting anew agree");
}

#[test]
fn indexes_and_referrers_keep_what_they_are_made_of() {
    let fixture = Fixture::without_grace();
    let part = fixture.push(MODEL, "1", &["weights"]);
    let index = json!({ "schemaVersion": 2, "manifests": [descriptor_of(&part)] });
    fixture.put(MODEL, "all", &index).unwrap();
    let signature = fixture.put(MODEL, "sig", &referrer(descriptor_of(&part), "a/signature")).unwrap();
    fixture.store.delete_tag(&repo(MODEL), &tag("sig")).unwrap();
    fixture.store.delete_manifest(&repo(MODEL), part.digest).unwrap();
    fixture.store.collect_garbage().unwrap();
    let layout = fixture.store.layout();
    assert!(layout.blob(part.digest).exists(), "the index names it");
    assert!(layout.blob(signature.digest).exists(), "a manifest without a tag is no garbage");
    assert!(!layout.blob(Sha256Digest::of(b"weights")).exists());
}

#[test]
fn a_deleted_model_goes_with_its_repository() {
    let fixture = Fixture::without_grace();
    let info = fixture.push(MODEL, "1", &["weights"]);
    fixture.push("models/other", "1", &["weights", "more"]);
    fixture.store.delete_manifest(&repo(MODEL), info.digest).unwrap();
    let report = fixture.store.collect_garbage().unwrap();
    assert_eq!((report.blobs, report.links), (1, 2), "the manifest goes; the other repository has the rest");
    assert!(!fixture.store.layout().repository(&repo(MODEL)).exists());
    fixture.push(MODEL, "1", &["weights"]);
}

#[test]
fn young_blobs_stay_and_asking_for_one_makes_it_young() {
    let fixture = Fixture::new();
    let (asked, forgotten) = (fixture.upload(MODEL, b"asked for"), fixture.upload(MODEL, b"forgotten"));
    assert_eq!(fixture.store.collect_garbage().unwrap(), GcReport::default());
    for digest in [asked, forgotten] {
        fixture.age(&fixture.store.layout().blob(digest));
        fixture.age(&fixture.store.layout().link(&repo(MODEL), digest));
    }
    fixture.store.has_blob(&repo(MODEL), asked).unwrap().unwrap();
    let report = fixture.store.collect_garbage().unwrap();
    assert_eq!((report.blobs, report.links), (1, 1));
    assert!(fixture.store.has_blob(&repo(MODEL), asked).unwrap().is_some());
    assert_eq!(fixture.store.has_blob(&repo(MODEL), forgotten).unwrap(), None);
}

#[test]
fn a_blob_used_elsewhere_stays_though_this_repository_let_it_go() {
    let fixture = Fixture::without_grace();
    fixture.push("models/other", "1", &["weights"]);
    let digest = fixture.upload(MODEL, b"weights");
    assert_eq!(fixture.store.collect_garbage().unwrap().links, 1);
    assert_eq!(fixture.store.has_blob(&repo(MODEL), digest).unwrap(), None);
    assert!(fixture.store.has_blob(&repo("models/other"), digest).unwrap().is_some());
}

#[test]
fn what_a_crash_left_in_the_trash_or_on_its_way_is_cleared_and_not_counted() {
    let mut fixture = Fixture::new();
    fixture.push(MODEL, "1", &["weights"]);
    let used = fixture.used();
    let (trash, staging) = (fixture.store.layout().trash(), fixture.store.layout().staging());
    fs::write(trash.join("x"), [0; 100]).unwrap();
    fs::write(staging.join("y"), [0; 100]).unwrap();
    fixture = fixture.reopened();
    assert_eq!(fixture.used(), used);
    assert!(disk::names(&trash).unwrap().is_empty() && disk::names(&staging).unwrap().is_empty());
}

#[test]
fn foreign_files_in_the_folders_are_left_alone() {
    let fixture = Fixture::without_grace();
    fixture.push(MODEL, "1", &[]);
    let layout = fixture.store.layout();
    let foreign =
        [layout.blobs().join("README"), layout.tags(&repo(MODEL)).join(".hidden"), layout.repositories().join("UPPER")];
    for path in &foreign {
        fs::write(path, "mine").unwrap();
    }
    fixture.store.collect_garbage().unwrap();
    assert_eq!(fixture.store.tags(&repo(MODEL), None, 9).unwrap(), Some(vec![tag("1")]));
    assert!(foreign.iter().all(|path| path.exists()));
    assert!(fixture.put(MODEL, "2", &image(&[])).is_ok());
}
