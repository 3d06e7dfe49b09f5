//! Uploads: pieces, restarts, limits, and everything that can be wrong with them.

use crate::store::testing::{Fixture, repo};
use crate::store::{StoreOptions, disk};

use super::*;

const MODEL: &str = "models/m";

fn begin(fixture: &Fixture) -> Upload {
    fixture.store.begin_upload(&repo(MODEL)).unwrap()
}

fn resume(fixture: &Fixture, id: &UploadId) -> Result<Upload, StoreError> {
    fixture.store.resume_upload(&repo(MODEL), id)
}

fn nothing_is_left(fixture: &Fixture) {
    assert_eq!(fixture.used(), 0);
    assert_eq!(fixture.store.layout().all_blobs().unwrap(), []);
    assert!(disk::names(&fixture.store.layout().uploads(&repo(MODEL))).unwrap().is_empty());
    assert!(disk::names(&fixture.store.layout().staging()).unwrap().is_empty());
}

#[test]
fn pieces_from_several_writers_and_a_restart_make_one_blob() {
    let mut fixture = Fixture::new();
    let mut upload = begin(&fixture);
    upload.write(b"one ").unwrap();
    let id = upload.id().clone();
    drop(upload);
    let mut upload = resume(&fixture, &id).unwrap();
    assert_eq!(upload.len(), 4);
    upload.write(b"two ").unwrap();
    drop(upload);
    fixture = fixture.reopened();
    assert_eq!(fixture.used(), 8, "what lies there unfinished counts after a restart too");
    let mut upload = resume(&fixture, &id).unwrap();
    assert_eq!(upload.len(), 8);
    upload.write(b"three").unwrap();
    let info = upload.finish(Sha256Digest::of(b"one two three")).unwrap();
    assert_eq!(info.size, 13);
    let blob = fixture.store.blob(&repo(MODEL), info.digest).unwrap().unwrap();
    assert_eq!(&blob.map_verified().unwrap()[..], b"one two three");
    assert_eq!(fixture.used(), 13);
    assert!(matches!(resume(&fixture, &id), Err(StoreError::UploadUnknown { .. })), "it is finished");
}

#[test]
fn an_empty_blob_is_a_blob() {
    let fixture = Fixture::new();
    let digest = fixture.upload(MODEL, b"");
    assert_eq!(fixture.store.has_blob(&repo(MODEL), digest).unwrap(), Some(0));
    assert!(fixture.store.blob(&repo(MODEL), digest).unwrap().unwrap().map_verified().unwrap().is_empty());
}

#[test]
fn a_wrong_digest_is_told_and_leaves_nothing() {
    let fixture = Fixture::new();
    let mut upload = begin(&fixture);
    upload.write(b"truncat").unwrap();
    let id = upload.id().clone();
    let expected = Sha256Digest::of(b"truncated");
    let refused = upload.finish(expected).unwrap_err();
    let StoreError::DigestMismatch { expected: told, found, .. } = &refused else { panic!("{refused}") };
    assert_eq!((*told, *found), (expected, Sha256Digest::of(b"truncat")));
    assert!(refused.to_string().contains("of 7 bytes"), "{refused}");
    assert!(matches!(resume(&fixture, &id), Err(StoreError::UploadUnknown { .. })));
    nothing_is_left(&fixture);
}

#[test]
fn one_writer_at_a_time_and_only_through_its_own_repository() {
    let fixture = Fixture::new();
    let upload = begin(&fixture);
    let id = upload.id().clone();
    assert!(matches!(resume(&fixture, &id), Err(StoreError::UploadBusy { .. })));
    drop(upload);
    let other = fixture.store.resume_upload(&repo("models/other"), &id);
    assert!(matches!(other, Err(StoreError::UploadUnknown { .. })));
    resume(&fixture, &id).unwrap().cancel().unwrap();
    assert!(matches!(resume(&fixture, &id), Err(StoreError::UploadUnknown { .. })));
    nothing_is_left(&fixture);
}

#[test]
fn the_quota_refuses_before_and_while_writing_and_says_the_numbers() {
    let fixture = Fixture::with(StoreOptions { quota_bytes: 100, ..StoreOptions::default() });
    fixture.upload(MODEL, &[1; 40]);
    let mut upload = begin(&fixture);
    let refused = upload.reserve(61).unwrap_err();
    assert!(matches!(refused, StoreError::QuotaExceeded { limit: 100, used: 40, needed: 61 }), "{refused}");
    assert_eq!(
        refused.to_string(),
        "the store is full: 61 bytes more are needed, 40 bytes of 100 bytes are in use; remove models or raise the limit"
    );
    upload.write(&[2; 50]).unwrap();
    let refused = upload.write(&[2; 11]).unwrap_err();
    assert!(matches!(refused, StoreError::QuotaExceeded { used: 90, needed: 11, .. }), "{refused}");
    assert_eq!(upload.len(), 50, "the refused piece is not there");
    upload.write(&[2; 10]).unwrap();
    upload.finish(Sha256Digest::of(&[2; 60])).unwrap();
    assert_eq!(fixture.used(), 100);
}

#[test]
fn what_was_set_aside_is_given_back_when_the_writer_leaves() {
    let fixture = Fixture::with(StoreOptions { quota_bytes: 100, ..StoreOptions::default() });
    let mut upload = begin(&fixture);
    upload.reserve(80).unwrap();
    upload.write(&[0; 10]).unwrap();
    assert_eq!(fixture.used(), 80);
    drop(upload);
    assert_eq!(fixture.used(), 10);
}

#[test]
fn the_same_bytes_twice_count_once() {
    let fixture = Fixture::new();
    fixture.upload(MODEL, &[1; 40]);
    fixture.upload("models/other", &[1; 40]);
    assert_eq!(fixture.used(), 40);
    assert_eq!(fixture.reopened().used(), 40);
}

#[test]
fn more_than_the_disk_has_is_refused_as_that() {
    let fixture = Fixture::with(StoreOptions { quota_bytes: u64::MAX, ..StoreOptions::default() });
    let refused = begin(&fixture).reserve(1 << 60).unwrap_err();
    assert!(matches!(refused, StoreError::DiskFull { needed, .. } if needed == 1 << 60), "{refused}");
    let refused = begin(&fixture).reserve(u64::MAX).unwrap_err();
    assert!(matches!(refused, StoreError::DiskFull { .. }), "{refused}");
}

#[test]
fn a_failed_write_is_cut_off_when_the_upload_is_resumed() {
    let fixture = Fixture::new();
    let mut upload = begin(&fixture);
    upload.write(b"whole").unwrap();
    let id = upload.id().clone();
    drop(upload);
    let path = fixture.store.layout().upload(&repo(MODEL), &id);
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"and a torn rest").unwrap();
    let upload = resume(&fixture, &id).unwrap();
    upload.finish(Sha256Digest::of(b"whole")).unwrap();
}

#[test]
fn a_crash_between_sealing_and_renaming_leaves_a_resumable_upload() {
    let mut fixture = Fixture::new();
    let mut upload = begin(&fixture);
    upload.write(b"weights").unwrap();
    upload.seal().unwrap();
    let id = upload.id().clone();
    drop(upload);
    fixture = fixture.reopened();
    let mut upload = resume(&fixture, &id).unwrap();
    upload.write(b"!").unwrap();
    upload.finish(Sha256Digest::of(b"weights!")).unwrap();
}

#[test]
fn an_upload_whose_file_was_taken_away_is_unknown_and_counts_no_more() {
    let fixture = Fixture::new();
    let mut upload = begin(&fixture);
    upload.write(b"weights").unwrap();
    let id = upload.id().clone();
    drop(upload);
    fs::remove_file(fixture.store.layout().upload(&repo(MODEL), &id)).unwrap();
    assert!(matches!(resume(&fixture, &id), Err(StoreError::UploadUnknown { .. })));
    assert_eq!(fixture.used(), 0);
}

#[test]
fn too_many_uploads_are_refused_until_some_expire() {
    let fixture = Fixture::new();
    let id = begin(&fixture).id().clone();
    for _ in 1..UPLOADS_MAX {
        begin(&fixture);
    }
    let refused = fixture.store.begin_upload(&repo(MODEL)).unwrap_err();
    assert!(matches!(refused, StoreError::TooMany { limit: UPLOADS_MAX, .. }), "{refused}");
    fixture.age(&fixture.store.layout().upload(&repo(MODEL), &id));
    begin(&fixture);
    assert!(matches!(resume(&fixture, &id), Err(StoreError::UploadUnknown { .. })), "the old one made room");
}

#[test]
fn garbage_collection_ends_old_uploads_but_none_that_is_written_to() {
    let mut fixture = Fixture::without_grace();
    let mut upload = begin(&fixture);
    upload.write(&[0; 10]).unwrap();
    let old = upload.id().clone();
    drop(upload);
    let mut busy = begin(&fixture);
    busy.write(b"busy").unwrap();
    assert_eq!(fixture.store.collect_garbage().unwrap().uploads, 1);
    assert!(matches!(resume(&fixture, &old), Err(StoreError::UploadUnknown { .. })));
    assert_eq!(fixture.used(), 4);
    busy.finish(Sha256Digest::of(b"busy")).unwrap();

    let mut left = begin(&fixture);
    left.write(&[0; 10]).unwrap();
    drop(left);
    fixture = fixture.reopened();
    assert_eq!(fixture.store.collect_garbage().unwrap().uploads, 1, "those from before a restart expire too");
    assert_eq!(fixture.used(), 0);
}
