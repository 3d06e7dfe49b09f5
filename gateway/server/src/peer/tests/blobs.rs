//! What members of the fleet read out of the registry.

use futures_util::StreamExt as _;
use headland_package::Sha256Digest;
use headland_registry::oci::OpenGate;
use headland_registry::store::{Store, StoreOptions};
use headland_remote::Span;

use super::*;

fn put(store: &Store, bytes: &[u8]) -> Sha256Digest {
    let digest = Sha256Digest::of(bytes);
    let mut upload = store.begin_upload(&"models/m".parse().unwrap()).unwrap();
    upload.write(bytes).unwrap();
    upload.finish(digest).unwrap();
    digest
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_are_read_whole_and_by_range_and_never_written() {
    let fleet = Fleet::new();
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
    let bytes: Vec<u8> = (0..3_000_000usize).map(|at| (at % 251) as u8).collect();
    let digest = put(&store, &bytes);
    let registry = Registry { store, gatekeeper: Arc::new(OpenGate), limits: Default::default() };
    let empty = gateway([], Limits::default());
    let pop = fleet.pop_with("fra2", empty, Some(registry), "127.0.0.1:0").await;
    let http = fleet.origin().peers.http(&fra2(), &pop.address.to_string());
    let path = format!("/v2/models/m/blobs/{digest}");

    let head = http.head(&path).await.unwrap();
    assert_eq!((head.status, head.headers["content-length"].to_str().unwrap()), (StatusCode::OK, "3000000"));
    let mut stream = http.get(&path, None).await.unwrap().into_stream();
    let mut whole = Vec::new();
    while let Some(piece) = stream.next().await {
        whole.extend_from_slice(&piece.unwrap());
    }
    assert!(whole == bytes);
    for (span, expected) in [
        (Span { start: 2_999_990, end: None }, &bytes[2_999_990..]),
        (Span { start: 10, end: Some(20) }, &bytes[10..20]),
    ] {
        let part = http.get(&path, Some(span)).await.unwrap();
        assert_eq!(part.status, StatusCode::PARTIAL_CONTENT);
        assert_eq!(&part.bytes(1 << 20).await.unwrap()[..], expected);
    }
    let too_long = http.get(&path, None).await.unwrap().bytes(1 << 20).await.unwrap_err();
    assert!(too_long.to_string().contains("longer than 1048576 bytes"), "{too_long}");
    let missing = Sha256Digest::of(b"nothing");
    let missing = http.get(&format!("/v2/models/m/blobs/{missing}"), None).await.unwrap();
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn nothing_is_written_through_the_peer_plane() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
    let digest = put(&store, b"weights");
    let registry = Registry { store, gatekeeper: Arc::new(OpenGate), limits: Default::default() };
    let plane = peer_plane(gateway([], Limits::default()), Some(registry));
    let blob = format!("/v2/models/m/blobs/{digest}");
    for (method, path) in [
        (Method::DELETE, blob.as_str()),
        (Method::POST, "/v2/models/m/blobs/uploads/"),
        (Method::PUT, "/v2/models/m/manifests/1"),
    ] {
        let request = http::Request::builder().method(method).uri(path).body(axum::body::Body::empty()).unwrap();
        assert_eq!(test_support::send(&plane, request).await.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
    assert_eq!(test_support::get(&plane, &blob).await.body, "weights");
}
