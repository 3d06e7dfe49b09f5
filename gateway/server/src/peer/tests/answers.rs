//! Who asks cannot tell where a model runs.

use std::path::Path;

use headland_batcher::{Inputs, ModelInfo, ModelOptions, Trace};
use headland_candle::CandleBackend;
use headland_chat::Tokens;
use headland_decoder::DecoderOptions;
use headland_generation::{Engine, EngineOptions};
use headland_kernels::CacheStorage;
use headland_nn_core::{Backend as _, Busy, Device, LoadOptions, OutputSelection};
use headland_package::{Sha256Digest, folder};
use headland_text::TEXT_INPUT;

use super::*;
use crate::test_support::{echo, embedder, failing, post, routed, word_encoder};

/// A small BERT of random weights, run by candle, with words for tokens.
fn bert() -> Arc<Model> {
    let files = folder::open(Path::new("../../test-data/embeddings/tiny/bert")).unwrap();
    let executors = CandleBackend::new().load(&files, &LoadOptions::one_on(Device::Cpu)).unwrap();
    let (name, version) = ("bert".parse().unwrap(), "1".parse().unwrap());
    let info = ModelInfo { name, version, digest: Sha256Digest::of(b"bert"), backend: "candle".into() };
    Arc::new(Model::start(info, executors, Some(word_encoder()), ModelOptions::default()).unwrap())
}

fn texts(texts: &[&str]) -> Inputs {
    vec![NamedTensor::new(TEXT_INPUT, Tensor::from_strings([texts.len()], texts).unwrap())].into()
}

fn ids(values: &[i64]) -> NamedTensor {
    NamedTensor::new("input_ids", Tensor::from_vec([1, values.len()], values.to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_model_answers_the_same_here_and_elsewhere() {
    let fleet = Fleet::new();
    let here = bert();
    let pop = fleet.pop("fra2", [bert()]).await;
    let there = fleet.origin().routed(&here, vec![pop.share(1.0)]).await;
    assert_eq!((there.signature(), there.tokens_max()), (here.signature(), here.tokens_max()));
    assert_eq!((there.is_here(), there.device(), &*there.info().backend), (false, here.device(), "candle"));
    let only = |wanted: &[usize]| OutputSelection::Only(wanted.to_vec());
    let cases: Vec<(Inputs, OutputSelection)> = vec![
        (texts(&["a cat", "a dog a dog", "cat cat cat cat cat cat cat cat"]), OutputSelection::All),
        (texts(&["a cat"]), only(&[1, 0])),
        (Inputs::Tokens(vec![vec![2, 3], vec![4]]), OutputSelection::All),
        (vec![ids(&[2, 3, 4, 2])].into(), OutputSelection::All),
        (vec![ids(&[2, 3, 4, 2])].into(), only(&[1])),
    ];
    for (inputs, wanted) in cases {
        let call = Call { inputs, wanted, ..Call::default() };
        let (near, far) = (here.infer(call.clone()).await.unwrap(), there.infer(call).await.unwrap());
        assert_eq!((&near.outputs, &near.text), (&far.outputs, &far.text));
        assert!(far.timing.total >= far.timing.infer);
    }
    assert_eq!(there.stats().success(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_request_is_said_in_the_same_words() {
    let fleet = Fleet::new();
    let here = bert();
    let pop = fleet.pop("fra2", [bert()]).await;
    let there = fleet.origin().routed(&here, vec![pop.share(1.0)]).await;
    for inputs in [
        vec![ids(&[1_000_000])].into(),
        vec![NamedTensor::new("input_ids", Tensor::from_vec([2], vec![1f32, 2.0]).unwrap())].into(),
        texts(&[]),
        Inputs::Tokens(vec![vec![u32::MAX]]),
        Inputs::default(),
    ] {
        let call = Call { inputs, ..Call::default() };
        let (near, far) = (here.infer(call.clone()).await.unwrap_err(), there.infer(call).await.unwrap_err());
        assert_eq!(format!("{near:?}"), format!("{far:?}"));
    }
    let near = here.select(["nothing"]).unwrap_err().to_string();
    assert_eq!(near, there.select(["nothing"]).unwrap_err().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_get_the_same_from_a_gateway_without_the_model() {
    let fleet = Fleet::new();
    let with = routed(gateway([embedder("embed:1"), echo("echo:1", DType::Bytes)], Limits::default()));
    let pop = fleet.pop("fra2", [embedder("embed:1"), echo("echo:1", DType::Bytes)]).await;
    let origin = fleet.origin();
    let models = [embedder("embed:1"), echo("echo:1", DType::Bytes)];
    let route = |model: &Arc<Model>| Route {
        name: model.info().name.clone(),
        version: model.info().version.clone(),
        digest: model.info().digest,
        repeatable: true,
        candidates: vec![pop.share(1.0)],
    };
    origin.peers.set_routes(models.iter().map(route).collect(), BTreeMap::new());
    for model in &models {
        origin.found(model).await;
    }
    let without = routed(origin.gateway.clone());
    for (path, body) in [
        ("/v1/embeddings", r#"{"model": "embed", "input": ["a cat", "dog dog dog dog dog dog dog dog"]}"#),
        ("/v1/embeddings", r#"{"model": "embed:1", "input": [[2, 3], [4]], "encoding_format": "base64"}"#),
        ("/v1/embeddings", r#"{"model": "echo", "input": "a"}"#),
        ("/v2/models/echo/infer", r#"{"inputs":[{"name":"x","datatype":"BYTES","shape":[1,2],"data":["a",""]}]}"#),
        ("/v2/models/echo/infer", r#"{"inputs":[{"name":"z","datatype":"BYTES","shape":[1,1],"data":["a"]}]}"#),
        ("/v2/models/echo/versions/2/infer", r#"{"inputs":[]}"#),
    ] {
        let (near, far) = (post(&with, path, body).await, post(&without, path, body).await);
        assert_eq!((near.status, near.text()), (far.status, far.text()), "{path} {body}");
        assert_eq!(near.header("x-headland-truncated"), far.header("x-headland-truncated"));
    }
    for path in ["/v2/models", "/v1/models", "/v2/models/embed", "/v2/models/embed/ready"] {
        let (near, far) = (test_support::get(&with, path).await, test_support::get(&without, path).await);
        let created = |seen: &test_support::Seen| seen.text().split("\"created\"").next().unwrap().to_owned();
        assert_eq!((near.status, created(&near)), (far.status, created(&far)), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tensors_of_every_type_come_back_as_they_went() {
    let fleet = Fleet::new();
    for dtype in DType::ALL {
        let model = echo("echo:1", dtype);
        let pop = fleet.pop("fra2", [model.clone()]).await;
        let there = fleet.origin().routed(&model, vec![pop.share(1.0)]).await;
        let tensor = match dtype.size() {
            Some(size) => Tensor::new(dtype, [1, 3], (0..3 * size).map(|byte| byte as u8).collect::<Vec<_>>().into()),
            None => Tensor::from_strings([1, 3], &["", "x", "\u{1f30d}"]),
        };
        let tensor = tensor.unwrap();
        let call = Call { inputs: vec![NamedTensor::new("x", tensor.clone())].into(), ..Call::default() };
        let answer = there.infer(call).await.unwrap();
        assert_eq!(answer.outputs[0].tensor, tensor, "{dtype}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_tensor_comes_through_whole() {
    let fleet = Fleet::new();
    let model = echo("echo:1", DType::U8);
    let pop = fleet.pop("fra2", [model.clone()]).await;
    let there = fleet.origin().routed(&model, vec![pop.share(1.0)]).await;
    let bytes: Vec<u8> = (0..32usize << 20).map(|at| (at % 251) as u8).collect();
    let tensor = Tensor::new(DType::U8, [1, bytes.len()], bytes.into()).unwrap();
    let call = Call { inputs: vec![NamedTensor::new("x", tensor.clone())].into(), ..Call::default() };
    assert!(there.infer(call).await.unwrap().outputs[0].tensor == tensor);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_of_a_model_elsewhere_is_the_one_it_gave() {
    let fleet = Fleet::new();
    for error in [
        NnError::runtime("/srv/secret: broken"),
        NnError::TooLarge("a batch of 9; at most 8".into()),
        NnError::invalid("token 7 is out of the vocabulary"),
        NnError::DeviceUnavailable("no cuda:3".into()),
        NnError::ShuttingDown { model: "bad".into() },
    ] {
        let pop = fleet.pop("fra2", [failing("bad:1", Some(error.clone()))]).await;
        let there = fleet.origin().routed(&failing("bad:1", None), vec![pop.share(1.0)]).await;
        let x = NamedTensor::new("x", Tensor::from_vec([1, 1], vec![0f32]).unwrap());
        let restored = there.infer(Call { inputs: vec![x].into(), ..Call::default() }).await.unwrap_err();
        assert_eq!(format!("{restored:?}"), format!("{error:?}"));
    }
    let pop = fleet.pop("fra2", [failing("bad:1", None)]).await;
    let there = fleet.origin().routed(&failing("bad:1", None), vec![pop.share(1.0)]).await;
    let x = NamedTensor::new("x", Tensor::from_vec([1, 1], vec![0f32]).unwrap());
    let busy = there.infer(Call { inputs: vec![x].into(), ..Call::default() }).await.unwrap_err();
    assert!(matches!(busy, NnError::Overloaded { reason: Busy::QueueFull { queue_max: 0 }, .. }), "{busy:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_keep_their_ids_from_pop_to_pop() {
    let fleet = Fleet::new();
    let (seen, sees) = std::sync::mpsc::channel();
    let model = scripted("echo", 8, adding(0.0));
    let gateway = gateway([model.clone()], Limits::default());
    // A plane that looks at what comes in before the real one does.
    let plane = peer_plane(gateway, None).layer(axum::middleware::map_request(move |request: Request| {
        let text = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        if request.uri().path() == INFER_PATH {
            seen.send((text("x-request-id"), text("traceparent"))).unwrap();
        }
        std::future::ready(request)
    }));
    let pop = fleet.pop_of("fra2", plane, Limits::default(), "127.0.0.1:0").await;
    let there = fleet.origin().routed(&model, vec![pop.share(1.0)]).await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let trace = Trace { request_id: Some("id-7".into()), parent: Some(parent.into()) };
    there.infer(Call { trace, ..call(1.0) }).await.unwrap();
    assert_eq!(sees.try_recv().unwrap(), (Some("id-7".to_owned()), Some(parent.to_owned())));
}

/// The language model that was trained here.
pub(super) fn small_talk() -> Arc<Model> {
    let files = folder::open(Path::new("../../models/small-talk")).unwrap();
    let tokens = Arc::new(Tokens::open(&files).unwrap());
    let options = DecoderOptions {
        threads: 1,
        cache_bytes: 16 << 20,
        sequences_max: 4,
        context_max: None,
        cache: CacheStorage::F16,
    };
    let decoder = headland_decoder::load(&files, &options).unwrap();
    let options = EngineOptions { end_tokens: tokens.end_tokens().to_vec(), ..EngineOptions::default() };
    let engine = Engine::start("small-talk", Box::new(decoder), tokens.clone(), options).unwrap();
    let (name, version) = ("small-talk".parse().unwrap(), "1".parse().unwrap());
    let info = ModelInfo { name, version, digest: Sha256Digest::of(b"small-talk"), backend: "headland".into() };
    Arc::new(Model::generating(info, engine, tokens, Device::Cpu, None))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_language_model_elsewhere_answers_in_the_same_words() {
    let fleet = Fleet::new();
    let here = small_talk();
    let pop = fleet.pop("fra2", [small_talk()]).await;
    let origin = fleet.origin();
    let there = origin.routed(&here, vec![pop.share(1.0)]).await;
    assert!(there.generates() && there.generator().is_none());
    let (near, far) = (routed(gateway([here], Limits::default())), routed(origin.gateway.clone()));
    let body = |more: &str| {
        format!(
            r#"{{"model": "small-talk", "messages": [{{"role": "user", "content": "Why is the sky blue?"}}], "temperature": 0{more}}}"#
        )
    };
    let (one, other) =
        (post(&near, "/v1/chat/completions", body("")).await, post(&far, "/v1/chat/completions", body("")).await);
    let (one, other) = (one.json(), other.json());
    assert!(one["choices"][0]["message"]["content"].as_str().unwrap().starts_with("The sky is blue because"), "{one}");
    assert_eq!((&one["choices"], &one["usage"]), (&other["choices"], &other["usage"]));
    let refused = post(&far, "/v1/chat/completions", body(r#", "top_p": 9"#)).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["code"]), (400, &"invalid_input".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_language_model_has_its_own_time_to_answer_on_every_route() {
    // Far less than an answer takes.
    let limits = Limits { infer_max: Duration::from_millis(1), ..Limits::default() };
    let fleet = Fleet::new();
    let here = small_talk();
    let pop = fleet.pop_with("fra2", gateway([small_talk()], limits), None, "127.0.0.1:0").await;
    let origin = fleet.origin();
    origin.routed(&here, vec![pop.share(1.0)]).await;
    let body =
        r#"{"model": "small-talk", "messages": [{"role": "user", "content": "What is Headland?"}], "temperature": 0}"#;
    let far = post(&routed(origin.gateway.clone()), "/v1/chat/completions", body).await;
    assert_eq!(far.status.as_u16(), 200, "{}", far.text());
    let tensor = r#"{"inputs": [{"name": "messages", "datatype": "BYTES", "shape": [1], "data": ["[{\"role\": \"user\", \"content\": \"What is Headland?\"}]"]}]}"#;
    let native = post(&routed(gateway([here], limits)), "/v2/models/small-talk/infer", tensor).await;
    assert_eq!(native.status.as_u16(), 200, "{}", native.text());
}
