//! `POST /v1/chat/completions` and `/v1/completions`: an answer token by token, told as it comes or when it is whole.
//!
//! What a body means and how answers are written is `headland-completions`; here it meets HTTP. A model that runs at another
//! PoP is asked by tensors, and its answer comes whole.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use headland_batcher::{Call, Caller, Generation, Generator, Model};
use headland_completions::{Asked, Chunks, Completion, Kind};
use headland_nn_core::{NamedTensor, NnError, Tensor};
use http::Request;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde_json::Value;

use crate::errors::{ApiError, Reason};
use crate::gateway::Gateway;
use crate::observe::{Served, trace_of};
use crate::{body, lookup, offload};

pub(super) async fn chat(gateway: State<Arc<Gateway>>, request: Request<Body>) -> Result<Response, ApiError> {
    create(gateway, Kind::Chat, request).await
}

pub(super) async fn text(gateway: State<Arc<Gateway>>, request: Request<Body>) -> Result<Response, ApiError> {
    create(gateway, Kind::Text, request).await
}

/// What an answer says of itself, however it is told.
struct Head {
    kind: Kind,
    id: String,
    created_unix_s: u64,
    /// As the client called it.
    model: String,
}

async fn create(State(gateway): State<Arc<Gateway>>, kind: Kind, request: Request<Body>) -> Result<Response, ApiError> {
    let deadline = Instant::now() + gateway.limits().generate_max;
    let trace = trace_of(request.headers());
    // Held to the end: the prompt that is read out of it is in its share of the budget.
    let held = body::read(&gateway, request).await?;
    let bytes = held.clone();
    let parse = move || Completion::parse(kind, &bytes);
    let completion = Arc::new(offload::run(&gateway, deadline, held.len(), parse).await??);
    let name = completion.options().model.clone();
    let model = lookup::model(&gateway, &name, None).await?;
    let id = trace.request_id.as_deref().unwrap_or_default();
    let prefix = if kind == Kind::Chat { "chatcmpl" } else { "cmpl" };
    let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let head = Head { kind, id: format!("{prefix}-{id}"), created_unix_s: created.as_secs(), model: name };
    let served = Served::Model(model.info().name.to_arc());
    let mut response = match model.generator().cloned() {
        Some(generator) => {
            let asked = generator.ask(completion.clone(), held.len(), &Caller::native(), Some(deadline)).await?;
            here(model, &generator, &completion, asked, head, deadline).await?
        }
        None if model.generates() => {
            let call = Call { inputs: tensors(&held)?.into(), deadline: Some(deadline), trace, ..Call::default() };
            elsewhere(&model, call, &completion, &head).await?
        }
        None => return Err(writes_nothing(&gateway, &model)),
    };
    response.extensions_mut().insert(served);
    Ok(response)
}

/// An answer of this gateway's own engine.
async fn here(
    model: Arc<Model>,
    generator: &Arc<Generator>,
    completion: &Completion,
    asked: Asked,
    head: Head,
    deadline: Instant,
) -> Result<Response, ApiError> {
    let options = completion.options();
    let Head { kind, id, created_unix_s, model: name } = head;
    let begin = |asked: Asked| {
        let generation = generator.begin(asked.requests, &Caller::native(), Some(deadline));
        generation.map_err(|refused| ApiError::refused(kind, &refused, generator.error_of(&refused)))
    };
    if options.stream {
        let chunks = Chunks::new(kind, id, created_unix_s, name, asked.each, options.include_usage());
        let chunks = chunks.with_calls(asked.calls.clone());
        let begins = asked.echoes.iter().enumerate();
        let begins = begins.filter_map(|(index, echo)| chunks.begin(index, echo.as_deref())).collect();
        let generation = begin(asked)?;
        return Ok(event_stream(Telling { _model: model, generation, chunks, begins: Some(begins), ended: false }));
    }
    let mut whole = asked.whole(kind, id, created_unix_s, name);
    let mut generation = begin(asked)?;
    while let Some((index, delta)) = generation.next().await {
        if let Some(Err(error)) = &delta.end {
            return Err(error.clone().into());
        }
        whole.add(index, delta);
    }
    let tokens = generator.tokens();
    Ok(json(&whole.finish(&|id| tokens.token(id))))
}

/// A stream that is being told.
struct Telling {
    /// Held for as long as it answers: a model in use is not put out to make room.
    _model: Arc<Model>,
    generation: Generation,
    chunks: Chunks,
    /// The first events, until they are told.
    begins: Option<String>,
    ended: bool,
}

impl Telling {
    /// The next events; `None` after the last.
    async fn next(&mut self) -> Option<String> {
        if let Some(begins) = self.begins.take().filter(|begins| !begins.is_empty()) {
            return Some(begins);
        }
        while !self.ended {
            let Some((index, delta)) = self.generation.next().await else {
                self.ended = true;
                return Some(self.chunks.end());
            };
            if let Some(Err(error)) = &delta.end {
                self.ended = true;
                return Some(Chunks::failure(&told(error)));
            }
            let tokens = self.generation.generator().tokens();
            if let Some(event) = self.chunks.delta(index, &delta, &|id| tokens.token(id)) {
                return Some(event);
            }
        }
        None
    }
}

/// What a client is told of an answer that fails on its way.
fn told(error: &NnError) -> String {
    ApiError::from(error.clone()).message().to_owned()
}

fn event_stream(telling: Telling) -> Response {
    let events = stream::unfold(telling, |mut telling| async move {
        let event = telling.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(event)), telling))
    });
    events_of(Body::from_stream(events))
}

fn events_of(body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn json(object: &Value) -> Response {
    let mut response = Response::new(Body::from(object.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The body, for a PoP that has the model.
fn tensors(body: &Bytes) -> Result<Vec<NamedTensor>, ApiError> {
    let body = Tensor::from_strings([1], &[body]).map_err(NnError::from)?;
    Ok(vec![NamedTensor::new("parameters", body)])
}

/// An answer of another PoP, which has come whole.
async fn elsewhere(model: &Model, call: Call, completion: &Completion, head: &Head) -> Result<Response, ApiError> {
    let strange = |what: &str| ApiError::internal("the other PoP's answer cannot be read", what);
    let answer = model.infer(Call { wanted: model.select(["completion"])?, ..call }).await?;
    let object = answer.outputs.first().and_then(|output| output.tensor.strings().ok()?.first().copied());
    let object = object.ok_or_else(|| strange("it has no `completion`"))?;
    let mut object: Value = serde_json::from_slice(object).map_err(|error| strange(&error.to_string()))?;
    object["id"] = head.id.as_str().into();
    object["model"] = head.model.as_str().into();
    object["created"] = head.created_unix_s.into();
    if !completion.options().stream {
        return Ok(json(&object));
    }
    Ok(events_of(Body::from(Chunks::of_whole(head.kind, object, completion.options().include_usage()))))
}

fn writes_nothing(gateway: &Gateway, model: &Model) -> ApiError {
    let all = gateway.models().listed();
    let can: Vec<&str> = all.iter().filter(|model| model.generates()).map(|model| model.info().name.as_str()).collect();
    let can = if can.is_empty() { "no loaded model does".to_owned() } else { format!("these do: {}", can.join(", ")) };
    let message = format!("model `{}` is no language model; {can}", model.info().name);
    ApiError::new(Reason::InvalidInput, message).param("model")
}
