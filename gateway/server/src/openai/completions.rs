//! `POST /v1/chat/completions` and `/v1/completions`: an answer token by token, told as it comes or when it is whole.
//!
//! What a body means and how answers are written is `headland-completions`; here it meets HTTP. A model that runs at another
//! PoP is asked by tensors, and its answer comes as the object or the chunks that are told.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use headland_batcher::{Call, Caller, Chunked, Generator, Model, Pieces};
use headland_completions::{Asked, Completion, Kind};
use headland_nn_core::{NamedTensor, NnError, Tensor};
use http::Request;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde_json::Value;

use crate::errors::{ApiError, Reason, midway};
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
    /// The request's, by which the log knows it.
    request_id: Arc<str>,
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
    let request_id = trace.request_id.clone().unwrap_or_default();
    let prefix = if kind == Kind::Chat { "chatcmpl" } else { "cmpl" };
    let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let id = format!("{prefix}-{request_id}");
    let head = Head { kind, id, created_unix_s: created.as_secs(), model: name, request_id };
    let served = Served::Model(model.info().name.to_arc());
    let mut response = match model.generator().cloned() {
        Some(generator) => {
            let asked = generator.ask(completion.clone(), held.len(), &Caller::native(), Some(deadline)).await?;
            here(model, &generator, &completion, asked, head, deadline).await?
        }
        None if model.generates() => {
            let call = Call { inputs: tensors(&held)?.into(), deadline: Some(deadline), trace, ..Call::default() };
            elsewhere(model, call, &completion, head).await?
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
    let Head { kind, id, created_unix_s, model: name, request_id } = head;
    let begin = |requests| {
        let generation = generator.begin(requests, &Caller::native(), Some(deadline));
        generation.map_err(|refused| ApiError::refused(kind, &refused, generator.error_of(&refused)))
    };
    if options.stream {
        let chunks = asked.chunks(kind, id, created_unix_s, name, options.include_usage());
        let chunked = Chunked::new(begin(asked.requests)?, chunks, &asked.echoes);
        return Ok(event_stream(model, Source::Here(Box::new(chunked)), request_id));
    }
    let mut whole = asked.whole(kind, id, created_unix_s, name);
    let mut generation = begin(asked.requests)?;
    while let Some((index, delta)) = generation.next().await {
        if let Some(Err(error)) = &delta.end {
            return Err(error.clone().into());
        }
        whole.add(index, delta);
    }
    let tokens = generator.tokens();
    Ok(json(&whole.finish(&|id| tokens.token(id))))
}

/// An answer of another PoP's.
async fn elsewhere(model: Arc<Model>, call: Call, completion: &Completion, head: Head) -> Result<Response, ApiError> {
    let call = Call { wanted: model.select(["completion"])?, ..call };
    if completion.options().stream {
        let pieces = model.stream(&call).await?.ok_or_else(|| strange("it is not to come in pieces"))?;
        let request_id = head.request_id.clone();
        return Ok(event_stream(model, Source::Elsewhere(Box::new(pieces), head), request_id));
    }
    let answer = model.infer(call).await?;
    Ok(json(&head.over(&answer.outputs)?))
}

impl Head {
    /// What another PoP wrote, as whoever asked here is to see it.
    fn over(&self, outputs: &[NamedTensor]) -> Result<Value, ApiError> {
        let object = outputs.first().and_then(|output| output.tensor.strings().ok()?.first().copied());
        let object = object.ok_or_else(|| strange("it has no `completion`"))?;
        let mut object: Value = serde_json::from_slice(object).map_err(|error| strange(&error.to_string()))?;
        let fields = object.as_object_mut().ok_or_else(|| strange("its `completion` is no object"))?;
        fields.insert("id".to_owned(), self.id.as_str().into());
        fields.insert("model".to_owned(), self.model.as_str().into());
        fields.insert("created".to_owned(), self.created_unix_s.into());
        Ok(object)
    }
}

fn strange(what: &str) -> ApiError {
    ApiError::internal("the other PoP's answer cannot be read", what)
}

/// Where the chunks of a stream come from.
enum Source {
    Here(Box<Chunked>),
    Elsewhere(Box<Pieces>, Head),
}

impl Source {
    /// The next chunk; `None` after the last.
    async fn next(&mut self) -> Result<Option<Value>, ApiError> {
        match self {
            Source::Here(chunked) => Ok(chunked.next().await?),
            Source::Elsewhere(pieces, head) => {
                let piece = pieces.next().await?;
                piece.map(|outputs| head.over(&outputs)).transpose()
            }
        }
    }
}

/// A stream that is being told.
struct Telling {
    /// Held for as long as it answers: a model in use is not put out to make room.
    _model: Arc<Model>,
    source: Source,
    request_id: Arc<str>,
    ended: bool,
}

impl Telling {
    /// The next event; `None` after the last.
    async fn next(&mut self) -> Option<String> {
        if self.ended {
            return None;
        }
        let next = self.source.next().await;
        self.ended = !matches!(next, Ok(Some(_)));
        Some(match next {
            Ok(Some(chunk)) => event(&chunk),
            Ok(None) => "data: [DONE]\n\n".to_owned(),
            Err(error) => event(&midway(&error, &self.request_id)),
        })
    }
}

fn event(object: &Value) -> String {
    format!("data: {object}\n\n")
}

fn event_stream(model: Arc<Model>, source: Source, request_id: Arc<str>) -> Response {
    let telling = Telling { _model: model, source, request_id, ended: false };
    let events = stream::unfold(telling, |mut telling| async move {
        let event = telling.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(event)), telling))
    });
    let mut response = Response::new(Body::from_stream(events));
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

fn writes_nothing(gateway: &Gateway, model: &Model) -> ApiError {
    let all = gateway.models().listed();
    let can: Vec<&str> = all.iter().filter(|model| model.generates()).map(|model| model.info().name.as_str()).collect();
    let can = if can.is_empty() { "no loaded model does".to_owned() } else { format!("these do: {}", can.join(", ")) };
    let message = format!("model `{}` is no language model; {can}", model.info().name);
    ApiError::new(Reason::InvalidInput, message).param("model")
}
