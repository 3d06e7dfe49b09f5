//! What only the file has: restarts, damage, foreign bytes.

use std::fs;

use futures_util::StreamExt;

use super::*;

const TTL: Duration = Duration::from_secs(10);

fn key(part: &str) -> Key {
    Key::new("k", [part]).unwrap()
}

#[tokio::test]
async fn revisions_and_epochs_go_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let holder = Holder::new("a").unwrap();
    let mut last = 0;
    for round in 0..3 {
        let store = EmbeddedStore::open(folder.path(), TTL).await.unwrap();
        let revision = store.create(&key(&round.to_string()), Bytes::from_static(b"x")).await.unwrap();
        assert!(revision.0 > last, "{revision} after {last}");
        let lease = store.acquire(&key("lease"), &holder).await.unwrap().expect("a lease ends with its process");
        assert!(lease.epoch.0 > revision.0);
        last = lease.epoch.0;
        assert_eq!(store.list(&Prefix::All).await.unwrap().len(), round + 1);
    }
}

#[tokio::test]
async fn a_second_opening_is_refused_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let _store = EmbeddedStore::open(folder.path(), TTL).await.unwrap();
    let refused = EmbeddedStore::open(folder.path(), TTL).await.err().expect("one process at a time");
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
}

#[tokio::test]
async fn foreign_files_are_refused_and_left_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    for foreign in [b"".to_vec(), b"not a database".to_vec(), vec![0; 1 << 20], vec![0xA5; 1 << 20]] {
        fs::write(&path, &foreign).unwrap();
        let refused = EmbeddedStore::open(folder.path(), TTL).await.err().expect("foreign bytes");
        assert!(matches!(refused, StoreError::Unreadable { .. }), "{refused:?}");
        assert!(refused.to_string().contains(FILE_NAME), "{refused}");
        assert!(fs::read(&path).unwrap() == foreign);
    }
}

#[tokio::test]
async fn a_database_of_somebody_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(redb::Database::create(folder.path().join(FILE_NAME)).unwrap());
    let refused = EmbeddedStore::open(folder.path(), TTL).await.err().expect("no tables of ours");
    assert!(matches!(refused, StoreError::Unreadable { .. }), "{refused:?}");
}

#[tokio::test]
async fn damage_is_found_when_opening_or_is_in_no_page_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let value = Bytes::from(vec![7; 5000]);
    let store = EmbeddedStore::open(folder.path(), TTL).await.unwrap();
    for part in 0..20 {
        store.create(&key(&part.to_string()), value.clone()).await.unwrap();
    }
    drop(store);
    let whole = fs::read(&path).unwrap();
    let mut refused = 0;
    for at in (0..whole.len()).step_by(whole.len() / 64) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        match EmbeddedStore::open(folder.path(), TTL).await {
            Err(error) => {
                assert!(matches!(error, StoreError::Unreadable { .. }), "{error:?}");
                refused += 1;
            }
            Ok(store) => {
                let entries = store.list(&Prefix::All).await.unwrap();
                assert!(entries.len() == 20 && entries.iter().all(|entry| entry.value == value), "at {at}");
            }
        }
    }
    assert!(refused > 0, "no damage was found");
}

#[tokio::test]
async fn what_was_acknowledged_is_in_the_file_at_once() {
    let (folder, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = EmbeddedStore::open(folder.path(), TTL).await.unwrap();
    for part in 0..10 {
        let revision = store.create(&key(&part.to_string()), Bytes::from(vec![part; 3000])).await.unwrap();
        if part % 3 == 0 {
            store.update(&key(&part.to_string()), Bytes::new(), revision).await.unwrap();
        }
        // The file of a process that was killed now.
        fs::copy(folder.path().join(FILE_NAME), crashed.path().join(FILE_NAME)).unwrap();
        let left = EmbeddedStore::open(crashed.path(), TTL).await.unwrap();
        assert_eq!(left.list(&Prefix::All).await.unwrap(), store.list(&Prefix::All).await.unwrap());
    }
}

#[tokio::test]
async fn a_store_that_was_never_finished_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(FILE_NAME).with_extension("new"), b"half of a file").unwrap();
    EmbeddedStore::open(folder.path(), TTL).await.unwrap();
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let refused = EmbeddedStore::open(&folder.path().join("none"), TTL).await.err().expect("no folder");
    assert!(matches!(refused, StoreError::Io { .. }) && refused.to_string().contains("none"), "{refused}");
}

#[tokio::test]
async fn a_watcher_that_falls_behind_gets_a_snapshot_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path(), TTL).await.unwrap();
    let mut watch = store.watch(Prefix::All);
    assert_eq!(watch.next().await, Some(Event::Snapshot(vec![])));
    let mut revision = store.create(&key("a"), Bytes::new()).await.unwrap();
    for _ in 0..WATCHER_LAG_MAX {
        revision = store.update(&key("a"), Bytes::new(), revision).await.unwrap();
    }
    let now = Entry { key: key("a"), value: Bytes::new(), revision };
    assert_eq!(watch.next().await, Some(Event::Snapshot(vec![now])));
    store.delete(&key("a"), None).await.unwrap();
    assert!(matches!(watch.next().await, Some(Event::Deleted { .. })));
    drop(store);
    assert_eq!(watch.next().await, None);
}
