//! 10,000 guests alive at once, each after it has begun to answer a request: what they cost in memory, and how many
//! mappings they need of those the kernel gives a process (`vm.max_map_count`, 65,530 unless somebody raised it).

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use headland_batcher::ModelTable;
use headland_guest_host::{AppSource, Apps, GuestEngine, PoolOptions, RequestContext};
use headland_package::AppManifest;
use headland_trust::Verified;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

const FIXTURES: &str = "../../guest-examples/dist/";
const INSTANCES: u32 = 10_000;
const COMPONENT: &str = "echo_stream.wasm";

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(measure());
}

async fn measure() {
    let cache = tempfile::tempdir().expect("a folder");
    let engine = GuestEngine::new(PoolOptions { instances_max: INSTANCES }).expect("an engine");
    let apps = Apps::new(&engine, &Arc::new(ModelTable::default()), cache.path()).expect("a host");
    let prepared = apps.prepare(Verified::named_by_operator(app(), "the benchmark")).expect("a sound fixture");
    apps.put(prepared).expect("no other app");
    let route = apps.route(None, "/").expect("the route");
    let (before, mappings_before) = (resident_bytes(), mappings());
    println!("before: {} MiB resident, {mappings_before} mappings", before >> 20);
    let mut waiting = Vec::new();
    for _ in 0..INSTANCES {
        // One piece, and then nothing more: the guest echoes it and waits for the next.
        let mut first = Some(Bytes::from_static(b"first"));
        let pieces = futures_util::stream::poll_fn(move |_| match first.take() {
            Some(piece) => std::task::Poll::Ready(Some(Ok::<_, Infallible>(Frame::data(piece)))),
            None => std::task::Poll::Pending,
        });
        let request =
            http::Request::post("/").header("host", "bench").body(StreamBody::new(pieces)).expect("a request");
        let response = route.handle(request, RequestContext { request_id: "bench".into() }).await.expect("a head");
        let mut body = response.into_body();
        let echoed = body.frame().await.expect("a piece").expect("a whole one");
        assert_eq!(echoed.into_data().expect("data"), "first");
        waiting.push(body);
    }
    let (after, mappings_after) = (resident_bytes(), mappings());
    println!("after:  {} MiB resident, {mappings_after} mappings", after >> 20);
    println!(
        "{} guests alive: {:.1} KiB and {:.2} mappings each",
        waiting.len(),
        (after - before) as f64 / f64::from(INSTANCES) / 1024.0,
        (mappings_after - mappings_before) as f64 / f64::from(INSTANCES)
    );
}

fn app() -> AppSource {
    let manifest = format!(
        "name = 'live'\n[[route]]\npath = '/'\ncomponent = '{COMPONENT}'\n[limits]\ninstances = {INSTANCES}\n\
         deadline_ms = 600000"
    );
    let manifest = AppManifest::parse(&manifest, Path::new("headland.app.toml")).expect("a manifest");
    let wasm = std::fs::read(Path::new(FIXTURES).join(COMPONENT)).expect("fixtures: run guest-examples/build.sh");
    AppSource { manifest, components: [(COMPONENT.to_owned(), wasm.into())].into(), version: None }
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").expect("Linux").lines().count()
}
