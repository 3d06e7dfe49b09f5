//! A cluster of three that loses its nodes, one after the other.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use headland_control_store::{
    ControlStore, Election, Event, Holder, Key, Leases, Mirror, NatsOptions, NatsStore, Prefix,
};

use crate::suite::records::key;
use crate::support::{NatsServer, nats, soon, within};

/// A cluster on two busy cores takes its time to choose leaders.
const PATIENCE: Duration = Duration::from_secs(40);
/// Nobody waits for its end: long enough that a slow machine does not lose it between two renewals.
const LEASE: Duration = Duration::from_secs(120);
const SHORT_LEASE: Duration = Duration::from_secs(3);

fn options(nodes: &[NatsServer], lease_ttl: Duration) -> NatsOptions {
    let urls: Vec<_> = nodes.iter().map(NatsServer::url).collect();
    let servers = urls.join(",").parse().unwrap();
    NatsOptions { replicas: 3, lease_ttl, reconnect_delay_max: Duration::from_millis(500), ..NatsOptions::new(servers) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_loses_any_one_node_loses_nothing_else() {
    if !nats::is_installed() {
        return;
    }
    let mut nodes = NatsServer::start_cluster();
    let (writer, reader) = (
        NatsStore::connect(options(&nodes, LEASE)).await.unwrap(),
        NatsStore::connect(options(&nodes, LEASE)).await.unwrap(),
    );
    within(PATIENCE, "the buckets", || async { writer.prepare().await.ok() }).await;
    let (mut watch, mut mirror) = (reader.watch(Prefix::All), Mirror::default());
    let lease_name = Key::new("lease", ["leader"]).unwrap();
    let holder = Holder::new("a").unwrap();
    let acquired =
        within(PATIENCE, "the lease", || async { writer.acquire(&lease_name, &holder).await.ok().flatten() });
    let mut lease = acquired.await;

    let mut written = Vec::new();
    for (down, node) in nodes.iter_mut().enumerate() {
        node.kill();
        for change in 0..5 {
            let key = key(&format!("{down} {change}"));
            within(PATIENCE, "a write", || write(&writer, &key)).await;
            written.push(key);
        }
        lease = within(PATIENCE, "a renewal", || async { writer.renew(&lease).await.ok() })
            .await
            .expect("it is ours still");
        while !(mirror.is_current() && written.iter().all(|key| mirror.get(key).is_some())) {
            let event: Event = soon("an event", watch.next()).await.unwrap();
            mirror.apply(event);
        }
        node.restart();
        within(PATIENCE, "the node's recovery", || async { node.is_healthy().then_some(()) }).await;
    }
    let listed = within(PATIENCE, "a listing", || async { reader.list(&Prefix::All).await.ok() }).await;
    assert_eq!(listed.len(), written.len());
    assert!(mirror.entries().eq(&listed));
    assert_eq!(reader.holder(&lease_name).await.unwrap().unwrap().epoch, lease.epoch);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_killed_whole_comes_back_with_all_it_acknowledged() {
    if !nats::is_installed() {
        return;
    }
    let mut nodes = NatsServer::start_cluster();
    let store = Arc::new(NatsStore::connect(options(&nodes, SHORT_LEASE)).await.unwrap());
    within(PATIENCE, "the buckets", || async { store.prepare().await.ok() }).await;
    let (mut watch, mut mirror) = (store.watch(Prefix::All), Mirror::default());
    let election = Election::start(store.clone(), Key::new("lease", ["control"]).unwrap(), Holder::new("a").unwrap());
    let epoch = within(PATIENCE, "a leader", || async { election.leads() }).await;
    let mut acknowledged = Vec::new();
    for change in 0..30 {
        acknowledged.push(key(&change.to_string()));
        within(PATIENCE, "a write", || write(&store, &acknowledged[change])).await;
    }

    nodes.iter_mut().for_each(NatsServer::kill);
    within(SHORT_LEASE, "stepping down", || async { election.leads().is_none().then_some(()) }).await;
    nodes.iter_mut().for_each(NatsServer::restart);
    acknowledged.push(key("after"));
    within(PATIENCE, "a write", || write(&store, &acknowledged[30])).await;
    while !(mirror.is_current() && mirror.entries().count() == acknowledged.len()) {
        mirror.apply(soon("an event", watch.next()).await.unwrap());
    }
    assert!(acknowledged.iter().all(|key| mirror.get(key).is_some()));
    let again = within(PATIENCE, "a leader", || async { election.leads() }).await;
    assert!(again > epoch, "{again} after {epoch}");
}

/// Writes, or finds written what it was not told about.
async fn write(store: &NatsStore, key: &Key) -> Option<()> {
    use headland_control_store::StoreError::{Exists, Unavailable, Unknown};
    match store.create(key, Bytes::from_static(b"x")).await {
        Ok(_) | Err(Exists { .. }) => Some(()),
        Err(Unknown { .. } | Unavailable { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}
