//! Garbage collection while others upload, put, mount, ask, move and delete. `README.md` beside `src` has the argument;
//! this tries to break it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use headland_package::Sha256Digest;
use headland_registry::store::{Reference, Repository, Store, StoreError, StoreOptions};
use serde_json::json;

const PUSHERS: usize = 3;
const PUSHES: usize = 40;
const COLLECTORS: usize = 2;
const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

fn upload(store: &Store, repository: &Repository, bytes: &[u8]) -> Result<Sha256Digest, StoreError> {
    let mut upload = store.begin_upload(repository)?;
    for piece in bytes.chunks(1000) {
        upload.write(piece)?;
    }
    Ok(upload.finish(Sha256Digest::of(bytes))?.digest)
}

/// Layers are shared between pushes and pushers, so that one's garbage is another's part.
fn layer(number: usize) -> Vec<u8> {
    vec![u8::try_from(number % 7).unwrap(); 5_000 + number % 7]
}

fn document(pusher: usize, number: usize, layers: &[Vec<u8>]) -> Vec<u8> {
    let descriptor = |bytes: &Vec<u8>| json!({ "mediaType": "x/y", "digest": Sha256Digest::of(bytes).to_string(), "size": bytes.len() });
    let layers: Vec<_> = layers.iter().map(descriptor).collect();
    let note = format!("{pusher}.{number}");
    json!({ "schemaVersion": 2, "config": layers[0], "layers": layers, "annotations": { "note": note } })
        .to_string()
        .into()
}

/// Brings each blob as clients do: ask, mount from where it may be, else upload.
fn bring(store: &Store, to: &Repository, from: &Repository, bytes: &[u8]) -> Result<(), StoreError> {
    let digest = Sha256Digest::of(bytes);
    if store.has_blob(to, digest)?.is_none() && store.mount_blob(from, digest, to)?.is_none() {
        upload(store, to, bytes)?;
    }
    Ok(())
}

/// One accepted manifest must be whole whenever one looks, until this deletes it.
fn assert_whole(store: &Store, repository: &Repository, digest: Sha256Digest, layers: &[Vec<u8>]) {
    let manifest =
        store.manifest(repository, &Reference::Digest(digest)).unwrap().expect("an accepted manifest is there");
    assert_eq!(manifest.info.digest, digest);
    for bytes in layers {
        let blob = store.blob(repository, Sha256Digest::of(bytes)).unwrap().expect("a named blob is there");
        assert_eq!(&blob.map_verified().unwrap()[..], &bytes[..]);
    }
}

/// Pushes, checks and deletes; how often a manifest was refused because a part had been collected.
fn push_many(store: &Store, pusher: usize, collectors: &[Sender<()>]) -> usize {
    let own: Repository = format!("models/m{pusher}").parse().unwrap();
    let other: Repository = format!("models/m{}", (pusher + 1) % PUSHERS).parse().unwrap();
    let mut refused = 0;
    for number in 0..PUSHES {
        let layers = [layer(number), layer(number + pusher + 1)];
        let bytes = document(pusher, number, &layers);
        let digest = loop {
            // From here on the collectors are at work.
            collectors.iter().for_each(|collector| collector.send(()).unwrap());
            layers.iter().for_each(|bytes| bring(store, &own, &other, bytes).unwrap());
            match store.put_manifest(&own, &"latest".parse().unwrap(), IMAGE, &bytes) {
                Ok(info) => break info.digest,
                Err(StoreError::ManifestBlobUnknown { .. }) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        };
        assert_whole(store, &own, digest, &layers);
        thread::yield_now();
        assert_whole(store, &own, digest, &layers);
        if number % 3 != 0 {
            store.delete_manifest(&own, digest).unwrap();
        }
    }
    refused
}

/// Collects whenever a push begins, until nobody pushes any more; how often, and how many blobs went.
fn collect_along(store: &Store, pushes: &Receiver<()>) -> (usize, usize) {
    pushes.iter().fold((0, 0), |(runs, blobs), ()| (runs + 1, blobs + store.collect_garbage().unwrap().blobs))
}

/// Pushers against collectors: refused puts, collections, blobs collected.
fn race(grace: Duration) -> (usize, usize, usize) {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { grace, ..StoreOptions::default() };
    let store = Store::open(dir.path(), options).unwrap();
    let (refused, collections) = thread::scope(|scope| {
        let (store, (senders, receivers)) =
            (&store, (0..COLLECTORS).map(|_| channel()).unzip::<_, _, Vec<_>, Vec<_>>());
        let pushers: Vec<_> = (0..PUSHERS)
            .map(|pusher| (pusher, senders.clone()))
            .map(|(pusher, senders)| scope.spawn(move || push_many(store, pusher, &senders)))
            .collect();
        drop(senders);
        let collectors: Vec<_> =
            receivers.into_iter().map(|pushes| scope.spawn(move || collect_along(store, &pushes))).collect();
        let refused = pushers.into_iter().map(|pusher| pusher.join().unwrap()).sum();
        (refused, collectors.into_iter().map(|collector| collector.join().unwrap()).collect::<Vec<_>>())
    });
    // The bytes counted along the way are the bytes that are there.
    let used = store.usage().unwrap().used_bytes;
    drop(store);
    assert_eq!(Store::open(dir.path(), options).unwrap().usage().unwrap().used_bytes, used);
    let (runs, collected) = collections.into_iter().fold((0, 0), |sum, (runs, blobs)| (sum.0 + runs, sum.1 + blobs));
    (refused, runs, collected)
}

#[test]
fn without_any_grace_an_accepted_manifest_is_whole_all_the_same() {
    let (refused, runs, collected) = race(Duration::ZERO);
    println!("{refused} manifests refused for want of a part, {runs} collections, {collected} blobs collected");
    assert!(runs > 0 && collected > 0, "the collector took part");
}

#[test]
fn with_grace_no_push_is_ever_disturbed() {
    let (refused, runs, collected) = race(Duration::from_secs(3600));
    println!("{refused} manifests refused for want of a part, {runs} collections, {collected} blobs collected");
    assert_eq!((refused, collected), (0, 0));
    assert!(runs > 0);
}
