//! What the gateway costs per token: an answer of an engine read directly, and the same answer as a stream of events over
//! loopback. The model costs next to nothing, so that what is measured is everything around it: steps, sampling, text, and in
//! the second the chunks, HTTP and the socket. Both ends share this machine's cores.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use headland_batcher::{Model, ModelInfo, ModelTable};
use headland_chat::Tokens;
use headland_generation::{Engine, EngineOptions, LanguageModel, ModelShape, Piece, Request};
use headland_guest_host::{Apps, GuestEngine, PoolOptions};
use headland_nn_core::{Device, NnError};
use headland_package::{Sha256Digest, folder};
use headland_server::{Gateway, Limits, data_plane, serve};
use headland_trust::Verified;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

const TOKENS: usize = 900;
const PAGE_TOKENS: usize = 32;
const PAGES: u32 = 1024;

/// After each token comes the next one, of those that are letters.
struct Counting(ModelShape);

impl LanguageModel for Counting {
    fn shape(&self) -> &ModelShape {
        &self.0
    }

    fn step(&mut self, pieces: &[Piece<'_>], logits: &mut Vec<f32>) -> Result<(), NnError> {
        const LETTERS: u32 = 200;
        logits.clear();
        for piece in pieces.iter().filter(|piece| piece.logits) {
            let begin = logits.len();
            logits.resize(begin + self.0.vocabulary, 0.0);
            let last = piece.tokens.last().copied().unwrap_or_default();
            logits[begin + (10 + (last + 1) % LETTERS) as usize] = 1.0;
        }
        Ok(())
    }
}

fn engine(tokens: &Arc<Tokens>) -> Engine {
    let shape = ModelShape {
        vocabulary: 2048,
        context_max: 1024,
        page_tokens: PAGE_TOKENS,
        pages: PAGES,
        page_bytes: 1024,
        weights_bytes: 0,
    };
    Engine::start("counting", Box::new(Counting(shape)), tokens.clone(), EngineOptions::default()).expect("a thread")
}

fn tokens() -> Arc<Tokens> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/small-talk");
    let files = folder::open(path.as_ref()).expect("the model's folder");
    Arc::new(Tokens::open(&files).expect("its tokenizer"))
}

async fn gateway(tokens: &Arc<Tokens>, dir: &tempfile::TempDir) -> SocketAddr {
    let info = ModelInfo {
        name: "counting".parse().expect("a name"),
        version: "1".parse().expect("a version"),
        digest: Sha256Digest::of(b"counting"),
        backend: "none".into(),
    };
    let model = Model::generating(info, engine(tokens), tokens.clone(), Device::Cpu, None);
    let table = Arc::new(ModelTable::default());
    table.insert(Verified::named_by_operator(Arc::new(model), "a bench"));
    let guests = GuestEngine::new(PoolOptions { instances_max: 1 }).expect("an engine");
    let apps = Apps::new(&guests, &table, dir.path()).expect("a host");
    let gateway = Gateway::new(table, Arc::new(apps), Limits::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let _ = serve(listener, data_plane(gateway), std::future::pending(), &Limits::default()).await;
    });
    address
}

/// Reads a whole stream, and counts its bytes.
async fn stream(address: SocketAddr) -> usize {
    let body = format!(
        r#"{{"model": "counting", "prompt": "a", "max_tokens": {TOKENS}, "temperature": 0, "ignore_eos": true, "stream": true}}"#
    );
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: bench\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut connection = TcpStream::connect(address).await.expect("a connection");
    connection.write_all(head.as_bytes()).await.expect("a request");
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.expect("an answer");
    let answer = Bytes::from(answer);
    assert!(answer.starts_with(b"HTTP/1.1 200") && answer.windows(6).any(|window| window == b"[DONE]"), "{answer:?}");
    answer.len()
}

fn per_token(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let (tokens, dir) = (tokens(), tempfile::tempdir().expect("a folder"));
    let direct = engine(&tokens);
    let prompt = tokens.encode("a", true).expect("tokens");
    let address = runtime.block_on(gateway(&tokens, &dir));
    let mut group = criterion.benchmark_group("generation");
    group.throughput(Throughput::Elements(TOKENS as u64));
    group.bench_function("engine", |bencher| {
        bencher.to_async(&runtime).iter(|| async {
            let request = Request { tokens_max: Some(TOKENS), ignores_end: true, ..Request::greedy(prompt.clone()) };
            let (mut answer, mut count) = (direct.submit(request).expect("an answer"), 0);
            while let Some(delta) = answer.next().await {
                count += delta.tokens.len();
            }
            assert_eq!(count, TOKENS);
        });
    });
    group.bench_function("gateway and SSE", |bencher| {
        bencher.to_async(&runtime).iter(|| stream(address));
    });
    group.finish();
}

criterion_group!(benches, per_token);
criterion_main!(benches);
