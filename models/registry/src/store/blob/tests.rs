//! Blobs as they are loaded, and files somebody put into the folder by hand.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::store::testing::{Fixture, repo};

use super::*;

const MODEL: &str = "models/m";

fn open(fixture: &Fixture, digest: Sha256Digest) -> Result<Blob, StoreError> {
    Ok(fixture.store.blob(&repo(MODEL), digest)?.expect("the repository has it"))
}

fn tamper(path: &Path, bytes: &[u8]) {
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_tampered_file_is_refused_with_its_name_and_both_digests() {
    let fixture = Fixture::new();
    let digest = fixture.upload(MODEL, b"good weights");
    let path = fixture.store.layout().blob(digest);
    for evil in [&b"evil weights"[..], b"good weight", b"good weights and more", b""] {
        tamper(&path, evil);
        let refused = open(&fixture, digest).unwrap().map_verified().unwrap_err();
        assert!(matches!(refused, StoreError::DigestMismatch { .. }), "{refused}");
        let told = refused.to_string();
        for part in [path.display().to_string(), digest.to_string(), Sha256Digest::of(evil).to_string()] {
            assert!(told.contains(&part), "{told}");
        }
    }
    fixture.upload(MODEL, b"good weights");
    assert_eq!(&open(&fixture, digest).unwrap().map_verified().unwrap()[..], b"good weights", "a push heals it");
}

#[test]
fn what_was_opened_is_what_is_mapped_whatever_happens_to_the_name() {
    let fixture = Fixture::new();
    let digest = fixture.upload(MODEL, b"good weights");
    let path = fixture.store.layout().blob(digest);
    let blob = open(&fixture, digest).unwrap();
    let mapped = blob.map_verified().unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"evil").unwrap();
    assert_eq!(&blob.map_verified().unwrap()[..], b"good weights");
    drop(blob);
    assert_eq!(&mapped[..], b"good weights", "the mapping outlives the file");
}

#[test]
fn links_folders_and_pipes_in_place_of_a_blob_are_refused() {
    let fixture = Fixture::new();
    let digest = fixture.upload(MODEL, b"good weights");
    let path = fixture.store.layout().blob(digest);
    let elsewhere = fixture.dir.path().join("elsewhere");
    fs::write(&elsewhere, b"good weights").unwrap();
    fs::remove_file(&path).unwrap();
    symlink(&elsewhere, &path).unwrap();
    let refused = open(&fixture, digest).unwrap_err();
    assert!(refused.to_string().contains("symbolic link"), "{refused}");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(open(&fixture, digest), Err(StoreError::Damaged { .. })));
    fs::remove_dir(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    assert!(matches!(open(&fixture, digest), Err(StoreError::Damaged { .. })), "and nobody waits for a writer");
}

#[test]
fn a_blob_is_seen_only_through_repositories_it_was_brought_to() {
    let fixture = Fixture::new();
    let (one, other) = (repo(MODEL), repo("models/other"));
    let digest = fixture.upload(MODEL, b"weights");
    assert!(fixture.store.blob(&other, digest).unwrap().is_none());
    assert_eq!(fixture.store.has_blob(&other, digest).unwrap(), None);
    assert_eq!(fixture.store.mount_blob(&repo("models/none"), digest, &other).unwrap(), None);
    assert_eq!(fixture.store.mount_blob(&one, digest, &other).unwrap(), Some(7));
    assert_eq!(fixture.store.has_blob(&other, digest).unwrap(), Some(7));
    fixture.store.delete_blob(&one, digest).unwrap();
    assert_eq!(fixture.store.has_blob(&one, digest).unwrap(), None);
    assert!(matches!(fixture.store.delete_blob(&one, digest), Err(StoreError::BlobUnknown { .. })));
    assert!(fixture.store.blob(&other, digest).unwrap().is_some());
}

#[test]
fn a_blob_that_was_taken_away_by_hand_is_not_there() {
    let fixture = Fixture::new();
    let digest = fixture.upload(MODEL, b"weights");
    fs::remove_file(fixture.store.layout().blob(digest)).unwrap();
    assert_eq!(fixture.store.has_blob(&repo(MODEL), digest).unwrap(), None);
    assert!(fixture.store.blob(&repo(MODEL), digest).unwrap().is_none());
}

#[test]
fn ranges_are_read_where_they_are() {
    let fixture = Fixture::new();
    let digest = fixture.upload(MODEL, b"0123456789");
    let blob = open(&fixture, digest).unwrap();
    let mut buffer = [0; 4];
    assert_eq!((blob.read_at(8, &mut buffer).unwrap(), &buffer[..2]), (2, &b"89"[..]));
    assert_eq!((blob.read_at(10, &mut buffer).unwrap(), blob.size(), blob.digest()), (0, 10, digest));
    let mut whole = String::new();
    blob.into_file().read_to_string(&mut whole).unwrap();
    assert_eq!(whole, "0123456789");
}
