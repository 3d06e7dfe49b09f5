//! Blobs in: whole, chunked, continued, mounted, cancelled.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use headland_package::Sha256Digest;
use headland_registry::oci::OpenGate;
use http::{Method, StatusCode, header};
use tokio::sync::oneshot;

use super::registry::{Answer, TestRegistry, request};

const UPLOADS: &str = "/v2/library/x/blobs/uploads/";

async fn begun(registry: &TestRegistry) -> String {
    let answer = registry.call(Method::POST, UPLOADS, "").await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    answer.header("location").to_owned()
}

async fn chunk(registry: &TestRegistry, location: &str, range: &str, bytes: impl Into<Body>) -> Answer {
    registry.send(request(Method::PATCH, location, &[(header::CONTENT_RANGE, range)], bytes)).await
}

async fn finish(registry: &TestRegistry, location: &str, whole: &[u8], last: &'static [u8]) -> Answer {
    registry.call(Method::PUT, &format!("{location}?digest={}", Sha256Digest::of(whole)), last).await
}

/// A body that sends some bytes and then breaks off.
fn broken(bytes: &'static [u8]) -> Body {
    let pieces = [Ok(Bytes::from_static(bytes)), Err(std::io::Error::other("cable cut"))];
    Body::from_stream(stream::iter(pieces))
}

#[tokio::test]
async fn an_upload_begun_and_put_whole_becomes_a_blob() {
    let registry = TestRegistry::new();
    let location = begun(&registry).await;
    let answer = finish(&registry, &location, b"whole", b"whole").await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(answer.header("docker-content-digest"), Sha256Digest::of(b"whole").to_string());
    assert_eq!(registry.get(answer.header("location")).await.body, "whole");
    registry.get(&location).await.assert_failure("404 BLOB_UPLOAD_UNKNOWN", "begin a new one");
}

#[tokio::test]
async fn chunks_add_up_and_the_status_says_how_far() {
    let registry = TestRegistry::new();
    let location = begun(&registry).await;
    let answer = chunk(&registry, &location, "0-2", "abc").await;
    assert_eq!((answer.status, answer.header("range")), (StatusCode::ACCEPTED, "0-2"));
    let answer = registry.call(Method::PATCH, &location, "de").await;
    assert_eq!((answer.status, answer.header("range")), (StatusCode::ACCEPTED, "0-4"));
    let answer = registry.get(&location).await;
    assert_eq!((answer.status, answer.header("range")), (StatusCode::NO_CONTENT, "0-4"));
    assert_eq!(answer.header("location"), location);
    assert_eq!(finish(&registry, &location, b"abcdefg", b"fg").await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_gap_or_an_overlap_is_416_and_says_where_to_go_on() {
    let registry = TestRegistry::new();
    let location = begun(&registry).await;
    chunk(&registry, &location, "0-2", "abc").await;
    for range in ["5-6", "0-1", "2-3"] {
        let answer = chunk(&registry, &location, range, "xx").await;
        answer.assert_failure("416 BLOB_UPLOAD_INVALID", "the upload stands at 3");
        assert_eq!((answer.header("range"), answer.header("location")), ("0-2", &location[..]));
    }
    assert_eq!(finish(&registry, &location, b"abcd", b"d").await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn what_arrived_before_the_connection_broke_is_kept_and_continued() {
    let registry = TestRegistry::new();
    let location = begun(&registry).await;
    let answer = registry.call(Method::PATCH, &location, broken(b"first half, ")).await;
    answer.assert_failure("400 SIZE_INVALID", "broke off");
    assert_eq!(registry.get(&location).await.header("range"), "0-11");
    assert_eq!(chunk(&registry, &location, "12-22", "second half").await.status, StatusCode::ACCEPTED);
    assert_eq!(finish(&registry, &location, b"first half, second half", b"").await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_whole_upload_that_breaks_off_leaves_nothing() {
    let registry = TestRegistry::new();
    begun(&registry).await;
    let before = registry.snapshot();
    let path = format!("{UPLOADS}?digest={}", Sha256Digest::of(b"first half, second half"));
    registry.call(Method::POST, &path, broken(b"first half, ")).await.assert_failure("400 SIZE_INVALID", "broke off");
    assert_eq!(registry.snapshot(), before);
}

#[tokio::test]
async fn a_client_that_stalls_is_let_go_and_may_continue() {
    let registry = TestRegistry::with(OpenGate, |limits, _| limits.upload_idle_max = Duration::from_millis(20));
    let location = begun(&registry).await;
    let stalls = stream::iter([Ok::<_, std::io::Error>(Bytes::from("abc"))]).chain(stream::pending());
    let answer = registry.call(Method::PATCH, &location, Body::from_stream(stalls)).await;
    answer.assert_failure("408 SIZE_INVALID", "nothing arrived for 0.02 s");
    assert_eq!(registry.get(&location).await.header("range"), "0-2");
    assert_eq!(finish(&registry, &location, b"abcd", b"d").await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_its_session_free() {
    let registry = TestRegistry::with(OpenGate, |limits, _| limits.uploads_running_max = 1);
    let location = begun(&registry).await;
    let (reading, is_read) = oneshot::channel();
    let endless = stream::once(async move {
        let _ = reading.send(());
        std::future::pending::<std::io::Result<Bytes>>().await
    });
    tokio::select! {
        answer = registry.call(Method::PATCH, &location, Body::from_stream(endless)) => panic!("{answer:?}"),
        read = is_read => read.unwrap(),
    }
    let goes_on = async {
        while finish(&registry, &location, b"abc", b"abc").await.status != StatusCode::CREATED {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), goes_on).await.expect("the session is free again");
}

#[tokio::test]
async fn one_upload_too_many_is_told_to_come_back() {
    let registry = TestRegistry::with(OpenGate, |limits, _| limits.uploads_running_max = 1);
    let (first, second) = (begun(&registry).await, begun(&registry).await);
    let (is_read, end, body) = ends_when_told();
    let running = registry.call(Method::PATCH, &first, body);
    let refused = async {
        is_read.await.unwrap();
        let answer = registry.call(Method::PATCH, &second, "x").await;
        answer.assert_failure("429 TOOMANYREQUESTS", "1 uploads are running already");
        assert_eq!(answer.header("retry-after"), "1");
        drop(end);
    };
    let (running, ()) = tokio::join!(running, refused);
    assert_eq!(running.status, StatusCode::ACCEPTED);
    assert_eq!(registry.call(Method::PATCH, &second, "x").await.status, StatusCode::ACCEPTED);
}

/// A body of one `x`, which says when it is first read, and ends when told.
fn ends_when_told() -> (oneshot::Receiver<()>, oneshot::Sender<()>, Body) {
    let (reading, is_read) = oneshot::channel();
    let (end, ended) = oneshot::channel::<()>();
    let body = stream::once(async move {
        let _ = reading.send(());
        let _ = ended.await;
        Ok::<_, std::io::Error>(Bytes::from("x"))
    });
    (is_read, end, Body::from_stream(body))
}

#[tokio::test]
async fn two_writers_of_one_session_exclude_each_other() {
    let registry = TestRegistry::new();
    let location = begun(&registry).await;
    let (is_read, end, body) = ends_when_told();
    let running = registry.call(Method::PATCH, &location, body);
    let refused = async {
        is_read.await.unwrap();
        let answer = registry.call(Method::PATCH, &location, "y").await;
        answer.assert_failure("409 BLOB_UPLOAD_INVALID", "is being written by another request");
        drop(end);
    };
    let (running, ()) = tokio::join!(running, refused);
    assert_eq!(running.status, StatusCode::ACCEPTED);
    assert_eq!(finish(&registry, &location, b"x", b"").await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_cancelled_upload_is_gone() {
    let registry = TestRegistry::new();
    let location = begun(&registry).await;
    chunk(&registry, &location, "0-2", "abc").await;
    assert_eq!(registry.call(Method::DELETE, &location, "").await.status, StatusCode::NO_CONTENT);
    registry.call(Method::DELETE, &location, "").await.assert_failure("404 BLOB_UPLOAD_UNKNOWN", "there is no upload");
}

#[tokio::test]
async fn a_blob_is_mounted_from_another_repository_or_uploaded_after_all() {
    let registry = TestRegistry::new();
    let digest = registry.push_blob("library/x", b"shared").await;
    let mount = |from: &str| format!("/v2/library/y/blobs/uploads/?mount={digest}&from={from}");
    let answer = registry.call(Method::POST, &mount("library/z"), "").await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "library/z does not have it");
    let answer = registry.call(Method::POST, &mount("library/x"), "").await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(registry.get(answer.header("location")).await.body, "shared");
    let answer = registry.call(Method::POST, &mount("../x"), "").await;
    answer.assert_failure("400 NAME_INVALID", "`../x` is not a repository name");
}

#[tokio::test]
async fn an_upload_that_will_not_fit_is_refused_before_it_is_sent() {
    let registry = TestRegistry::with(OpenGate, |_, options| options.quota_bytes = 1_000);
    let location = begun(&registry).await;
    let before = registry.snapshot();
    let whole = format!("{UPLOADS}?digest={}", Sha256Digest::of(b""));
    let never_read = || Body::from_stream(stream::pending::<std::io::Result<Bytes>>());
    for (method, path) in [(Method::PATCH, &location), (Method::POST, &whole)] {
        let headers = [(header::CONTENT_LENGTH, "1001")];
        let answer = registry.send(request(method, path, &headers, never_read())).await;
        answer.assert_failure("413 DENIED", "the store is full");
    }
    assert_eq!(registry.snapshot(), before);
    // Not announced, it is refused when it no longer fits, and what fitted is kept for when there is room.
    let pieces = stream::iter((0..4).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![0; 300]))));
    registry.call(Method::PATCH, &location, Body::from_stream(pieces)).await.assert_failure("413 DENIED", "is full");
    assert_eq!(registry.get(&location).await.header("range"), "0-899");
}

#[tokio::test]
async fn a_session_survives_a_restart() {
    let registry = TestRegistry::new();
    let location = begun(&registry).await;
    chunk(&registry, &location, "0-2", "abc").await;
    let registry = registry.restarted();
    assert_eq!(registry.get(&location).await.header("range"), "0-2");
    assert_eq!(finish(&registry, &location, b"abcd", b"d").await.status, StatusCode::CREATED);
}
