//! Guests of `wasi:http` 0.3: what holds for those of 0.2 holds for them.

mod common;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use common::{Host, PATIENCE, context, host, host_of};
use futures_util::{StreamExt, stream};
use headland_batcher::{Model, ModelInfo, ModelOptions, ModelTable};
use headland_guest_host::{GuestBody, GuestError, Outcome};
use headland_nn_core::{
    Batching, DType, Device, Dim, Executor, NamedTensor, NnError, OutputSelection, Signature, Tensor, TensorSpec,
};
use headland_package::Sha256Digest;
use headland_trust::Verified;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

const COMPONENT: &str = "service.wasm";

async fn service(more: &str) -> Option<Host> {
    let host = host();
    host.deploy("1", COMPONENT, more).await?;
    Some(host)
}

async fn send<B>(host: &Host, path: &str, body: B) -> Result<Response<GuestBody>, GuestError>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: std::fmt::Display,
{
    let request = Request::post(format!("http://x.test/{path}")).body(body).unwrap();
    host.route().handle(request, context()).await
}

/// A body in pieces, whose length nobody knows beforehand.
fn pieces(pieces: Vec<Bytes>) -> impl Body<Data = Bytes, Error = Infallible> + Unpin + Send + 'static {
    StreamBody::new(stream::iter(pieces.into_iter().map(|piece| Ok(Frame::data(piece)))))
}

async fn next(body: &mut GuestBody) -> Bytes {
    tokio::time::timeout(PATIENCE, body.frame()).await.unwrap().unwrap().unwrap().into_data().unwrap()
}

fn cut_off(host: &Host) -> u64 {
    host.apps.stats().iter().map(|(_, stats)| stats.cut_off()).sum()
}

#[tokio::test]
async fn a_guest_of_0_3_answers() {
    let Some(host) = service("").await else { return };
    assert_eq!(host.get().await.unwrap(), "hello, world\n");
    let response = send(&host, "", Full::<Bytes>::default()).await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["content-length"]), (200, &"13".parse().unwrap()));
    assert_eq!(host.count(Outcome::Ok), 2);
}

#[tokio::test]
async fn a_body_larger_than_any_buffer_streams_through() {
    let Some(host) = service("[limits]\nbody = '64MiB'\nmemory = '8MiB'\ndeadline_ms = 60000").await else { return };
    let sent: Vec<Bytes> = (0..=255_u8).map(|piece| vec![piece; 100_001].into()).collect();
    for path in ["echo", "pass"] {
        let response = send(&host, path, pieces(sent.clone())).await.unwrap();
        let received = response.into_body().collect().await.unwrap().to_bytes();
        assert!(received == sent.concat(), "{path}: {} bytes came back", received.len());
    }
}

#[tokio::test]
async fn a_body_streams_while_it_is_sent_and_the_guest_stops_when_the_client_goes() {
    let Some(host) = service("").await else { return };
    let (more, chunks) = mpsc::channel(1);
    let frames = stream::unfold(chunks, |mut chunks: mpsc::Receiver<Bytes>| async move {
        Some((Ok::<_, Infallible>(Frame::data(chunks.recv().await?)), chunks))
    });
    let mut body = send(&host, "echo", StreamBody::new(Box::pin(frames))).await.unwrap().into_body();
    for text in ["first", "second", "third"] {
        more.send(text.into()).await.unwrap();
        assert_eq!(next(&mut body).await, text);
    }
    assert_eq!(host.apps.stats()[0].1.instances(), 1);
    drop(body);
    host.until_no_instance_is_alive().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_or_breaks_the_answer_off() {
    let Some(host) = service("[limits]\nbody = '1KiB'").await else { return };
    let large = || pieces(vec![vec![1; 1000].into(); 2]);
    let declared = send(&host, "echo", Full::from(vec![1; 2000])).await.map(|_| ());
    let read_before_the_answer = send(&host, "infer", large()).await.map(|_| ());
    for refused in [declared, read_before_the_answer] {
        assert!(matches!(refused, Err(GuestError::BodyTooLarge { .. })), "{refused:?}");
    }
    // Whether the head was out before the limit was met is the guest's doing.
    for path in ["echo", "pass"] {
        match send(&host, path, large()).await {
            Ok(response) => assert!(response.into_body().collect().await.is_err()),
            Err(error) => assert!(matches!(error, GuestError::BodyTooLarge { .. })),
        }
    }
    assert_eq!(host.get().await.unwrap(), "hello, world\n");
}

#[tokio::test]
async fn what_a_guest_does_wrong_has_its_own_error_and_hurts_nobody_else() {
    for more in ["", "reuse = true\n"] {
        let Some(host) = service(&format!("{more}[limits]\nmemory = '8MiB'\ndeadline_ms = 1000")).await else { return };
        assert_eq!(host.ask("trap").await, Err(GuestError::Trapped));
        assert_eq!(host.ask("spin").await, Err(GuestError::DeadlineExceeded { deadline_ms: 1000 }));
        assert!(matches!(host.ask("eat").await, Err(GuestError::MemoryLimit { .. })));
        assert_eq!(host.ask("hoard").await, Err(GuestError::Trapped));
        assert_eq!(host.ask("count").await.unwrap(), "1");
        assert_eq!(cut_off(&host), 0);
    }
}

#[tokio::test]
async fn an_answer_that_a_trap_ends_breaks_off() {
    let Some(host) = service("").await else { return };
    let mut body = send(&host, "trap-mid-body", Full::<Bytes>::default()).await.unwrap().into_body();
    assert_eq!(next(&mut body).await, "half of it");
    assert!(body.collect().await.is_err());
    host.until_no_instance_is_alive().await;
    assert_eq!(cut_off(&host), 1);
}

#[tokio::test]
async fn what_goes_on_after_a_whole_answer_ends_at_the_deadline() {
    let Some(host) = service("reuse = true\n[limits]\ndeadline_ms = 3000").await else { return };
    let response = send(&host, "linger", Full::<Bytes>::default()).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "lingers\n");
    // Not for the next one to have, while it is busy.
    assert_eq!(host.ask("count").await.unwrap(), "1");
    let only_the_idle_one = async {
        while host.apps.stats()[0].1.instances() > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, only_the_idle_one).await.unwrap();
    assert_eq!(host.ask("count").await.unwrap(), "2");
}

#[tokio::test]
async fn without_reuse_every_request_finds_fresh_memory() {
    let Some(host) = service("").await else { return };
    for _ in 0..3 {
        assert_eq!(host.ask("count").await.unwrap(), "1");
    }
}

#[tokio::test]
async fn with_reuse_an_instance_answers_a_thousand_requests_and_no_more() {
    let Some(host) = service("reuse = true\n").await else { return };
    for count in 1..=1_000 {
        assert_eq!(host.ask("count").await.unwrap(), count.to_string());
    }
    assert_eq!(host.ask("count").await.unwrap(), "1");
}

#[tokio::test]
async fn a_body_nobody_read_does_not_end_reuse() {
    let Some(host) = service("reuse = true\n").await else { return };
    for count in 1..=50 {
        let response = send(&host, "count", pieces(vec!["unread".into(); 3])).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), count.to_string());
    }
}

#[tokio::test]
async fn standard_output_is_written_in_the_old_way_and_the_new() {
    let Some(host) = service("reuse = true\n").await else { return };
    for count in 1..=50 {
        assert_eq!(host.ask("print").await.unwrap(), format!("{count} Ok(())"));
    }
}

#[tokio::test]
async fn an_instance_that_trapped_is_replaced() {
    let Some(host) = service("reuse = true\n").await else { return };
    for path in ["trap", "trap-mid-body"] {
        assert_eq!(host.ask("count").await.unwrap(), "1");
        assert_eq!(host.ask("count").await.unwrap(), "2");
        match send(&host, path, Full::<Bytes>::default()).await {
            Ok(response) => assert!(response.into_body().collect().await.is_err()),
            Err(error) => assert_eq!(error, GuestError::Trapped),
        }
    }
    assert_eq!(host.ask("count").await.unwrap(), "1");
}

#[tokio::test]
async fn guests_of_both_versions_share_the_limit_of_instances() {
    let one = "[limits]\ninstances = 1";
    let Some(host) = service(one).await else { return };
    let without_end = stream::iter([Ok::<_, Infallible>(Frame::data("first".into()))]).chain(stream::pending());
    let mut busy = send(&host, "pass", StreamBody::new(without_end)).await.unwrap().into_body();
    host.deploy("2", "hello.wasm", one).await.unwrap();
    assert_eq!(host.get().await, Err(GuestError::Overloaded));
    next(&mut busy).await;
    drop(busy);
    host.until_no_instance_is_alive().await;
    assert_eq!(host.get().await.unwrap(), "hello, world\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_each_get_their_own_answer() {
    let Some(host) = service("reuse = true\n[limits]\ninstances = 8").await else { return };
    let requests = (0..400_usize).map(|index| {
        let route = host.route();
        let text = format!("number {index}");
        let request = Request::post("http://x.test/echo").body(Full::from(text.clone())).unwrap();
        async move { (text, route.handle(request, context()).await) }
    });
    let mut answered = 0;
    for request in requests.map(tokio::spawn).collect::<Vec<_>>() {
        match request.await.unwrap() {
            (text, Ok(response)) => {
                assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), text);
                answered += 1;
            }
            (_, Err(error)) => assert_eq!(error, GuestError::Overloaded),
        }
    }
    assert_eq!(host.count(Outcome::Ok), answered);
    assert!(answered >= 8, "{answered}");
}

#[tokio::test]
async fn only_listed_origins_are_reached() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let Some(host) = service(&format!("[outbound]\nallow = ['{origin}']")).await else { return };
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut asked = vec![0; 4096];
        let _ = client.read(&mut asked).await.unwrap();
        client.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    });
    assert_eq!(host.ask(&format!("outbound?url={origin}/x")).await.unwrap(), "204");
    let denied = host.ask("outbound?url=http://127.0.0.1:1/x").await.unwrap();
    assert_eq!(denied, "ErrorCode::HttpRequestDenied");
}

/// Gives back what it gets, twice as large.
struct Double(Signature);

impl Executor for Double {
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
        Batching::Single { why: "the test runs one at a time".into() }
    }
    fn run(&mut self, inputs: &[NamedTensor], _: &OutputSelection) -> Result<Vec<NamedTensor>, NnError> {
        let input = &inputs[0].tensor;
        let doubled = input.to_slice::<f32>()?.iter().map(|number| number * 2.0).collect();
        Ok(vec![NamedTensor::new("y", Tensor::from_vec(input.shape().clone(), doubled)?)])
    }
}

#[tokio::test]
async fn a_guest_of_0_3_runs_the_models_it_may_use() {
    let spec = |name| TensorSpec::new(name, DType::F32, vec![Dim::Dynamic(None), Dim::Dynamic(None)]);
    let info = ModelInfo {
        name: "double".parse().unwrap(),
        version: "1".parse().unwrap(),
        digest: Sha256Digest::of(b"double"),
        backend: "test".into(),
    };
    let executor = Double(Signature { inputs: vec![spec("x")], outputs: vec![spec("y")] });
    let model = Model::start(info, vec![Box::new(executor)], None, ModelOptions::default()).unwrap();
    let models = ModelTable::default();
    models.insert(Verified::named_by_operator(Arc::new(model), "a test"));
    let host = host_of(models);
    let Some(()) = host.deploy("1", COMPONENT, "reuse = true\n[models]\nallow = ['double', 'absent']").await else {
        return;
    };
    for numbers in [[1.0_f32, 2.5], [-3.0, 0.0]] {
        let body: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let response = send(&host, "infer?model=double&input=x&shape=1,2", Full::from(body)).await.unwrap();
        let expected = format!("{:?}", numbers.map(|number| number * 2.0));
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), expected);
    }
    for (model, expected) in [("absent", "not-found"), ("denied", "security")] {
        assert_eq!(host.ask(&format!("infer?model={model}&input=x&shape=1,2")).await.unwrap(), expected);
    }
}
