//! Leases: one holder, an end, and epochs that only grow.

use std::time::Duration;

use headland_control_store::{Holder, Key, Lease};
use tokio::time::Instant;

use crate::support::{Place, TTL, eventually, within};

fn name() -> Key {
    Key::new("lease", ["leader"]).unwrap()
}

fn holder(name: &str) -> Holder {
    Holder::new(name).unwrap()
}

pub async fn a_lease_has_one_holder(place: &dyn Place) {
    let (a, b) = (place.open().await, place.open().await);
    assert_eq!(a.holder(&name()).await.unwrap(), None);
    let lease = a.acquire(&name(), &holder("a, with a space")).await.unwrap().expect("it is free");
    assert_eq!(b.acquire(&name(), &holder("b")).await.unwrap(), None);
    assert_eq!(b.acquire(&name(), &lease.holder).await.unwrap(), None, "its namesake may still run");
    let seen = b.holder(&name()).await.unwrap().unwrap();
    assert_eq!((seen.holder, seen.epoch), (lease.holder.clone(), lease.epoch));
    let other = Key::new("lease", ["other"]).unwrap();
    assert!(b.acquire(&other, &holder("b")).await.unwrap().is_some(), "other names are other leases");
}

pub async fn of_racing_candidates_one_gets_the_lease(place: &dyn Place) {
    let mut tasks = tokio::task::JoinSet::new();
    for at in 0..8 {
        let store = place.open().await;
        tasks.spawn(async move { store.acquire(&name(), &holder(&at.to_string())).await.unwrap() });
    }
    assert_eq!(tasks.join_all().await.iter().flatten().count(), 1);
}

pub async fn a_lease_that_is_not_renewed_goes_to_another_with_a_greater_epoch(place: &dyn Place) {
    let (a, b) = (place.open().await, place.open().await);
    let asked = Instant::now();
    let first = a.acquire(&name(), &holder("a")).await.unwrap().unwrap();
    let patience = TTL + Duration::from_secs(2);
    let second: Lease =
        within(patience, "a takeover", || async { b.acquire(&name(), &holder("b")).await.unwrap() }).await;
    assert!(asked.elapsed() >= TTL, "it was taken after {:?}", asked.elapsed());
    assert!(second.epoch > first.epoch);
    assert_eq!(a.renew(&first).await.unwrap(), None, "what is lost stays lost");
    a.release(&first).await.unwrap();
    let seen = a.holder(&name()).await.unwrap().expect("a late release takes nothing away");
    assert_eq!((seen.holder, seen.epoch), (holder("b"), second.epoch));
    assert!(b.renew(&second).await.unwrap().is_some());
}

pub async fn a_renewed_lease_outlives_its_first_time_and_keeps_its_epoch(place: &dyn Place) {
    let (a, b) = (place.open().await, place.open().await);
    let first = a.acquire(&name(), &holder("a")).await.unwrap().unwrap();
    let (asked, mut lease) = (Instant::now(), first.clone());
    while asked.elapsed() < TTL * 5 / 2 {
        tokio::time::sleep(TTL / 4).await;
        lease = a.renew(&lease).await.unwrap().expect("it was renewed in time");
        assert_eq!(b.acquire(&name(), &holder("b")).await.unwrap(), None);
        assert_eq!(b.holder(&name()).await.unwrap().unwrap().epoch, first.epoch);
    }
    assert_eq!(lease.epoch, first.epoch);
}

pub async fn a_renewal_whose_answer_was_lost_does_not_lose_the_lease(place: &dyn Place) {
    let store = place.open().await;
    let lease = store.acquire(&name(), &holder("a")).await.unwrap().unwrap();
    assert!(store.renew(&lease).await.unwrap().is_some());
    // Its holder has not seen the answer, and knows the first revision only.
    assert!(store.renew(&lease).await.unwrap().is_some());
    store.release(&lease).await.unwrap();
    assert_eq!(store.holder(&name()).await.unwrap(), None);
}

pub async fn a_released_lease_is_free_at_once(place: &dyn Place) {
    let (a, b) = (place.open().await, place.open().await);
    let mut epoch = None;
    for store in [&a, &b, &a] {
        let lease = store.acquire(&name(), &holder("x")).await.unwrap().expect("it was released");
        assert!(Some(lease.epoch) > epoch);
        epoch = Some(lease.epoch);
        let lease = store.renew(&lease).await.unwrap().unwrap();
        store.release(&lease).await.unwrap();
        assert_eq!(a.holder(&name()).await.unwrap(), None);
        assert_eq!(store.renew(&lease).await.unwrap(), None);
        store.release(&lease).await.unwrap();
    }
}

pub async fn a_lease_that_ran_out_is_seen_by_nobody(place: &dyn Place) {
    let store = place.open().await;
    store.acquire(&name(), &holder("a")).await.unwrap().unwrap();
    eventually("its end", || async { store.holder(&name()).await.unwrap().is_none().then_some(()) }).await;
}
