//! Records: compare-and-swap, keys, limits.

use std::sync::Arc;

use bytes::Bytes;
use headland_control_store::{ControlStore, Key, Prefix, Revision, StoreError, VALUE_BYTES_MAX};

use crate::support::Place;

pub fn key(part: &str) -> Key {
    Key::new("test", [part]).unwrap()
}

fn text(value: &str) -> Bytes {
    Bytes::copy_from_slice(value.as_bytes())
}

pub async fn a_record_is_created_read_replaced_and_removed(place: &dyn Place) {
    let store = place.open().await;
    let key = key("a");
    assert_eq!(store.get(&key).await.unwrap(), None);

    let first = store.create(&key, text("1")).await.unwrap();
    let entry = store.get(&key).await.unwrap().unwrap();
    assert_eq!((entry.key, entry.value, entry.revision), (key.clone(), text("1"), first));
    let error = store.create(&key, text("2")).await.unwrap_err();
    assert!(matches!(&error, StoreError::Exists { current, .. } if *current == first), "{error}");

    let second = store.update(&key, text("2"), first).await.unwrap();
    assert!(second > first);
    let error = store.update(&key, text("3"), first).await.unwrap_err();
    assert!(matches!(&error, StoreError::Conflict { current, .. } if *current == Some(second)), "{error}");
    assert_eq!(store.get(&key).await.unwrap().unwrap().value, text("2"));

    let error = store.delete(&key, Some(first)).await.unwrap_err();
    assert!(matches!(&error, StoreError::Conflict { current, .. } if *current == Some(second)), "{error}");
    store.delete(&key, Some(second)).await.unwrap();
    assert_eq!(store.get(&key).await.unwrap(), None);
    assert_eq!(store.list(&Prefix::All).await.unwrap(), []);
}

pub async fn what_is_not_there_is_not_replaced_and_is_removed_without_complaint(place: &dyn Place) {
    let store = place.open().await;
    for key in [key("never"), key("once")] {
        if key.as_str() == "test.once" {
            let revision = store.create(&key, text("1")).await.unwrap();
            store.delete(&key, None).await.unwrap();
            let error = store.update(&key, text("2"), revision).await.unwrap_err();
            assert!(matches!(&error, StoreError::Conflict { current: None, .. }), "{error}");
        }
        let error = store.update(&key, text("2"), Revision(4711)).await.unwrap_err();
        assert!(matches!(&error, StoreError::Conflict { current: None, .. }), "{error}");
        let error = store.delete(&key, Some(Revision(4711))).await.unwrap_err();
        assert!(matches!(&error, StoreError::Conflict { current: None, .. }), "{error}");
        store.delete(&key, None).await.unwrap();
        assert_eq!(store.get(&key).await.unwrap(), None);
    }
}

pub async fn a_removed_record_is_created_again_at_a_later_revision(place: &dyn Place) {
    let store = place.open().await;
    let mut last = Revision(0);
    for round in 0..4 {
        let revision = store.create(&key("a"), text(&round.to_string())).await.unwrap();
        assert!(revision > last);
        last = revision;
        store.delete(&key("a"), (round % 2 == 0).then_some(revision)).await.unwrap();
    }
}

pub async fn racing_increments_lose_none(place: &dyn Place) {
    const TASKS: u64 = 8;
    const EACH: u64 = 20;
    let counter = key("counter");
    place.open().await.create(&counter, text("0")).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..TASKS {
        let (store, counter) = (place.open().await, counter.clone());
        tasks.spawn(async move {
            for _ in 0..EACH {
                increment(&store, &counter).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let entry = place.open().await.get(&counter).await.unwrap().unwrap();
    assert_eq!(entry.value, text(&(TASKS * EACH).to_string()));
}

async fn increment(store: &Arc<dyn ControlStore>, counter: &Key) {
    loop {
        let entry = store.get(counter).await.unwrap().unwrap();
        let count: u64 = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
        match store.update(counter, text(&(count + 1).to_string()), entry.revision).await {
            Ok(_) => return,
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

pub async fn of_racing_creations_one_succeeds(place: &dyn Place) {
    for round in 0..5 {
        let key = key(&round.to_string());
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..8 {
            let (store, key) = (place.open().await, key.clone());
            tasks.spawn(async move { store.create(&key, text(&task.to_string())).await });
        }
        let results = tasks.join_all().await;
        let created: Vec<_> = results.iter().flatten().collect();
        assert_eq!(created.len(), 1, "{results:?}");
        assert!(
            results.iter().flat_map(|result| result.as_ref().err()).all(|e| matches!(e, StoreError::Exists { .. }))
        );
    }
}

pub async fn strange_keys_are_records_of_their_own(place: &dyn Place) {
    let store = place.open().await;
    let strange = [
        "",
        " ",
        ".",
        "..",
        "*",
        ">",
        "a.b",
        "a b",
        "=",
        "==20",
        "$KV",
        "/",
        "\\",
        "\u{0}",
        "\n",
        "ü",
        "日本",
        "😀",
        "A",
        "a",
        "%2E",
        "-",
        "_",
        "'\"",
        "../../etc",
    ];
    let keys: Vec<_> = strange.iter().map(|part| Key::new("strange", [part, "x"]).unwrap()).collect();
    for (key, part) in keys.iter().zip(strange) {
        store.create(key, text(part)).await.unwrap();
    }
    for (key, part) in keys.iter().zip(strange) {
        assert_eq!(store.get(key).await.unwrap().unwrap().value, text(part));
        assert_eq!(store.list(&Prefix::under("strange", [part]).unwrap()).await.unwrap().len(), 1, "{part:?}");
    }
    let mut listed = store.list(&Prefix::kind("strange").unwrap()).await.unwrap();
    assert!(listed.is_sorted_by_key(|entry| entry.key.clone()));
    listed.sort_by_key(|entry| entry.revision);
    assert_eq!(listed.into_iter().map(|entry| entry.key).collect::<Vec<_>>(), keys);
}

pub async fn the_longest_key_is_taken(place: &dyn Place) {
    let store = place.open().await;
    let long = Key::new("k", ["x".repeat(headland_control_store::KEY_BYTES_MAX - 2)]).unwrap();
    let revision = store.create(&long, text("1")).await.unwrap();
    store.update(&long, text("2"), revision).await.unwrap();
    assert_eq!(store.list(&Prefix::All).await.unwrap()[0].key, long);
}

pub async fn a_prefix_lists_its_own(place: &dyn Place) {
    let store = place.open().await;
    for (kind, parts) in
        [("model", vec!["a", "1"]), ("model", vec!["a", "2"]), ("model", vec!["ab"]), ("mode", vec!["l"])]
    {
        store.create(&Key::new(kind, parts).unwrap(), Bytes::new()).await.unwrap();
    }
    let names = async |prefix: &Prefix| -> Vec<String> {
        store.list(prefix).await.unwrap().iter().map(|entry| entry.key.to_string()).collect()
    };
    assert_eq!(names(&Prefix::All).await, ["mode.l", "model.a.1", "model.a.2", "model.ab"]);
    assert_eq!(names(&Prefix::kind("model").unwrap()).await, ["model.a.1", "model.a.2", "model.ab"]);
    assert_eq!(names(&Prefix::under("model", ["a"]).unwrap()).await, ["model.a.1", "model.a.2"]);
    assert_eq!(names(&Prefix::Key(Key::new("model", ["ab"]).unwrap())).await, ["model.ab"]);
    assert_eq!(names(&Prefix::kind("none").unwrap()).await, [] as [&str; 0]);
}

pub async fn a_value_may_be_as_large_as_the_limit_and_no_larger(place: &dyn Place) {
    let store = place.open().await;
    let large: Bytes = (0..VALUE_BYTES_MAX).map(|at| at.to_le_bytes()[0]).collect::<Vec<_>>().into();
    let revision = store.create(&key("large"), large.clone()).await.unwrap();
    assert_eq!(store.get(&key("large")).await.unwrap().unwrap().value, large);
    assert_eq!(store.list(&Prefix::All).await.unwrap()[0].value, large);

    let larger = Bytes::from(vec![0; VALUE_BYTES_MAX + 1]);
    let refused = store.update(&key("large"), larger.clone(), revision).await.unwrap_err();
    assert!(matches!(refused, StoreError::TooLarge { .. }), "{refused}");
    let refused = store.create(&key("larger"), larger).await.unwrap_err();
    assert!(matches!(refused, StoreError::TooLarge { .. }), "{refused}");
    assert_eq!(store.get(&key("large")).await.unwrap().unwrap().revision, revision);

    store.update(&key("large"), Bytes::new(), revision).await.unwrap();
    assert_eq!(store.get(&key("large")).await.unwrap().unwrap().value, Bytes::new(), "empty is not removed");
}
