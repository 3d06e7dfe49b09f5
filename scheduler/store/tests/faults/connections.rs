//! Connecting: servers that are not there yet, logins, TLS, buckets that do not fit.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use headland_control_store::{ControlStore, Event, Holder, Key, Leases, NatsOptions, NatsStore, Prefix, StoreError};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::suite::records::key;
use crate::support::{Nats, NatsServer, nats, options, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_may_be_opened_before_its_server_runs() {
    if !nats::is_installed() {
        return;
    }
    let mut server = NatsServer::start();
    server.kill();
    let short = NatsOptions { call_timeout: Duration::from_millis(300), ..options(&server.url()) };
    let store = NatsStore::connect(short).await.unwrap();
    let mut watch = store.watch(Prefix::All);
    for refused in [store.get(&key("a")).await.map(drop), store.create(&key("a"), Bytes::new()).await.map(drop)] {
        let error = refused.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
        assert!(error.to_string().contains(&server.url()), "{error}");
    }
    assert!(store.prepare().await.is_err() && !store.is_connected());
    assert!(matches!(soon("an event", watch.next()).await, Some(Event::Interrupted { .. })));
    server.restart();
    crate::support::eventually("the buckets", || async { store.prepare().await.ok() }).await;
    store.create(&key("a"), Bytes::new()).await.unwrap();
    loop {
        match soon("an event", watch.next()).await.unwrap() {
            Event::Snapshot(entries) if entries.is_empty() => {}
            Event::Snapshot(_) | Event::Put(_) => break,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_while_the_server_is_away_fail_in_time_and_work_again_later() {
    let Some(mut place) = Nats::begin().await else { return };
    let short = NatsOptions { call_timeout: Duration::from_millis(500), ..options(&place.server.url()) };
    let store = NatsStore::connect(short).await.unwrap();
    store.prepare().await.unwrap();
    let revision = store.create(&key("a"), Bytes::new()).await.unwrap();
    place.server.kill();
    let refused = soon("an answer", store.update(&key("a"), Bytes::from_static(b"1"), revision)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable { .. } | StoreError::Unknown { .. }), "{refused}");
    soon("an answer", store.list(&Prefix::All)).await.unwrap_err();
    place.server.restart();
    crate::support::eventually("a reading", || async { store.get(&key("a")).await.ok() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_bucket_of_another_lifetime_is_refused() {
    let Some(place) = Nats::begin().await else { return };
    place.store().await;
    let longer = NatsOptions { lease_ttl: Duration::from_secs(7), ..options(&place.server.url()) };
    let store = NatsStore::connect(longer).await.unwrap();
    let name = Key::new("lease", ["a"]).unwrap();
    let refused = store.acquire(&name, &Holder::new("a").unwrap()).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Misconfigured { what, .. } if what.contains("7s")), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_namespaces_on_one_server_know_nothing_of_each_other() {
    let Some(place) = Nats::begin().await else { return };
    place.store().await.create(&key("a"), Bytes::new()).await.unwrap();
    let other = NatsOptions { namespace: "other".parse().unwrap(), ..options(&place.server.url()) };
    let store = NatsStore::connect(other).await.unwrap();
    store.prepare().await.unwrap();
    assert_eq!(store.list(&Prefix::All).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_is_taken_from_the_url_and_a_wrong_one_is_not_told() {
    if !nats::is_installed() {
        return;
    }
    let server = NatsServer::start_with(&["--user", "ann", "--pass", "s3cret"]);
    let with = |login: &str| server.url().replace("//", &format!("//{login}@"));
    let store = NatsStore::connect(options(&with("ann:s3cret"))).await.unwrap();
    store.prepare().await.unwrap();
    let short = NatsOptions { call_timeout: Duration::from_millis(800), ..options(&with("ann:wr0ng")) };
    let refused = NatsStore::connect(short).await.unwrap().prepare().await.unwrap_err();
    let told = format!("{refused} {refused:?} {:?}", std::error::Error::source(&refused).map(ToString::to_string));
    assert!(told.contains("authorization") && !told.contains("wr0ng"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_spoken_with_a_server_that_our_authority_signed_and_with_no_other() {
    if !nats::is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let authority = |name: &str| {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(file(name), issuer.pem()).unwrap();
        issuer
    };
    let (ours, _foreign) = (authority("ours.pem"), authority("foreign.pem"));
    let key_pair = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key_pair, &ours).unwrap();
    std::fs::write(file("server.pem"), certificate.pem()).unwrap();
    std::fs::write(file("server.key"), key_pair.serialize_pem()).unwrap();
    let path = |name: &str| file(name).to_str().unwrap().to_owned();
    let server = NatsServer::start_with(&["--tls", "--tlscert", &path("server.pem"), "--tlskey", &path("server.key")]);

    let url = server.url().replace("nats://", "tls://");
    let trusting =
        |ca: &str| NatsOptions { ca_file: Some(file(ca)), call_timeout: Duration::from_secs(2), ..options(&url) };
    NatsStore::connect(trusting("ours.pem")).await.unwrap().prepare().await.unwrap();
    NatsStore::connect(trusting("foreign.pem")).await.unwrap().prepare().await.expect_err("signed by another");
    let refused = NatsStore::connect(trusting("server.key")).await.err().expect("no certificate in it");
    assert!(refused.to_string().contains("server.key"), "{refused}");
}
