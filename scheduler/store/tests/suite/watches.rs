//! Watches: a snapshot, then every change, in order, of the watched keys only.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use headland_control_store::{Entry, Event, Key, Mirror, Prefix, Revision};

use super::records::key;
use crate::support::{Place, eventually, soon};

async fn next(watch: &mut BoxStream<'static, Event>) -> Event {
    soon("an event", watch.next()).await.expect("a watch goes on")
}

fn value(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub async fn a_watch_begins_with_what_there_is(place: &dyn Place) {
    let store = place.open().await;
    assert_eq!(next(&mut store.watch(Prefix::All)).await, Event::Snapshot(vec![]));
    let mut entries = Vec::new();
    for name in ["a", "b", "c"] {
        let revision = store.create(&key(name), value(name)).await.unwrap();
        entries.push(Entry { key: key(name), value: value(name), revision });
    }
    store.delete(&entries.remove(1).key, None).await.unwrap();
    assert_eq!(next(&mut store.watch(Prefix::All)).await, Event::Snapshot(entries));
}

pub async fn a_watch_tells_every_change_in_order(place: &dyn Place) {
    let (writer, store) = (place.open().await, place.open().await);
    let mut watch = store.watch(Prefix::kind("test").unwrap());
    assert_eq!(next(&mut watch).await, Event::Snapshot(vec![]));
    let mut expected = Vec::new();
    for round in 0..40 {
        let key = key(&round.to_string());
        let revision = writer.create(&key, value("first")).await.unwrap();
        expected.push(Event::Put(Entry { key: key.clone(), value: value("first"), revision }));
        // A record of another kind is not told.
        writer.create(&Key::new("other", [round.to_string()]).unwrap(), Bytes::new()).await.unwrap();
        assert_eq!(next(&mut watch).await, expected[expected.len() - 1]);
        if round % 3 == 0 {
            let revision = writer.update(&key, value("second"), revision).await.unwrap();
            expected.push(Event::Put(Entry { key: key.clone(), value: value("second"), revision }));
            assert_eq!(next(&mut watch).await, expected[expected.len() - 1]);
        }
        if round % 4 == 0 {
            writer.delete(&key, None).await.unwrap();
            let event = next(&mut watch).await;
            assert!(
                matches!(&event, Event::Deleted { key: gone, revision: at } if *gone == key && *at > revision),
                "{event:?}"
            );
        }
    }
}

pub async fn keys_written_at_once_are_all_told_in_order(place: &dyn Place) {
    const KEYS: usize = 120;
    let (writer, store) = (place.open().await, place.open().await);
    let mut watch = store.watch(Prefix::All);
    assert_eq!(next(&mut watch).await, Event::Snapshot(vec![]));
    let mut tasks = tokio::task::JoinSet::new();
    for at in 0..KEYS {
        let writer = writer.clone();
        tasks.spawn(async move { writer.create(&key(&at.to_string()), Bytes::new()).await.unwrap() });
    }
    let (mut told, mut last) = (std::collections::HashSet::new(), Revision(0));
    while told.len() < KEYS {
        let Event::Put(entry) = next(&mut watch).await else { panic!("only writes happened") };
        assert!(entry.revision > last, "{} after {last}", entry.revision);
        last = entry.revision;
        assert!(told.insert(entry.key), "told twice");
    }
    assert_eq!(tasks.join_all().await.len(), KEYS);
}

pub async fn a_watch_of_one_key_tells_that_key_only(place: &dyn Place) {
    let store = place.open().await;
    let (mine, longer) = (Key::new("desired", ["fra"]).unwrap(), Key::new("desired", ["fra", "2"]).unwrap());
    store.create(&longer, Bytes::new()).await.unwrap();
    let mut watch = store.watch(Prefix::Key(mine.clone()));
    assert_eq!(next(&mut watch).await, Event::Snapshot(vec![]));
    let longest = Key::new("desired", ["fra2"]).unwrap();
    store.create(&longest, Bytes::new()).await.unwrap();
    let revision = store.create(&mine, value("1")).await.unwrap();
    assert_eq!(next(&mut watch).await, Event::Put(Entry { key: mine.clone(), value: value("1"), revision }));
    // And one that begins when it is there.
    let snapshot = Event::Snapshot(vec![Entry { key: mine.clone(), value: value("1"), revision }]);
    let mut later = store.watch(Prefix::Key(mine.clone()));
    assert_eq!(next(&mut later).await, snapshot);
    let revision = store.update(&mine, value("2"), revision).await.unwrap();
    assert_eq!(next(&mut later).await, Event::Put(Entry { key: mine, value: value("2"), revision }));
}

pub async fn mirrors_that_begin_amid_writes_end_up_alike(place: &dyn Place) {
    const WATCHES: usize = 5;
    let (writer, store) = (place.open().await, place.open().await);
    let writing = tokio::spawn(async move {
        for round in 0_u32..200 {
            let key = key(&(round * 7 % 12).to_string());
            match writer.get(&key).await.unwrap() {
                Some(_) if round % 5 == 0 => writer.delete(&key, None).await.unwrap(),
                Some(entry) => drop(writer.update(&key, value(&round.to_string()), entry.revision).await.unwrap()),
                None => drop(writer.create(&key, value(&round.to_string())).await.unwrap()),
            }
            tokio::task::yield_now().await;
        }
    });
    let mut watches = Vec::new();
    for at in 0..WATCHES {
        let mut watch = store.watch(Prefix::All);
        let mut mirror = Mirror::default();
        mirror.apply(next(&mut watch).await);
        watches.push((watch, mirror));
        if at == WATCHES / 2 {
            tokio::task::yield_now().await;
        }
    }
    writing.await.unwrap();
    let expected = store.list(&Prefix::All).await.unwrap();
    for (mut watch, mut mirror) in watches {
        while !mirror.entries().eq(&expected) {
            mirror.apply(next(&mut watch).await);
        }
    }
}

pub async fn a_dropped_watch_disturbs_nobody(place: &dyn Place) {
    let store = place.open().await;
    let mut kept = store.watch(Prefix::All);
    next(&mut kept).await;
    for _ in 0..10 {
        next(&mut store.watch(Prefix::All)).await;
    }
    let revision = store.create(&key("a"), Bytes::new()).await.unwrap();
    let told = next(&mut kept).await;
    assert_eq!(told, Event::Put(Entry { key: key("a"), value: Bytes::new(), revision }));
    eventually("the record", || async { store.get(&key("a")).await.unwrap() }).await;
}
