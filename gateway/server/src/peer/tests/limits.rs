//! What is too much.

use headland_nn_core::Busy;
use headland_remote::limits::STREAMS_MAX;

use super::*;
use crate::test_support::echo;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_larger_than_a_pop_takes_is_too_large() {
    let fleet = Fleet::new();
    let model = echo("echo:1", DType::U8);
    let small = gateway([model.clone()], Limits { body_bytes_max: 1 << 10, ..Limits::default() });
    let pop = fleet.pop_with("fra2", small, None, "127.0.0.1:0").await;
    let there = fleet.origin().routed(&model, vec![pop.share(1.0)]).await;
    let bytes = |count: usize| {
        let tensor = Tensor::new(DType::U8, [1, count], vec![0; count].into()).unwrap();
        Call { inputs: vec![NamedTensor::new("x", tensor)].into(), ..Call::default() }
    };
    there.infer(bytes(4 << 10)).await.unwrap();
    let error = there.infer(bytes(8 << 20)).await.unwrap_err();
    assert!(matches!(error, NnError::TooLarge(_)), "{error:?}");
    there.infer(bytes(4 << 10)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_requests_are_under_way_to_a_pop_than_may_be() {
    let fleet = Fleet::new();
    let (leave, leaves) = std::sync::mpsc::channel::<()>();
    let mut answer = adding(0.5);
    let script: Script = Box::new(move |inputs, wanted| {
        let _ = leaves.recv_timeout(LONG);
        answer(inputs, wanted)
    });
    let pop = fleet.pop("fra2", [scripted("m", 2 * STREAMS_MAX, script)]).await;
    let origin = fleet.origin();
    let model = origin.routed(&scripted("m", 1, adding(0.0)), vec![pop.share(1.0)]).await;
    let calls: Vec<_> = (0..STREAMS_MAX).map(|_| spawn(&model, call(1.0))).collect();
    until("all are under way", || origin.stats("fra2").outstanding == STREAMS_MAX).await;
    let error = model.infer(call(1.0)).await.unwrap_err();
    let expected = Busy::QueueFull { queue_max: STREAMS_MAX };
    assert!(matches!(error, NnError::Overloaded { reason, .. } if reason == expected), "{error:?}");
    (0..STREAMS_MAX).for_each(|_| leave.send(()).unwrap());
    for call in calls {
        call.await.unwrap().unwrap();
    }
    leave.send(()).unwrap();
    model.infer(call(1.0)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_refused_and_harms_nobody() {
    let model = scripted("m", 8, adding(0.5));
    let plane = peer_plane(gateway([model], Limits::default()), None);
    let ask = async |content_type: &str, body: &'static [u8]| {
        let request = http::Request::post(INFER_PATH).header(CONTENT_TYPE, content_type);
        test_support::send(&plane, request.body(axum::body::Body::from(body)).unwrap()).await
    };
    for (content_type, body) in [
        ("application/json", &b"{}"[..]),
        (wire::MEDIA_TYPE, b""),
        (wire::MEDIA_TYPE, b"\x02\0\0\0{}"),
        (wire::MEDIA_TYPE, b"\xff\xff\xff\xff"),
    ] {
        let seen = ask(content_type, body).await;
        assert_eq!(
            (seen.status, seen.header("content-type")),
            (StatusCode::BAD_REQUEST, Some("application/problem+json"))
        );
    }
    for (path, status) in [
        (READY_PATH, StatusCode::OK),
        ("/fleet/v1/models/m/1", StatusCode::OK),
        ("/fleet/v1/models/m/2", StatusCode::NOT_FOUND),
        ("/fleet/v1/models/../1", StatusCode::BAD_REQUEST),
        ("/v2/models", StatusCode::NOT_FOUND),
        ("/", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(test_support::get(&plane, path).await.status, status, "{path}");
    }
}
