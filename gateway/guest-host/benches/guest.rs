//! What a guest costs in process, without HTTP: an instance alone, and whole requests through [`AppRoute::handle`] with
//! every limit on. One thread, one request at a time; microseconds.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use headland_batcher::ModelTable;
use headland_guest_host::{AppRoute, AppSource, Apps, GuestEngine, PoolOptions, RequestContext};
use headland_trust::Verified;
use http_body_util::{BodyExt, Empty};

const FIXTURES: &str = "../../guest-examples/fixtures/headland.app.toml";
const REPETITIONS: usize = 20_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(measure());
}

async fn measure() {
    let cache = tempfile::tempdir().expect("a folder");
    let engine = GuestEngine::new(PoolOptions::default()).expect("an engine");
    let source = AppSource::open(Path::new(FIXTURES)).expect("fixtures: run guest-examples/build.sh");
    let apps = Apps::new(&engine, &Arc::new(ModelTable::default()), cache.path()).expect("a host");
    let prepared = apps.prepare(Verified::named_by_operator(source, "the benchmark")).expect("sound fixtures");
    apps.put(prepared).expect("no other app");
    let route = |path: &str| apps.route(None, path).expect("the fixture's route");
    let (hello, reused) = (route("/fixtures/hello"), route("/fixtures/reused/hello"));
    let (service, service_reused) = (route("/fixtures/service"), route("/fixtures/reused/service"));
    for _ in 0..3 {
        for (what, route) in [("", &hello), (", wasi:http 0.3", &service)] {
            let mut took = Vec::with_capacity(REPETITIONS);
            for _ in 0..REPETITIONS {
                let started = Instant::now();
                route.instantiate().await.expect("an instance");
                took.push(started.elapsed().as_nanos());
            }
            report(&format!("store, instantiate, drop{what}"), took);
        }
        for (what, route) in
            [("fresh", &hello), ("reused", &reused), ("0.3, fresh", &service), ("0.3, reused", &service_reused)]
        {
            let mut took = Vec::with_capacity(REPETITIONS);
            for _ in 0..REPETITIONS {
                let started = Instant::now();
                answer(route).await;
                took.push(started.elapsed().as_nanos());
            }
            report(&format!("hello, request to last byte, {what}"), took);
        }
    }
}

async fn answer(route: &Arc<AppRoute>) {
    let request = http::Request::get("/").header("host", "bench").body(Empty::<Bytes>::new()).expect("a request");
    let context = RequestContext { request_id: "bench".into() };
    let response = route.handle(request, context).await.expect("an answer");
    assert_eq!(response.status(), 200);
    response.into_body().collect().await.expect("a whole body");
}

fn report(what: &str, mut nanoseconds: Vec<u128>) {
    nanoseconds.sort_unstable();
    let at = |share: f64| nanoseconds[((nanoseconds.len() - 1) as f64 * share) as usize] as f64 / 1e3;
    println!("{what:42} p50 {:6.1}  p99 {:6.1}", at(0.5), at(0.99));
}
