//! What it costs that a model is at another PoP: the same request to a model here and to one behind the peer plane, over
//! loopback and mutual TLS; and beside it what HTTP/2 alone costs, as an echo of as many bytes without TLS, and as a request
//! over the same kind of TLS connection that asks next to nothing. Both ends share this machine's cores, so each figure has
//! the work of both in it; what a real network adds is its round trip.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use headland_batcher::{Call, Model, ModelInfo, ModelOptions, ModelTable};
use headland_guest_host::{Apps, GuestEngine, PoolOptions};
use headland_identity::{FleetCa, Identity, MEMBER_VALIDITY, Member};
use headland_nn_core::{
    Batching, DType, Device, Dim, Executor, NamedTensor, NnError, OutputSelection, Signature, Tensor, TensorSpec,
};
use headland_package::Sha256Digest;
use headland_remote::{Candidate, Peers, PeersOptions, READY_PATH, Route};
use headland_server::{Gateway, Limits, peer_plane, serve_peers};
use headland_trust::Verified;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};

/// Bytes of the tensor that goes there and comes back.
const SIZES: [usize; 4] = [256, 16 << 10, 1 << 20, 8 << 20];

/// Gives back what it gets.
struct Echo(Signature);

impl Executor for Echo {
    fn signature(&self) -> &Signature {
        &self.0
    }
    fn device(&self) -> Device {
        Device::Cpu
    }
    fn memory_bytes(&self) -> u64 {
        0
    }
    fn batching(&self) -> Batching {
        Batching::Single { why: "what is measured is the way, not the batch".into() }
    }
    fn run(&mut self, inputs: &[NamedTensor], _: &OutputSelection) -> Result<Vec<NamedTensor>, NnError> {
        Ok(inputs.iter().map(|input| NamedTensor::new("y", input.tensor.clone())).collect())
    }
}

fn echo() -> Arc<Model> {
    let spec = |name| vec![TensorSpec::new(name, DType::U8, vec![Dim::Dynamic(None)])];
    let signature = Signature { inputs: spec("x"), outputs: spec("y") };
    let info = ModelInfo {
        name: "echo".parse().expect("a name"),
        version: "1".parse().expect("a version"),
        digest: Sha256Digest::of(b"echo"),
        backend: "none".into(),
    };
    Arc::new(Model::start(info, vec![Box::new(Echo(signature))], None, ModelOptions::default()).expect("a model"))
}

fn call(bytes: &Bytes) -> Call {
    let tensor = Tensor::new(DType::U8, [bytes.len()], bytes.clone()).expect("a tensor");
    Call { inputs: vec![NamedTensor::new("x", tensor)].into(), ..Call::default() }
}

/// A PoP with the model, and somebody who knows the way there.
struct Fleet {
    model: Arc<Model>,
    peers: Arc<Peers>,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

async fn fleet() -> Fleet {
    let dir = tempfile::tempdir().expect("a folder");
    let now = SystemTime::now();
    let ca = FleetCa::create(&dir.path().join("ca"), now).expect("an authority");
    let identity = |pop: &str| {
        let home = dir.path().join(pop);
        ca.enroll(&home, &Member::pop(pop.parse().expect("an id")), MEMBER_VALIDITY, now).expect("a certificate");
        Arc::new(Identity::load(&home).expect("an identity"))
    };
    let table = Arc::new(ModelTable::default());
    table.insert(Verified::named_by_operator(echo(), "a bench"));
    let engine = GuestEngine::new(PoolOptions { instances_max: 1 }).expect("an engine");
    let apps = Apps::new(&engine, &table, dir.path()).expect("a host");
    let gateway = Gateway::new(table, Arc::new(apps), Limits::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let there = identity("there");
    tokio::spawn(async move {
        let plane = peer_plane(gateway, None);
        serve_peers(listener, &there, plane, std::future::pending(), &Limits::default()).await.expect("TLS")
    });
    let table = Arc::new(ModelTable::default());
    let peers = Peers::new(identity("here"), table.clone(), PeersOptions::default());
    let info = echo().info().clone();
    let candidates = vec![Candidate { pop: "there".parse().expect("an id"), address: address.to_string(), share: 1.0 }];
    let (name, version, digest) = (info.name, info.version, info.digest);
    peers.set_routes(vec![Route { name, version, digest, repeatable: true, candidates }], BTreeMap::new());
    let asked = "echo:1".parse().expect("a reference");
    let model = loop {
        match table.get(&asked) {
            Ok(model) => break model,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    Fleet { model, peers, address, _dir: dir }
}

/// An HTTP/2 server without TLS that sends back what it gets, and a connection to it.
async fn plain() -> SendRequest<Full<Bytes>> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("an option");
        let service = service_fn(|request: http::Request<Incoming>| async move {
            let body = request.into_body().collect().await.expect("a body").to_bytes();
            Ok::<_, Infallible>(http::Response::new(Full::new(body)))
        });
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(4 << 20).initial_connection_window_size(16 << 20).max_frame_size(256 << 10);
        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
    });
    let stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("an option");
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(4 << 20).initial_connection_window_size(16 << 20).max_frame_size(256 << 10);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    sender
}

async fn echoed(sender: &SendRequest<Full<Bytes>>, body: Bytes) -> usize {
    let request = http::Request::post("http://echo/").body(Full::new(body)).expect("a request");
    let response = sender.clone().send_request(request).await.expect("a response");
    response.into_body().collect().await.expect("a body").to_bytes().len()
}

fn remote(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let (here, there, plain) = (echo(), runtime.block_on(fleet()), runtime.block_on(plain()));
    let mut group = criterion.benchmark_group("one request at a time, there and back");
    for size in SIZES {
        let bytes = Bytes::from(vec![7u8; size]);
        group.throughput(Throughput::Bytes(2 * size as u64));
        group.bench_function(BenchmarkId::new("model here", size), |bencher| {
            bencher.to_async(&runtime).iter(async || here.infer(call(&bytes)).await.expect("an answer"));
        });
        group.bench_function(BenchmarkId::new("HTTP/2 echo without TLS", size), |bencher| {
            bencher.to_async(&runtime).iter(async || echoed(&plain, bytes.clone()).await);
        });
        group.bench_function(BenchmarkId::new("model at another PoP", size), |bencher| {
            bencher.to_async(&runtime).iter(async || there.model.infer(call(&bytes)).await.expect("an answer"));
        });
    }
    group.finish();
    let http = {
        let _runtime = runtime.enter();
        there.peers.http(&Member::pop("there".parse().expect("an id")), &there.address.to_string())
    };
    criterion.bench_function("asking another PoP whether it is ready", |bencher| {
        bencher
            .to_async(&runtime)
            .iter(async || http.get(READY_PATH, None).await.expect("an answer").bytes(1 << 10).await);
    });
    let small = Bytes::from(vec![7u8; SIZES[0]]);
    let mut group = criterion.benchmark_group("64 requests of 256 bytes at a time");
    group.throughput(Throughput::Elements(64));
    group.bench_function("model at another PoP", |bencher| {
        bencher.to_async(&runtime).iter(async || {
            let calls = (0..64).map(|_| there.model.infer(call(&small)));
            futures_util::future::join_all(calls).await.into_iter().for_each(|answer| drop(answer.expect("an answer")));
        });
    });
    group.bench_function("HTTP/2 echo without TLS", |bencher| {
        bencher
            .to_async(&runtime)
            .iter(async || futures_util::future::join_all((0..64).map(|_| echoed(&plain, small.clone()))).await);
    });
    group.finish();
}

criterion_group!(benches, remote);
criterion_main!(benches);
