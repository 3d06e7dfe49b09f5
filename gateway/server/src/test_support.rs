//! A gateway over models that a test can see through.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::middleware::map_request;
use axum::response::Response;
use bytes::Bytes;
use headland_access::{Scope, TokenStore};
use headland_batcher::{Model, ModelInfo, ModelOptions, ModelTable};
use headland_guest_host::{Apps, GuestEngine, PoolOptions};
use headland_lifecycle::models::{budget::Budget, build::Backends, contest::Results};
use headland_lifecycle::{AppControl, AppParts, ModelControl, ModelParts, PolicyFile, PolicyGate};
use headland_nn_core::{
    Backend, Batching, DType, Device, Dim, Executor, ModelFiles, NamedTensor, NnError, OutputSelection, Signature,
    Tensor, TensorSpec,
};
use headland_package::serving::BackendChoice;
use headland_package::{Format, Sha256Digest};
use headland_registry::Registry;
use headland_registry::store::{Store, StoreOptions};
use headland_text::TextEncoder;
use headland_trust::Verified;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::{Administration, Gateway, Limits, admin_plane, data_plane};

pub(crate) type Script = Box<dyn FnMut(&[NamedTensor], &OutputSelection) -> Result<Vec<NamedTensor>, NnError> + Send>;

struct FakeExecutor {
    signature: Signature,
    script: Script,
}

impl Executor for FakeExecutor {
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn device(&self) -> Device {
        Device::Cpu
    }
    fn memory_bytes(&self) -> u64 {
        1 << 20
    }
    fn batching(&self) -> Batching {
        Batching::Single { why: "the test runs one at a time".into() }
    }

    fn run(&mut self, inputs: &[NamedTensor], wanted: &OutputSelection) -> Result<Vec<NamedTensor>, NnError> {
        (self.script)(inputs, wanted)
    }
}

/// A model whose executor does what `script` says.
pub(crate) fn model(
    reference: &str,
    signature: Signature,
    text: Option<TextEncoder>,
    queue_max: usize,
    script: Script,
) -> Arc<Model> {
    let (name, version) = reference.split_once(':').unwrap();
    let info = ModelInfo {
        name: name.parse().unwrap(),
        version: version.parse().unwrap(),
        digest: Sha256Digest::of(reference.as_bytes()),
        backend: "fake".into(),
    };
    let executor = Box::new(FakeExecutor { signature, script });
    let options = ModelOptions { queue_max, ..ModelOptions::default() };
    Arc::new(Model::start(info, vec![executor], text, options).unwrap())
}

/// A model of one dtype that gives back what it gets: `x` in, `y` (the same) and `n` (its element count) out.
pub(crate) fn echo(reference: &str, dtype: DType) -> Arc<Model> {
    let any = || vec![Dim::Dynamic(None), Dim::Dynamic(None)];
    let signature = Signature {
        inputs: vec![TensorSpec::new("x", dtype, any())],
        outputs: vec![TensorSpec::new("y", dtype, any()), TensorSpec::new("n", DType::I64, vec![Dim::Fixed(1)])],
    };
    let script = |inputs: &[NamedTensor], wanted: &OutputSelection| {
        let x = &inputs[0].tensor;
        let count = i64::try_from(x.shape().elements().unwrap()).unwrap();
        let all = [NamedTensor::new("y", x.clone()), NamedTensor::new("n", Tensor::from_vec([1], vec![count])?)];
        Ok(wanted.indices(2).into_iter().map(|index| all[index].clone()).collect())
    };
    model(reference, signature, None, 8, Box::new(script))
}

/// A model that fails with `error`, or with a full queue when there is none.
pub(crate) fn failing(reference: &str, error: Option<NnError>) -> Arc<Model> {
    let dims = || vec![Dim::Dynamic(None), Dim::Dynamic(None)];
    let signature = Signature {
        inputs: vec![TensorSpec::new("x", DType::F32, dims())],
        outputs: vec![TensorSpec::new("y", DType::F32, dims())],
    };
    let queue_max = usize::from(error.is_some());
    model(
        reference,
        signature,
        None,
        queue_max,
        Box::new(move |_, _| Err(error.clone().unwrap_or(NnError::runtime("unused")))),
    )
}

/// An embedding model whose vector is (tokens, first token id, 0.5), with words for tokens and 6 tokens at most.
pub(crate) fn embedder(reference: &str) -> Arc<Model> {
    let tokens = || vec![Dim::named("batch"), Dim::named("sequence")];
    let signature = Signature {
        inputs: ["input_ids", "attention_mask"].map(|name| TensorSpec::new(name, DType::I64, tokens())).into(),
        outputs: vec![TensorSpec::new("sentence_embedding", DType::F32, vec![Dim::named("batch"), Dim::Fixed(3)])],
    };
    let script = |inputs: &[NamedTensor], _: &OutputSelection| {
        let (ids, mask) = (inputs[0].tensor.to_slice::<i64>()?, inputs[1].tensor.to_slice::<i64>()?);
        let longest = inputs[0].tensor.shape()[1];
        let vector = |(ids, mask): (&[i64], &[i64])| [mask.iter().sum::<i64>() as f32, ids[0] as f32, 0.5];
        let vectors: Vec<f32> = ids.chunks(longest).zip(mask.chunks(longest)).flat_map(vector).collect();
        Ok(vec![NamedTensor::new("sentence_embedding", Tensor::from_vec([vectors.len() / 3, 3], vectors)?)])
    };
    model(reference, signature, Some(word_encoder()), 8, Box::new(script))
}

/// A tokenizer with words for tokens.
pub(crate) fn word_encoder() -> TextEncoder {
    let tokenizer = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "unk_token": "[UNK]", "vocab": {"[PAD]": 0, "[UNK]": 1, "a": 2, "cat": 3, "dog": 4}},
    });
    let config = r#"{"max_position_embeddings": 6, "pad_token_id": 0}"#;
    let files = [("tokenizer.json", tokenizer.to_string()), ("config.json", config.to_owned())];
    let files = ModelFiles::new("m", files.map(|(name, json)| (name.to_owned(), json.into())));
    TextEncoder::open(&files).unwrap().unwrap()
}

/// A gateway over `models` and no apps.
pub(crate) fn gateway(models: impl IntoIterator<Item = Arc<Model>>, limits: Limits) -> Arc<Gateway> {
    let table = Arc::new(ModelTable::default());
    for model in models {
        table.insert(Verified::named_by_operator(model, "a test"));
    }
    let engine = GuestEngine::new(PoolOptions { instances_max: 1 }).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let apps = Apps::new(&engine, &table, cache.path()).unwrap();
    Gateway::new(table, Arc::new(apps), limits)
}

/// The admin plane of `gateway`, over an empty registry, and an admin's token for it.
pub(crate) fn admin(gateway: Arc<Gateway>) -> Router {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("registry"), StoreOptions::default()).unwrap();
    let tokens = TokenStore::open(dir.path()).unwrap();
    let token = tokens.create("test", Scope::Admin.into(), None).unwrap().secret;
    let policy = Arc::new(PolicyFile::open(None).unwrap());
    let models = ModelControl::new(ModelParts {
        store: store.clone(),
        policy: policy.watch(),
        table: gateway.models().clone(),
        backends: Arc::new(NoBackends(Results::open(None))),
        budget: Budget::new([]),
        region: None,
    });
    let apps = AppControl::open(AppParts {
        store: store.clone(),
        policy: policy.watch(),
        apps: gateway.apps().clone(),
        record: dir.path().join("apps.json"),
        region: None,
    });
    let apps = apps.unwrap();
    let gatekeeper = Arc::new(PolicyGate::new(store.clone(), policy.watch(), models.clone(), apps.clone()));
    let registry = Registry { store, gatekeeper, limits: Default::default() };
    let administration =
        Administration { gateway, models, apps, registry, tokens, policy, fleet: None, open_metrics: false };
    // With the token, the folder: it lives as long as the router.
    let held = Arc::new((dir, format!("Bearer {}", token.reveal())));
    admin_plane(administration).layer(map_request(move |mut request: axum::extract::Request| {
        request.headers_mut().entry("authorization").or_insert(held.1.parse().unwrap());
        std::future::ready(request)
    }))
}

struct NoBackends(Results);

impl Backends for NoBackends {
    fn candidates(&self, _: &Format, _: BackendChoice) -> Result<Vec<Arc<dyn Backend>>, NnError> {
        Err(NnError::runtime("there is no backend in this test"))
    }

    fn candidate(&self, _: &Format, _: BackendChoice, _: &str) -> Option<Arc<dyn Backend>> {
        None
    }

    fn results(&self) -> &Results {
        &self.0
    }
}

/// A data plane over `models`.
pub(crate) fn plane(models: impl IntoIterator<Item = Arc<Model>>) -> Router {
    routed(gateway(models, Limits::default()))
}

/// The data plane of `gateway`.
pub(crate) fn routed(gateway: Arc<Gateway>) -> Router {
    Router::new().fallback_service(data_plane(gateway))
}

/// An answer, read whole.
pub(crate) struct Seen {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Seen {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// Sends one request.
pub(crate) async fn send(router: &Router, request: Request<Body>) -> Seen {
    let response: Response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    Seen { status: parts.status, headers: parts.headers, body: body.collect().await.unwrap().to_bytes() }
}

pub(crate) async fn get(router: &Router, path: &str) -> Seen {
    send(router, Request::get(path).body(Body::empty()).unwrap()).await
}

pub(crate) async fn post(router: &Router, path: &str, body: impl Into<Body>) -> Seen {
    send(router, Request::post(path).body(body.into()).unwrap()).await
}
