//! What only a server process can do to a store: be away, come back, lose its disk, refuse us.

pub mod cluster;
pub mod connections;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use headland_control_store::{ControlStore, Event, Mirror, Prefix, StoreError};
use tokio::time::Instant;

use crate::suite::records::key;
use crate::support::{Nats, PATIENCE, eventually, options, soon};

/// Applies events until the mirror is what the store lists now.
async fn catches_up(
    watch: &mut BoxStream<'static, Event>,
    mirror: &mut Mirror,
    store: &dyn ControlStore,
) -> Vec<Event> {
    let mut told = Vec::new();
    let expected = eventually("a listing", || async { store.list(&Prefix::All).await.ok() }).await;
    while !(mirror.is_current() && mirror.entries().eq(&expected)) {
        let event = soon("an event", watch.next()).await.expect("a watch goes on");
        mirror.apply(event.clone());
        told.push(event);
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_catches_up_after_the_server_was_killed_and_goes_on_in_order() {
    let Some(mut place) = Nats::begin().await else { return };
    let (writer, store) = (place.store().await, place.store().await);
    let (mut watch, mut mirror) = (store.watch(Prefix::All), Mirror::default());
    writer.create(&key("kept"), Bytes::from_static(b"1")).await.unwrap();
    writer.create(&key("removed"), Bytes::from_static(b"1")).await.unwrap();
    catches_up(&mut watch, &mut mirror, &writer).await;

    for round in 0..3 {
        place.server.kill();
        let event = soon("the interruption", watch.next()).await.unwrap();
        assert!(matches!(event, Event::Interrupted { .. }), "{event:?}");
        mirror.apply(event);
        assert!(!mirror.is_current() && mirror.get(&key("kept")).is_some(), "what is known stays known");
        place.server.restart();
        // Whoever is back first writes while the other one may still be away.
        let added = key(&format!("round {round}"));
        eventually("a write", || async { writer.create(&added, Bytes::new()).await.ok() }).await;
        if round == 1 {
            writer.delete(&key("removed"), None).await.unwrap();
        }
        let told = catches_up(&mut watch, &mut mirror, &writer).await;
        assert!(told.iter().any(|event| matches!(event, Event::Snapshot(_))), "{told:?}");
        assert_eq!(mirror.get(&key("removed")).is_none(), round >= 1);
        // And after that every change, in order.
        for change in 0..10 {
            let revision = writer.create(&key(&format!("{round} {change}")), Bytes::new()).await.unwrap();
            let event = soon("a change", watch.next()).await.unwrap();
            assert!(matches!(&event, Event::Put(entry) if entry.revision == revision), "{event:?}");
            mirror.apply(event);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn increments_that_were_acknowledged_survive_kills() {
    let Some(mut place) = Nats::begin().await else { return };
    let counter = key("counter");
    place.store().await.create(&counter, Bytes::from_static(b"0")).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (store, counter) = (place.store().await, counter.clone());
        tasks.spawn(async move { count_up(&store, &counter, 40).await });
    }
    for _ in 0..3 {
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        place.server.kill();
        place.server.restart();
    }
    let counts = tasks.join_all().await;
    let acknowledged: u64 = counts.iter().map(|(acknowledged, _)| acknowledged).sum();
    let unknown: u64 = counts.iter().map(|(_, unknown)| unknown).sum();
    let entry = place.store().await.get(&counter).await.unwrap().unwrap();
    let count: u64 = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
    assert!((acknowledged..=acknowledged + unknown).contains(&count), "{count}, not {acknowledged} (+ {unknown})");
    assert_eq!(acknowledged, 160);
}

/// Counts until so many were acknowledged; says how many were, and of how many the outcome is not known.
async fn count_up(store: &dyn ControlStore, counter: &headland_control_store::Key, times: u64) -> (u64, u64) {
    let (mut acknowledged, mut unknown) = (0, 0);
    let deadline = Instant::now() + PATIENCE * 2;
    while acknowledged < times {
        assert!(Instant::now() < deadline, "{acknowledged} of {times} in time");
        let Ok(Some(entry)) = store.get(counter).await else { continue };
        let count: u64 = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
        match store.update(counter, (count + 1).to_string().into(), entry.revision).await {
            Ok(_) => acknowledged += 1,
            Err(StoreError::Unknown { .. }) => unknown += 1,
            Err(StoreError::Conflict { .. } | StoreError::Unavailable { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    (acknowledged, unknown)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_lost_its_disk_is_not_taken_for_an_empty_fleet() {
    let Some(mut place) = Nats::begin().await else { return };
    let store = place.store().await;
    store.create(&key("a"), Bytes::new()).await.unwrap();
    let mut watch = store.watch(Prefix::All);
    assert!(matches!(soon("a snapshot", watch.next()).await, Some(Event::Snapshot(entries)) if entries.len() == 1));
    place.server.kill();
    place.server.wipe();
    place.server.restart();
    eventually("the connection", || async { store.is_connected().then_some(()) }).await;
    for refused in [
        store.get(&key("a")).await.map(drop),
        store.list(&Prefix::All).await.map(drop),
        store.create(&key("b"), Bytes::new()).await.map(drop),
    ] {
        let error = refused.unwrap_err();
        assert!(matches!(&error, StoreError::Misconfigured { what, .. } if what.contains("headland-state")), "{error}");
    }
    let event = soon("the interruption", watch.next()).await.unwrap();
    assert!(matches!(event, Event::Interrupted { .. }), "{event:?}");
    // Only an operator who starts a control anew says that it is to be so.
    place.store().await.create(&key("b"), Bytes::new()).await.unwrap();
    let mut mirror = Mirror::default();
    while mirror.get(&key("b")).is_none() {
        mirror.apply(soon("an event", watch.next()).await.unwrap());
    }
    assert_eq!(mirror.entries().count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_watch_reads_everything_again_by_itself() {
    let Some(place) = Nats::begin().await else { return };
    let every = std::time::Duration::from_millis(300);
    let refreshing = headland_control_store::NatsOptions { refresh_every: every, ..options(&place.server.url()) };
    let store = headland_control_store::NatsStore::connect(refreshing).await.unwrap();
    store.prepare().await.unwrap();
    let mut watch = store.watch(Prefix::All);
    store.create(&key("a"), Bytes::new()).await.unwrap();
    let mut snapshots = 0;
    while snapshots < 4 {
        match soon("a snapshot", watch.next()).await.unwrap() {
            Event::Snapshot(_) => snapshots += 1,
            Event::Put(_) => {}
            other => panic!("{other:?}"),
        }
    }
}
