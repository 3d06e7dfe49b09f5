//! Answers of a language model that come from another PoP piece by piece: as they are made, until their reader or their maker
//! is gone.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use axum::body::Body;
use headland_batcher::{Described, Failure, ModelInfo, Pieces};
use headland_chat::Tokens;
use headland_generation::{Engine, EngineOptions, LanguageModel, ModelShape, Piece};
use headland_nn_core::{Device, ModelFiles};
use headland_package::Sha256Digest;
use headland_remote::limits::STREAMS_MAX;
use headland_remote::wire::{PIECE_BYTES_MAX, PIECES_MEDIA_TYPE, encode_answer, encode_description, encode_piece};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::answers::small_talk;
use super::*;
use crate::test_support::{post, routed};

/// How many steps a model may still compute, and how many it has begun.
#[derive(Clone, Default)]
struct Gate {
    left: Arc<AtomicU64>,
    begun: Arc<AtomicU64>,
}

impl Gate {
    fn let_through(&self, steps: u64) {
        self.left.fetch_add(steps, Relaxed);
    }

    fn open(&self) {
        self.left.store(u64::MAX / 2, Relaxed);
    }

    fn close(&self) {
        self.left.store(0, Relaxed);
    }

    fn begun(&self) -> u64 {
        self.begun.load(Relaxed)
    }

    fn pass(&self) {
        self.begun.fetch_add(1, Relaxed);
        while self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_err() {
            std::thread::yield_now();
        }
    }
}

/// Says the same letter again and again, a step at a time as its gate lets it.
struct Repeating {
    shape: ModelShape,
    letter: u32,
    gate: Gate,
}

impl LanguageModel for Repeating {
    fn shape(&self) -> &ModelShape {
        &self.shape
    }

    fn step(&mut self, pieces: &[Piece<'_>], logits: &mut Vec<f32>) -> Result<(), NnError> {
        self.gate.pass();
        logits.clear();
        for _ in pieces.iter().filter(|piece| piece.logits) {
            logits.extend((0..self.shape.vocabulary as u32).map(|token| f32::from(u8::from(token == self.letter))));
        }
        Ok(())
    }
}

/// A language model that says `letter`, and its gate.
fn repeating(letter: &str) -> (Arc<Model>, Gate) {
    let file = |name: &str, from: &str| {
        let bytes = std::fs::read(format!("../../test-data/generation/chat/{from}")).unwrap();
        (name.to_owned(), bytes.into())
    };
    let files = [file("tokenizer.json", "tokenizer.json"), file("chat_template.jinja", "llama3.jinja")];
    let tokens = Arc::new(Tokens::open(&ModelFiles::new("repeating", files)).unwrap());
    let (context_max, page_tokens, pages) = (512, 16, 256);
    let shape = ModelShape { vocabulary: 320, context_max, page_tokens, pages, page_bytes: 1, weights_bytes: 1 };
    let gate = Gate::default();
    let letter = tokens.encode(letter, false).unwrap()[0];
    let model = Repeating { shape, letter, gate: gate.clone() };
    let engine = Engine::start("letters", Box::new(model), tokens.clone(), EngineOptions::default()).unwrap();
    let (name, version) = ("letters".parse().unwrap(), "1".parse().unwrap());
    let info = ModelInfo { name, version, digest: Sha256Digest::of(b"letters"), backend: "fake".into() };
    (Arc::new(Model::generating(info, engine, tokens, Device::Cpu, None)), gate)
}

fn asking(tokens: usize) -> String {
    format!(r#"{{"model": "letters", "prompt": "b", "stream": true, "max_tokens": {tokens}, "temperature": 0}}"#)
}

/// The same by tensors, as guests ask.
fn piecewise(tokens: usize, deadline: Option<Instant>) -> Call {
    let text = |name: &str, text: &str| {
        NamedTensor::new(name, Tensor::from_vec([text.len()], text.as_bytes().to_vec()).unwrap())
    };
    let parameters = format!(r#"{{"stream": true, "max_tokens": {tokens}, "temperature": 0}}"#);
    Call { inputs: vec![text("text", "b"), text("parameters", &parameters)].into(), deadline, ..Call::default() }
}

async fn begin(model: &Model, tokens: usize) -> Pieces {
    model.stream(&piecewise(tokens, None)).await.unwrap().unwrap()
}

fn told(piece: &[NamedTensor], name: &str) -> String {
    let tensor = &piece.iter().find(|output| &*output.name == name).unwrap().tensor;
    String::from_utf8(tensor.data().to_vec()).unwrap()
}

/// A response that is read while it comes.
struct Reading {
    body: Body,
    text: String,
}

impl Reading {
    async fn post(router: &Router, body: String) -> Self {
        let request = http::Request::post("/v1/completions").header(CONTENT_TYPE, "application/json");
        let response = router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        Reading { body: response.into_body(), text: String::new() }
    }

    /// Reads until it says `what` so many times.
    async fn until(&mut self, what: &str, times: usize) {
        while self.text.matches(what).count() < times {
            let frame = tokio::time::timeout(LONG, self.body.frame()).await.expect("nothing comes");
            let data = frame.unwrap_or_else(|| panic!("it ended: {}", self.text)).unwrap().into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }
}

/// Waits until the model has ended its answers by itself, long before all that was asked for is said. A step is let through at
/// each look: how many it still takes until the model has heard that nobody reads is by chance.
async fn until_given_up(model: &Model, gate: &Gate) {
    let engine = model.generator().unwrap().engine();
    let said = engine.stats().answer_tokens;
    until("its memory is free", || {
        gate.let_through(1);
        let stats = engine.stats();
        stats.running + stats.waiting + stats.pages_used == 0
    })
    .await;
    let said = engine.stats().answer_tokens - said;
    assert!(said < 200, "{said} more tokens were said to nobody");
    gate.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_piece_comes_when_it_is_made() {
    let fleet = Fleet::new();
    let (there, gate) = repeating("a");
    let pop = fleet.pop("fra2", [there.clone()]).await;
    let origin = fleet.origin();
    let model = origin.routed(&there, vec![pop.share(1.0)]).await;
    gate.let_through(3);
    let router = routed(origin.gateway.clone());
    let mut reading = Reading::post(&router, asking(9)).await;
    reading.until(r#""text":"a""#, 3).await;
    assert!(!reading.text.contains("[DONE]") && there.generator().unwrap().engine().stats().running == 1);
    gate.open();
    reading.until("data: [DONE]\n\n", 1).await;
    assert_eq!(reading.text.matches(r#""text":"a""#).count(), 9, "{}", reading.text);
    assert!(reading.text.contains(r#""finish_reason":"length""#));
    until("it is counted", || model.stats().success() == 1 && there.stats().success() == 1).await;
    let stats = origin.stats("fra2");
    assert_eq!((stats.requests, stats.answered, stats.outstanding), (1, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_get_the_same_pieces_from_elsewhere() {
    let fleet = Fleet::new();
    let (there, gate) = repeating("a");
    let pop = fleet.pop("fra2", [there.clone()]).await;
    let model = fleet.origin().routed(&there, vec![pop.share(1.0)]).await;
    gate.open();
    let mut all = Vec::new();
    for model in [&there, &model] {
        let (mut pieces, mut seen) = (begin(model, 4).await, Vec::new());
        while let Some(piece) = pieces.next().await.unwrap() {
            let end = told(&piece, "finish_reason");
            let usage = (!end.is_empty())
                .then(|| told(&piece, "usage").split("\"prompt_tokens_details").next().unwrap().to_owned());
            seen.push((told(&piece, "text"), end, usage));
        }
        assert!(pieces.next().await.unwrap().is_none());
        all.push(seen);
    }
    assert_eq!(all[0], all[1]);
    let text: String = all[1].iter().map(|(text, ..)| text.as_str()).collect();
    assert_eq!((text.as_str(), all[1].last().unwrap().1.as_str()), ("aaaa", "length"));
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_are_told_of_calls_and_that_they_were_the_answer() {
    let fleet = Fleet::new();
    let here = small_talk();
    let pop = fleet.pop("fra2", [small_talk()]).await;
    let there = fleet.origin().routed(&here, vec![pop.share(1.0)]).await;
    let parameters = r#"{
        "stream": true, "temperature": 0, "messages": [{"role": "user", "content": "What time is it?"}],
        "tools": [{"type": "function", "function": {"name": "now"}}], "tool_choice": "required"
    }"#;
    let tensor = Tensor::from_vec([parameters.len()], parameters.as_bytes().to_vec()).unwrap();
    let call = Call { inputs: vec![NamedTensor::new("parameters", tensor)].into(), ..Call::default() };
    for model in [here, there] {
        let (mut pieces, mut calls, mut reason) = (model.stream(&call).await.unwrap().unwrap(), 0, String::new());
        while let Some(piece) = pieces.next().await.unwrap() {
            assert_eq!(told(&piece, "text"), "");
            let chunk: serde_json::Value = serde_json::from_str(&told(&piece, "completion")).unwrap();
            calls += chunk["choices"][0]["delta"]["tool_calls"].as_array().map_or(0, Vec::len);
            reason = told(&piece, "finish_reason");
        }
        assert!(calls > 0 && reason == "tool_calls", "{calls} calls, {reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_events_are_those_that_the_pop_itself_would_send() {
    let fleet = Fleet::new();
    let here = small_talk();
    let pop = fleet.pop("fra2", [small_talk()]).await;
    let origin = fleet.origin();
    origin.routed(&here, vec![pop.share(1.0)]).await;
    let (near, far) = (routed(test_support::gateway([here], Limits::default())), routed(origin.gateway.clone()));
    let user = r#"{"role": "user", "content": "What is Headland?"}"#;
    for (path, body) in [
        ("/v1/chat/completions", format!(r#""messages": [{user}], "stream_options": {{"include_usage": true}}"#)),
        ("/v1/chat/completions", format!(r#""messages": [{user}], "n": 2, "logprobs": true, "top_logprobs": 2"#)),
        (
            "/v1/chat/completions",
            format!(
                r#""messages": [{user}], "tools": [{{"type": "function", "function": {{"name": "now"}}}}], "tool_choice": "required""#
            ),
        ),
        ("/v1/completions", r#""prompt": ["The sky", "The sea"], "echo": true, "max_tokens": 8"#.to_owned()),
    ] {
        let body = format!(r#"{{"model": "small-talk", "temperature": 0, "stream": true, {body}}}"#);
        let (near, far) = (put_together(&near, path, &body).await, put_together(&far, path, &body).await);
        assert_eq!(near, far, "{body}");
        assert!(near["choices"][0]["reason"].is_string(), "{near}");
    }
}

/// What a client makes of the events of an answer, but for what tells answers apart: how much comes at a time is by chance.
async fn put_together(router: &Router, path: &str, body: &str) -> serde_json::Value {
    let seen = post(router, path, body.to_owned()).await;
    let all = seen.text().strip_suffix("data: [DONE]\n\n").unwrap_or_else(|| panic!("{}", seen.text()));
    let mut whole = serde_json::json!({"choices": [{}, {}]});
    for event in all.split_terminator("\n\n") {
        let event: serde_json::Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!((event["id"].is_string(), &event["model"]), (true, &"small-talk".into()));
        whole["object"] = event["object"].clone();
        whole["total"] = event["usage"]["total_tokens"].clone();
        for choice in event["choices"].as_array().unwrap() {
            let whole = &mut whole["choices"][choice["index"].as_u64().unwrap() as usize];
            let mut add = |name: &str, more: &serde_json::Value| {
                let more = match more {
                    serde_json::Value::Null => return,
                    serde_json::Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                let so_far = whole[name].as_str().unwrap_or_default();
                whole[name] = format!("{so_far}{more}").into();
            };
            add("text", &choice["text"]);
            add("role", &choice["delta"]["role"]);
            add("content", &choice["delta"]["content"]);
            add("reason", &choice["finish_reason"]);
            for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
                add("calls", &call["function"]["name"]);
                add("arguments", &call["function"]["arguments"]);
            }
            for token in choice["logprobs"]["content"].as_array().into_iter().flatten() {
                add("logprobs", token);
            }
        }
    }
    whole
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_leaves_ends_the_answer_where_it_is_made() {
    let fleet = Fleet::new();
    let (there, gate) = repeating("a");
    let pop = fleet.pop("fra2", [there.clone()]).await;
    let origin = fleet.origin();
    let model = origin.routed(&there, vec![pop.share(1.0)]).await;
    gate.let_through(2);
    let mut pieces = begin(&model, 400).await;
    assert_eq!(told(&pieces.next().await.unwrap().unwrap(), "text"), "a");
    until("it goes on", || gate.begun() > 1).await;
    drop(pieces);
    until("the PoP has noticed", || there.stats().failure(Failure::Canceled) == 1).await;
    until_given_up(&there, &gate).await;
    assert_eq!((model.stats().failure(Failure::Canceled), origin.stats("fra2").outstanding), (1, 0));
    // A client over HTTP that leaves before anything was said.
    let begun = gate.begun();
    let router = routed(origin.gateway.clone());
    let asked = tokio::spawn(async move { Reading::post(&router, asking(400)).await.text });
    until("it computes", || gate.begun() > begun).await;
    asked.abort();
    until("the PoP has noticed", || there.stats().failure(Failure::Canceled) == 2).await;
    until_given_up(&there, &gate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_whose_pop_is_lost_breaks_off_and_is_not_begun_again_elsewhere() {
    let fleet = Fleet::new();
    let ((dies, gate), (lives, open)) = (repeating("a"), repeating("b"));
    open.open();
    let (first, second) = (fleet.pop("fra2", [dies.clone()]).await, fleet.pop("ams1", [lives.clone()]).await);
    let origin = fleet.origin();
    let model = origin.routed(&dies, vec![first.share(1.0), second.share(0.0)]).await;
    gate.let_through(2);
    let mut pieces = begin(&model, 400).await;
    let router = routed(origin.gateway.clone());
    pieces.next().await.unwrap().unwrap();
    let mut reading = {
        let mut posting = std::pin::pin!(Reading::post(&router, asking(400)));
        loop {
            tokio::select! {
                reading = &mut posting => break reading,
                () = tokio::time::sleep(Duration::from_millis(2)) => gate.let_through(1),
            }
        }
    };
    reading.until(r#""text":"a""#, 1).await;
    first.kill().await;
    let lost = loop {
        match pieces.next().await {
            Ok(piece) => assert!(piece.is_some(), "an answer that is not whole has no end"),
            Err(error) => break error,
        }
    };
    assert!(matches!(&lost, NnError::BrokenOff { why, .. } if why.contains("fra2")), "{lost:?}");
    reading.until("\"error\"", 1).await;
    let event = reading.text.rsplit("data: ").next().unwrap();
    let error: serde_json::Value = serde_json::from_str(event).unwrap();
    assert_eq!(error["error"]["code"], "model_unreachable", "{error}");
    assert!(error["error"]["message"].as_str().unwrap().contains("broke off"), "{error}");
    assert_eq!((origin.stats("ams1").requests, model.stats().failure(Failure::Backend)), (0, 2));
    // Whoever asks now is answered by the other.
    let mut pieces = begin(&model, 3).await;
    assert_eq!(told(&pieces.next().await.unwrap().unwrap(), "text"), "b");
    until_given_up(&dies, &gate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_first_piece_the_next_pop_is_asked() {
    let fleet = Fleet::new();
    let ((dies, gate), (lives, open)) = (repeating("a"), repeating("b"));
    open.open();
    let (first, second) = (fleet.pop("fra2", [dies.clone()]).await, fleet.pop("ams1", [lives.clone()]).await);
    let origin = fleet.origin();
    let model = origin.routed(&dies, vec![first.share(1.0), second.share(0.0)]).await;
    let asked = tokio::spawn({
        let model = model.clone();
        async move { model.stream(&piecewise(3, None)).await }
    });
    until("it computes", || gate.begun() > 0).await;
    first.kill().await;
    let mut pieces = asked.await.unwrap().unwrap().unwrap();
    assert_eq!(told(&pieces.next().await.unwrap().unwrap(), "text"), "b");
    assert_eq!((origin.stats("fra2").failed, origin.stats("ams1").retries), (1, 1));
    gate.open();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_is_said_as_it_is_here() {
    let fleet = Fleet::new();
    let (there, gate) = repeating("a");
    gate.open();
    let pop = fleet.pop("fra2", [there.clone()]).await;
    let origin = fleet.origin();
    let model = origin.routed(&there, vec![pop.share(1.0)]).await;
    let parameters = |text: &str| {
        let tensor = Tensor::from_strings([1], &[text]).unwrap();
        Call { inputs: vec![NamedTensor::new("parameters", tensor)].into(), ..Call::default() }
    };
    for wrong in [
        r#"{"stream": true}"#,
        r#"{"stream": true, "prompt": "a", "colour": "blue"}"#,
        r#"{"stream": true, "prompt": "a", "max_tokens": 600}"#,
        r#"{"stream": true, "prompt": "a", "n": 2}"#,
    ] {
        let (near, far) = (there.stream(&parameters(wrong)).await.err(), model.stream(&parameters(wrong)).await.err());
        assert_eq!(format!("{near:?}"), format!("{far:?}"), "{wrong}");
        assert!(matches!(far, Some(NnError::InvalidInput(_))), "{wrong}");
    }
    assert!(model.stream(&parameters(r#"{"prompt": "a"}"#)).await.unwrap().is_none());
    let router = routed(origin.gateway.clone());
    let refused = post(&router, "/v1/completions", asking(600)).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text());
    assert_eq!(origin.stats("fra2").failed, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_an_answer_at_both_ends() {
    let fleet = Fleet::new();
    let (there, gate) = repeating("a");
    let pop = fleet.pop("fra2", [there.clone()]).await;
    let origin = fleet.origin();
    let model = origin.routed(&there, vec![pop.share(1.0)]).await;
    gate.let_through(1);
    let deadline = Instant::now() + Duration::from_secs(3);
    let mut pieces = model.stream(&piecewise(400, Some(deadline))).await.unwrap().unwrap();
    pieces.next().await.unwrap().unwrap();
    let late = pieces.next().await.unwrap_err();
    assert!(matches!(late, NnError::DeadlineExceeded { .. }), "{late:?}");
    assert!(pieces.next().await.unwrap().is_none());
    until("it is under way no more", || origin.stats("fra2").outstanding == 0).await;
    until_given_up(&there, &gate).await;
}

/// A PoP of another build, or of bad will: whatever it is asked, it says `body`.
async fn odd(fleet: &Fleet, model: &Arc<Model>, media_type: &'static str, body: Vec<u8>) -> Pop {
    let described = encode_description(&Described::of(model));
    let json = [(CONTENT_TYPE, "application/json")];
    let plane = Router::new()
        .route(
            INFER_PATH,
            axum::routing::post(move || std::future::ready(([(CONTENT_TYPE, media_type)], body.clone()))),
        )
        .route(
            &format!("{MODELS_PATH}/{{*model}}"),
            axum::routing::get(move || std::future::ready((json, described.clone()))),
        );
    fleet.pop_of("fra2", plane, Limits::default(), "127.0.0.1:0").await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_answer_in_pieces_is_an_error_and_never_an_end() {
    let fleet = Fleet::new();
    let (there, _) = repeating("a");
    let piece = encode_piece(&[NamedTensor::new("text", Tensor::from_strings([1], &["a"]).unwrap())]);
    let too_long = u32::try_from(PIECE_BYTES_MAX + 1).unwrap().to_le_bytes();
    let whole = encode_answer(&Answer { outputs: Vec::new(), text: None, timing: Default::default(), cache: None });
    for (media_type, body, expected) in [
        (PIECES_MEDIA_TYPE, piece.to_vec(), "BrokenOff"),
        (PIECES_MEDIA_TYPE, piece[..piece.len() - 1].to_vec(), "Unreachable"),
        (PIECES_MEDIA_TYPE, Vec::new(), "Unreachable"),
        (PIECES_MEDIA_TYPE, [&piece[..], &too_long].concat(), "cannot be read: a piece is said to be"),
        (PIECES_MEDIA_TYPE, too_long.to_vec(), "cannot be read: a piece is said to be"),
        (PIECES_MEDIA_TYPE, [&piece[..], &piece[..9]].concat(), "BrokenOff"),
        (wire::MEDIA_TYPE, whole.into_bytes().to_vec(), "answered whole"),
        ("text/html", b"<p>".to_vec(), "answered 200"),
    ] {
        let pop = odd(&fleet, &there, media_type, body).await;
        let origin = fleet.origin();
        let model = origin.routed(&there, vec![pop.share(1.0)]).await;
        let error = match model.stream(&piecewise(3, None)).await {
            Err(error) => error,
            Ok(pieces) => {
                let mut pieces = pieces.unwrap();
                assert!(pieces.next().await.unwrap().is_some());
                pieces.next().await.unwrap_err()
            }
        };
        assert!(format!("{error:?}").contains(expected), "{error:?} is not {expected}");
        assert_eq!((origin.stats("fra2").outstanding, origin.stats("fra2").failed), (0, 1), "{expected}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_in_pieces_count_among_what_is_under_way_to_a_pop() {
    let fleet = Fleet::new();
    let (there, gate) = repeating("a");
    gate.open();
    let pop = fleet.pop("fra2", [there.clone()]).await;
    let origin = fleet.origin();
    let model = origin.routed(&there, vec![pop.share(1.0)]).await;
    let all = futures_util::future::join_all((0..STREAMS_MAX).map(|_| begin(&model, 2))).await;
    assert_eq!(origin.stats("fra2").outstanding, STREAMS_MAX);
    let full = model.stream(&piecewise(2, None)).await.err();
    assert!(matches!(full, Some(NnError::Overloaded { .. })), "{full:?}");
    drop(all);
    begin(&model, 2).await;
}
