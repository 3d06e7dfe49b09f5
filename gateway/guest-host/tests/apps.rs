//! Apps that come, change and go while requests are under way.

mod common;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use common::{PATIENCE, context, host, request, source};
use headland_guest_host::{AppRoute, DeployError, GuestBody, GuestError, Outcome};
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::mpsc;

/// A request to `echo_stream` that is under way for as long as `more` lives.
struct UnderWay {
    more: mpsc::Sender<Bytes>,
    body: GuestBody,
}

impl UnderWay {
    async fn begin(route: Arc<AppRoute>) -> Self {
        let (more, chunks) = mpsc::channel(1);
        // Its head comes with the first bytes.
        more.send("begin".into()).await.unwrap();
        let frames = futures_util::stream::unfold(chunks, |mut chunks: mpsc::Receiver<Bytes>| async move {
            let chunk = chunks.recv().await?;
            Some((Ok::<_, Infallible>(Frame::data(chunk)), chunks))
        });
        let response: Response<GuestBody> =
            route.handle(request(StreamBody::new(Box::pin(frames))), context()).await.unwrap();
        let mut begun = UnderWay { more, body: response.into_body() };
        begun.expect("begin").await;
        begun
    }

    async fn echo(&mut self, text: &'static str) {
        self.more.send(text.into()).await.unwrap();
        self.expect(text).await;
    }

    async fn expect(&mut self, text: &str) {
        let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), text);
    }

    async fn end(self) {
        drop(self.more);
        assert!(self.body.collect().await.unwrap().to_bytes().is_empty());
    }
}

#[tokio::test]
async fn a_request_under_way_ends_on_its_own_version_while_others_get_the_next() {
    let host = host();
    let Some(()) = host.deploy("1", "echo_stream.wasm", "").await else { return };
    let mut old = UnderWay::begin(host.route()).await;
    old.echo("before").await;
    host.deploy("2", "hello.wasm", "").await;
    assert_eq!(host.get().await.unwrap(), "hello, world\n");
    old.echo("after").await;
    host.apps.remove(&"x".parse().unwrap()).unwrap();
    assert!(host.apps.route(None, "/").is_none());
    old.echo("still").await;
    old.end().await;
}

#[tokio::test]
async fn counters_go_on_and_the_limit_of_instances_holds_over_versions() {
    let host = host();
    let one = "[limits]\ninstances = 1";
    let Some(()) = host.deploy("1", "echo_stream.wasm", one).await else { return };
    let mut old = UnderWay::begin(host.route()).await;
    host.deploy("2", "hello.wasm", one).await;
    assert_eq!(host.get().await, Err(GuestError::Overloaded));
    host.deploy("3", "hello.wasm", "[limits]\ninstances = 2").await;
    assert_eq!(host.get().await.unwrap(), "hello, world\n");
    host.deploy("4", "hello.wasm", one).await;
    assert_eq!(host.get().await, Err(GuestError::Overloaded));
    old.echo("x").await;
    old.end().await;
    host.until_no_instance_is_alive().await;
    assert_eq!(host.get().await.unwrap(), "hello, world\n");
    assert_eq!((host.count(Outcome::Ok), host.count(Outcome::Refused)), (3, 2));
    assert_eq!(host.apps.list()[0].requests, 5);
}

#[tokio::test]
async fn a_conflict_names_both_apps_and_changes_nothing() {
    let host = host();
    let Some(()) = host.deploy("1", "hello.wasm", "").await else { return };
    let other = host.prepare("other", "1", "/", "echo_stream.wasm", "").unwrap();
    let error = host.apps.put(other).map(|_| ()).unwrap_err();
    assert!(matches!(error, DeployError::Conflict(_)));
    assert_eq!(error.to_string(), "apps `x` and `other` both claim path `/` of host `any`");
    let names: Vec<String> = host.apps.list().iter().map(|app| app.name.to_string()).collect();
    assert_eq!(names, ["x"]);
    assert_eq!(host.get().await.unwrap(), "hello, world\n");
    // Beside it there is room.
    let beside = host.prepare("other", "1", "/other", "echo_stream.wasm", "").unwrap();
    assert!(host.apps.put(beside).unwrap().is_none());
    let moved = host.prepare("other", "2", "/", "echo_stream.wasm", "").unwrap();
    assert!(host.apps.put(moved).is_err());
    assert!(host.apps.route(None, "/other").is_some_and(|route| &**route.app() == "other"));
}

#[tokio::test]
async fn an_app_shows_its_version_and_why_it_was_let_in() {
    let host = host();
    let Some(()) = host.deploy("1", "hello.wasm", "").await else { return };
    let next = host.prepare("x", "2", "/", "hello.wasm", "").unwrap();
    let before = host.apps.put(next).unwrap().unwrap();
    assert_eq!(before.version, Some("1".parse().unwrap()));
    let now = host.apps.get(&"x".parse().unwrap()).unwrap();
    assert_eq!(now.version, Some("2".parse().unwrap()));
    assert_eq!(now.admitted, "named by the operator: a test");
    assert!(now.routes[0].component == "hello.wasm" && now.routes[0].digest.starts_with("sha256:"));
}

#[tokio::test]
async fn what_cannot_be_prepared_is_named() {
    let host = host();
    let Some(good) = source("x", "1", "/", "hello.wasm", "") else { return };
    for (bytes, expected) in [
        (None, "its manifest names component hello.wasm, which is not among its files"),
        (Some(Bytes::from("hello")), "component hello.wasm: it is not a component this host can run"),
        (
            Some(Bytes::from_static(b"\0asm\x0d\0\x01\0")),
            "hello.wasm cannot be linked: it exports neither `wasi:http/incoming-handler` 0.2 nor `wasi:http/handler` 0.3",
        ),
    ] {
        let changed = good.clone().map(|mut source| {
            source.components = bytes.map(|bytes| ("hello.wasm".to_owned(), bytes)).into_iter().collect();
            source
        });
        let error = host.apps.prepare(changed).map(|_| ()).unwrap_err();
        let said = std::error::Error::source(&error).map_or(error.to_string(), |cause| format!("{error}: {cause}"));
        assert!(said.starts_with("app `x`: ") && said.contains(expected), "{said}");
    }
    assert!(host.apps.list().is_empty());
}
