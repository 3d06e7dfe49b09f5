//! PoPs that die, stall, have no room, or are not who they should be.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, mpsc};

use headland_batcher::Failure;
use headland_nn_core::Busy;
use tokio::net::TcpStream;

use super::*;

/// A script that tells when it begins, and goes on when it is let.
fn stepped(more: f32) -> (Script, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let ((began, begins), (leave, leaves)) = (mpsc::channel(), mpsc::channel::<()>());
    let mut answer = adding(more);
    let script: Script = Box::new(move |inputs, wanted| {
        let _ = began.send(());
        // Let go, or given up by the test.
        let _ = leaves.recv_timeout(LONG);
        answer(inputs, wanted)
    });
    (script, begins, leave)
}

async fn begun(begins: &mpsc::Receiver<()>) {
    let begins = Mutex::new(begins);
    until("the request has begun", || begins.lock().unwrap().try_recv().is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_under_way_at_a_pop_that_dies_are_answered_by_the_next() {
    const REQUESTS: usize = 64;
    let fleet = Fleet::new();
    let (script, begins, _leave) = stepped(100.0);
    let (dies, lives) = (
        fleet.pop("fra2", [scripted("m", 256, script)]).await,
        fleet.pop("ams1", [scripted("m", 256, adding(0.5))]).await,
    );
    let origin = fleet.origin();
    let model = origin.routed(&scripted("m", 1, adding(0.0)), vec![dies.share(1.0), lives.share(0.0)]).await;
    let calls: Vec<_> = (0..REQUESTS).map(|at| spawn(&model, call(at as f32))).collect();
    begun(&begins).await;
    until("all are under way", || origin.stats("fra2").outstanding == REQUESTS).await;
    dies.kill().await;
    for (at, asked) in calls.into_iter().enumerate() {
        assert_eq!(value(&asked.await.unwrap().unwrap()), at as f32 + 0.5);
    }
    let (dead, live) = (origin.stats("fra2"), origin.stats("ams1"));
    assert_eq!((dead.failed, live.answered, live.retries), (REQUESTS as u64, REQUESTS as u64, REQUESTS as u64));
    // From now on nobody tries it first.
    assert_eq!(value(&model.infer(call(7.0)).await.unwrap()), 7.5);
    assert_eq!(origin.stats("fra2").requests, dead.requests);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_may_have_run_is_not_repeated_where_the_model_forbids_it() {
    let fleet = Fleet::new();
    let (script, begins, _leave) = stepped(100.0);
    let (dies, lives) =
        (fleet.pop("fra2", [scripted("m", 8, script)]).await, fleet.pop("ams1", [scripted("m", 8, adding(0.5))]).await);
    let origin = fleet.origin();
    let info = scripted("m", 1, adding(0.0)).info().clone();
    let candidates = vec![dies.share(1.0), lives.share(0.0)];
    let (name, version, digest) = (info.name.clone(), info.version.clone(), info.digest);
    let route = Route { name, version, digest, repeatable: false, candidates };
    origin.peers.set_routes(vec![route], BTreeMap::new());
    let model = origin.found(&scripted("m", 1, adding(0.0))).await;
    let asked = spawn(&model, call(1.0));
    begun(&begins).await;
    dies.kill().await;
    assert!(matches!(asked.await.unwrap(), Err(NnError::Unreachable { .. })));
    assert_eq!(origin.stats("ams1").requests, 0);
    // One that never arrived cannot have run.
    assert_eq!(value(&model.infer(call(1.0)).await.unwrap()), 1.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pop_that_comes_back_is_asked_again() {
    let fleet = Fleet::new();
    let model = scripted("m", 8, adding(0.5));
    let pop = fleet.pop("fra2", [model.clone()]).await;
    let (address, origin) = (pop.address.to_string(), fleet.origin());
    let there = origin.routed(&model, vec![pop.share(1.0)]).await;
    there.infer(call(1.0)).await.unwrap();
    pop.kill().await;
    until("the connection is missed", || !origin.stats("fra2").connected).await;
    let error = there.infer(call(1.0)).await.unwrap_err();
    assert!(matches!(&error, NnError::Unreachable { why, .. } if why.contains("fra2")), "{error:?}");
    let _back = fleet.pop_with("fra2", gateway([model.clone()], Limits::default()), None, &address).await;
    // Whoever asks now hurries the connection on.
    let deadline = Instant::now() + LONG;
    while there.infer(call(1.0)).await.is_err() {
        assert!(Instant::now() < deadline, "it is never asked again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pop_without_room_is_told_from_one_that_fails() {
    let fleet = Fleet::new();
    let (script, begins, leave) = stepped(0.25);
    let there = scripted("m", 1, script);
    let full = fleet.pop("fra2", [there.clone()]).await;
    let other = fleet.pop("ams1", [scripted("m", 8, adding(0.5))]).await;
    let origin = fleet.origin();
    let model = origin.routed(&there, vec![full.share(1.0), other.share(0.0)]).await;
    let running = spawn(&model, call(1.0));
    begun(&begins).await;
    let waiting = spawn(&model, call(2.0));
    until("the second waits there", || there.pending() == 1).await;
    // Far more often than a PoP may fail.
    for asked in 3..40 {
        assert_eq!(value(&model.infer(call(asked as f32)).await.unwrap()), asked as f32 + 0.5);
    }
    assert!(origin.stats("fra2").shed >= 1);
    (0..8).for_each(|_| leave.send(()).unwrap());
    assert_eq!(value(&running.await.unwrap().unwrap()), 1.25);
    assert_eq!(value(&waiting.await.unwrap().unwrap()), 2.25);
    // It has room again, and nobody holds anything against it.
    let deadline = Instant::now() + LONG;
    while value(&model.infer(call(5.0)).await.unwrap()) != 5.25 {
        assert!(Instant::now() < deadline, "it is never asked again");
    }
    assert_eq!(origin.stats("fra2").failed, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_has_room_the_caller_is_told_so() {
    let fleet = Fleet::new();
    let pops = [
        fleet.pop("fra2", [scripted("m", 0, adding(0.0))]).await,
        fleet.pop("ams1", [scripted("m", 0, adding(0.0))]).await,
    ];
    let origin = fleet.origin();
    let model = origin.routed(&scripted("m", 1, adding(0.0)), pops.iter().map(|pop| pop.share(0.5)).collect()).await;
    let error = model.infer(call(1.0)).await.unwrap_err();
    assert!(matches!(error, NnError::Overloaded { reason: Busy::QueueFull { queue_max: 0 }, .. }), "{error:?}");
    assert_eq!((origin.stats("fra2").shed, origin.stats("ams1").shed), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_pop_is_asked_when_the_first_takes_longer_than_usual() {
    let fleet = Fleet::new();
    let stalls = Arc::new(AtomicBool::new(false));
    let stalled = stalls.clone();
    let plane = peer_plane(gateway([scripted("m", 8, adding(0.25))], Limits::default()), None);
    let plane = plane.layer(axum::middleware::map_request(move |request: Request| {
        let stalls = stalled.load(Relaxed);
        async move {
            if stalls {
                std::future::pending::<()>().await;
            }
            request
        }
    }));
    let first = fleet.pop_of("fra2", plane, Limits::default(), "127.0.0.1:0").await;
    let second = fleet.pop("ams1", [scripted("m", 8, adding(0.5))]).await;
    let origin = fleet.origin_with(PeersOptions { hedging: true });
    let model = origin.routed(&scripted("m", 1, adding(0.0)), vec![first.share(1.0), second.share(0.0)]).await;
    for _ in 0..40 {
        model.infer(call(1.0)).await.unwrap();
    }
    stalls.store(true, Relaxed);
    assert_eq!(value(&model.infer(call(-1.0)).await.unwrap()), -0.5, "the second one answered");
    assert!(origin.stats("ams1").hedges >= 1);
    assert_eq!((origin.stats("fra2").failed, origin.stats("fra2").outstanding), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_is_kept_and_travels() {
    let fleet = Fleet::new();
    let (script, begins, leave) = stepped(0.0);
    let there = scripted("m", 8, script);
    let pop = fleet.pop("fra2", [there.clone()]).await;
    let origin = fleet.origin();
    let model = origin.routed(&there, vec![pop.share(1.0)]).await;
    let given_up = || there.stats().failure(Failure::Canceled) + there.stats().failure(Failure::Rejected);
    let soon = Call { deadline: Some(Instant::now() + Duration::from_millis(100)), ..call(1.0) };
    let asked = Instant::now();
    let error = model.infer(soon).await.unwrap_err();
    assert!(matches!(error, NnError::DeadlineExceeded { .. }), "{error:?}");
    assert!(asked.elapsed() < LONG / 2);
    begun(&begins).await;
    // The one that waits behind it is given up there too: by its own deadline, or with its stream.
    let late = Call { deadline: Some(Instant::now() + Duration::from_millis(50)), ..call(2.0) };
    assert!(model.infer(late).await.is_err());
    until("both are given up there", || given_up() == 2).await;
    leave.send(()).unwrap();
    assert_eq!(origin.stats("fra2").outstanding, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_leaves_the_queue_there() {
    let fleet = Fleet::new();
    let (script, begins, leave) = stepped(0.0);
    let there = scripted("m", 8, script);
    let pop = fleet.pop("fra2", [there.clone()]).await;
    let model = fleet.origin().routed(&there, vec![pop.share(1.0)]).await;
    let running = spawn(&model, call(1.0));
    begun(&begins).await;
    let gone = spawn(&model, call(2.0));
    until("the second waits there", || there.pending() == 1).await;
    gone.abort();
    until("it is given up there", || there.stats().failure(Failure::Canceled) == 1).await;
    leave.send(()).unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pop_without_the_model_or_with_other_bytes_of_it_is_passed_over() {
    let fleet = Fleet::new();
    let (without, with) = (fleet.pop("fra2", []).await, fleet.pop("ams1", [scripted("m", 8, adding(0.5))]).await);
    let other = test_support::echo("m:1", DType::F32);
    let origin = fleet.origin();
    let model = origin.routed(&scripted("m", 1, adding(0.0)), vec![without.share(1.0), with.share(0.0)]).await;
    assert_eq!(value(&model.infer(call(1.0)).await.unwrap()), 1.5);

    // Under its name and version, but of another digest: it is not even described.
    let info =
        headland_batcher::ModelInfo { digest: headland_package::Sha256Digest::of(b"other"), ..other.info().clone() };
    let origin = fleet.origin();
    let (name, version, digest) = (info.name, info.version, info.digest);
    let route = Route { name, version, digest, repeatable: true, candidates: vec![with.share(1.0)] };
    origin.peers.set_routes(vec![route], BTreeMap::new());
    until("it was asked", || origin.stats("ams1").connected).await;
    assert!(origin.table.get(&"m".parse().unwrap()).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn foreigners_are_not_asked_and_not_answered() {
    let (ours, theirs) = (Fleet::new(), Fleet::new());
    let model = scripted("m", 8, adding(0.0));
    let foreign = theirs.pop("fra2", [model.clone()]).await;
    let origin = ours.origin();
    origin.route(&model, vec![foreign.share(1.0)]);
    let http = origin.peers.http(&fra2(), &foreign.address.to_string());
    let Err(refused) = http.get(READY_PATH, None).await else { panic!("a foreigner was let in") };
    assert!(refused.to_string().contains("not of this fleet's authority"), "{refused}");
    assert!(!refused.sent && origin.table.get(&"m".parse().unwrap()).is_err());

    // One of ours under another name.
    let ours_there = ours.pop("ams1", [model.clone()]).await;
    let http = origin.peers.http(&fra2(), &ours_there.address.to_string());
    let Err(refused) = http.get(READY_PATH, None).await else { panic!("another PoP was let in") };
    assert!(refused.to_string().contains("it is pop/ams1, and pop/fra2 was to be there"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pop_that_drains_finishes_what_it_has_and_is_asked_no_more() {
    let fleet = Fleet::new();
    let (script, begins, leave) = stepped(0.25);
    let (drains, other) =
        (fleet.pop("fra2", [scripted("m", 8, script)]).await, fleet.pop("ams1", [scripted("m", 8, adding(0.5))]).await);
    let origin = fleet.origin();
    let model = origin.routed(&scripted("m", 1, adding(0.0)), vec![drains.share(1.0), other.share(0.0)]).await;
    let under_way = spawn(&model, call(1.0));
    begun(&begins).await;
    let address = drains.address;
    let drained = tokio::spawn(drains.drain());
    let deadline = Instant::now() + LONG;
    while TcpStream::connect(address).await.is_ok() {
        assert!(Instant::now() < deadline, "it still listens");
    }
    // Meanwhile it may take a last one, or nothing.
    let meanwhile = spawn(&model, call(2.0));
    leave.send(()).unwrap();
    // The PoP may have gone with its model already.
    let _ = leave.send(());
    assert_eq!(value(&under_way.await.unwrap().unwrap()), 1.25, "what was under way is answered");
    assert!([2.25, 2.5].contains(&value(&meanwhile.await.unwrap().unwrap())));
    assert_eq!(drained.await.unwrap(), Drained { cut: 0 });
    assert_eq!(value(&model.infer(call(3.0)).await.unwrap()), 3.5);
}

/// Passes bytes on between a PoP and its peers, until it is frozen: then nothing comes through, and nobody is told.
async fn frozen_by(to: SocketAddr) -> (SocketAddr, Arc<tokio::sync::Notify>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let freeze = Arc::new(tokio::sync::Notify::new());
    let frozen = freeze.clone();
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = TcpStream::connect(to).await.unwrap();
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
            () = frozen.notified() => {
                // Both connections stay open, and later ones wait to be accepted.
                let _held = (near, far, listener);
                std::future::pending::<()>().await;
            }
        }
    });
    (address, freeze)
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_a_pop_that_falls_silent_are_answered_by_the_next() {
    let fleet = Fleet::new();
    let (script, begins, _leave) = stepped(100.0);
    let silent = fleet.pop("fra2", [scripted("m", 8, script)]).await;
    let lives = fleet.pop("ams1", [scripted("m", 8, adding(0.5))]).await;
    let (address, freeze) = frozen_by(silent.address).await;
    let origin = fleet.origin();
    let through = Candidate { address: address.to_string(), ..silent.share(1.0) };
    let model = origin.routed(&scripted("m", 1, adding(0.0)), vec![through, lives.share(0.0)]).await;
    let asked = spawn(&model, Call { deadline: Some(Instant::now() + LONG), ..call(1.0) });
    begun(&begins).await;
    freeze.notify_one();
    // Pings go unanswered: the connection is given up, long before the request's time is.
    assert_eq!(value(&asked.await.unwrap().unwrap()), 1.5);
    assert_eq!(value(&model.infer(call(2.0)).await.unwrap()), 2.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_that_change_keep_what_is_known_and_forget_who_is_gone() {
    let fleet = Fleet::new();
    let model = scripted("m", 8, adding(0.5));
    let (first, second) = (fleet.pop("fra2", [model.clone()]).await, fleet.pop("ams1", [model.clone()]).await);
    let origin = fleet.origin();
    let there = origin.routed(&model, vec![first.share(1.0)]).await;
    there.infer(call(1.0)).await.unwrap();
    origin.route(&model, vec![first.share(0.0), second.share(1.0)]);
    let again = origin.found(&model).await;
    assert!(Arc::ptr_eq(&there, &again));
    until("the second one is connected", || origin.stats("ams1").connected).await;
    again.infer(call(1.0)).await.unwrap();
    assert_eq!((origin.stats("fra2").answered, origin.stats("ams1").answered), (1, 1));
    origin.peers.set_routes(Vec::new(), BTreeMap::new());
    assert!(origin.table.get(&"m".parse().unwrap()).is_err() && origin.peers.stats().is_empty());
    let orphan = there.infer(call(1.0)).await;
    assert!(orphan.is_ok(), "who holds it may go on using it");
}
