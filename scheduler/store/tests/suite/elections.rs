//! Elections: one leader, takeover after its death, handing over at its end.

use std::time::Duration;

use headland_control_store::{Election, Epoch, Holder, Key, Role};
use tokio::time::Instant;

use crate::support::{Cut, Place, TTL, eventually, soon, within};

fn candidate(store: std::sync::Arc<dyn headland_control_store::Leases>, name: &str) -> Election {
    Election::start(store, Key::new("lease", ["control"]).unwrap(), Holder::new(name).unwrap())
}

/// The only one that leads, as soon as one does.
async fn leader(candidates: &[Election]) -> (usize, Epoch) {
    eventually("a leader", || async {
        let leaders: Vec<_> = (0..candidates.len()).filter_map(|at| Some((at, candidates[at].leads()?))).collect();
        assert!(leaders.len() < 2, "{leaders:?}");
        leaders.first().copied()
    })
    .await
}

pub async fn one_of_several_candidates_leads_and_goes_on_leading(place: &dyn Place) {
    let mut candidates = Vec::new();
    for at in 0..3 {
        candidates.push(candidate(place.open().await, &at.to_string()));
    }
    let (first, epoch) = leader(&candidates).await;
    let begun = Instant::now();
    while begun.elapsed() < TTL * 3 {
        assert_eq!(leader(&candidates).await, (first, epoch));
        tokio::time::sleep(TTL / 20).await;
    }
    assert_eq!(*candidates[first].role().borrow(), Role::Leader { epoch });
}

pub async fn a_leader_that_stops_hands_over_at_once(place: &dyn Place) {
    let first = candidate(place.open().await, "a");
    soon("a leader", first.role().wait_for(|role| *role != Role::Standby)).await.unwrap();
    let epoch = first.leads().unwrap();
    let second = candidate(place.open().await, "b");
    let mut told = first.role();
    first.stop().await;
    assert_eq!(*told.borrow_and_update(), Role::Standby);
    within(TTL, "the next leader", || async { second.leads() }).await;
    assert!(second.leads().unwrap() > epoch);
}

pub async fn a_leader_that_is_dropped_hands_over_too(place: &dyn Place) {
    let first = candidate(place.open().await, "a");
    let epoch = eventually("a leader", || async { first.leads() }).await;
    let second = candidate(place.open().await, "b");
    drop(first);
    within(TTL, "the next leader", || async { second.leads().filter(|next| *next > epoch) }).await;
}

pub async fn a_leader_cut_off_steps_down_before_another_leads(place: &dyn Place) {
    let cut = Cut::new(place.open().await);
    let first = candidate(cut.clone(), "cut off");
    let old = eventually("a leader", || async { first.leads() }).await;
    let second = candidate(place.open().await, "standby");
    cut.cut();
    let since = Instant::now();
    let new = loop {
        let (old, new) = (first.leads(), second.leads());
        assert!(old.is_none() || new.is_none(), "two lead");
        if let Some(new) = new {
            break new;
        }
        assert!(since.elapsed() < TTL + Duration::from_secs(2), "nobody took over in time");
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    assert!(new > old);
    assert_eq!(*first.role().borrow(), Role::Standby);
    cut.mend();
    tokio::time::sleep(TTL / 2).await;
    assert_eq!((first.leads(), second.leads()), (None, Some(new)), "who comes back waits its turn");
}
