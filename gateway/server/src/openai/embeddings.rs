//! `POST /v1/embeddings`: texts or tokens in, one vector each out.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use headland_batcher::{Call, Inputs, Model};
use headland_nn_core::{DType, Dim, NamedTensor, Tensor, TensorSpec};
use headland_text::TEXT_INPUT;
use http::Request;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde::{Serialize, Serializer};

use super::input::{self, EmbeddingsRequest, EncodingFormat, Input};
use crate::errors::{ApiError, Reason};
use crate::gateway::Gateway;
use crate::observe::{Served, trace_of};
use crate::{body, cached, lookup, offload, truncation};

/// The output that holds one vector per text.
const EMBEDDING: &str = "sentence_embedding";

pub(super) async fn create(State(gateway): State<Arc<Gateway>>, request: Request<Body>) -> Result<Response, ApiError> {
    let deadline = Instant::now() + gateway.limits().infer_max;
    let trace = trace_of(request.headers());
    // Held to the end: the texts that are read out of it are in its share of the budget.
    let held = body::read(&gateway, request).await?;
    let bytes = held.clone();
    let EmbeddingsRequest { model, input, encoding_format, dimensions } =
        offload::run(&gateway, deadline, held.len(), move || input::parse(&bytes)).await??;
    let model = lookup::model(&gateway, &model, None).await?;
    let embedder = Embedder::of(&model).ok_or_else(|| no_embedder(&gateway, &model))?;
    embedder.check_dimensions(dimensions)?;
    let texts = input.len();
    let inputs = inputs_of(input);
    let wanted = model.select([EMBEDDING])?;
    let call = Call { inputs, wanted, deadline: Some(deadline), trace, ..Call::default() };
    let answer = model.infer(call).await?;
    let (tokens, truncated) = answer.text.as_ref().map_or((0, 0), |usage| (usage.tokens, usage.truncated.len()));
    let max_sequence_length = embedder.tokens_max;
    let vectors = vectors(&answer.outputs, texts)?;
    let served = Served::Model(model.info().name.to_arc());
    let bytes = vectors.data().len();
    let write = move || write(&model, &vectors, encoding_format, tokens);
    let mut response = offload::run(&gateway, deadline, bytes, write).await??;
    truncation::set(response.headers_mut(), truncation::describe(truncated, texts, max_sequence_length));
    cached::set(response.headers_mut(), answer.cache);
    response.extensions_mut().insert(served);
    Ok(response)
}

/// A model that can embed: a tokenizer in front, one vector per text behind.
struct Embedder<'m> {
    model: &'m Model,
    tokens_max: usize,
    output: &'m TensorSpec,
}

impl<'m> Embedder<'m> {
    fn of(model: &'m Model) -> Option<Self> {
        let tokens_max = model.tokens_max()?;
        let output = model.signature().outputs.iter().find(|spec| spec.name == EMBEDDING)?;
        (output.dtype == DType::F32 && output.dims.len() == 2).then_some(Embedder { model, tokens_max, output })
    }

    /// Cutting vectors short is only sound for models trained for it, and no package says that of itself.
    fn check_dimensions(&self, asked: Option<u64>) -> Result<(), ApiError> {
        match (asked, self.output.dims.get(1)) {
            (Some(asked), Some(&Dim::Fixed(has))) if asked != has as u64 => {
                let message = format!(
                    "model `{}` gives vectors of {has} dimensions; leave `dimensions` out or ask for {has}",
                    self.model.info().name
                );
                Err(ApiError::new(Reason::InvalidInput, message).param("dimensions"))
            }
            _ => Ok(()),
        }
    }
}

fn inputs_of(input: Input) -> Inputs {
    match input {
        Input::Texts(texts) => vec![NamedTensor::new(TEXT_INPUT, texts)].into(),
        Input::Tokens(lists) => Inputs::Tokens(lists),
    }
}

fn no_embedder(gateway: &Gateway, model: &Model) -> ApiError {
    let all = gateway.models().listed();
    let can: Vec<&str> =
        all.iter().filter(|model| Embedder::of(model).is_some()).map(|model| model.info().name.as_str()).collect();
    let can = if can.is_empty() { "no loaded model can".to_owned() } else { format!("these can: {}", can.join(", ")) };
    let message = format!("model `{}` does not embed text; {can}", model.info().name);
    ApiError::new(Reason::InvalidInput, message).param("model")
}

/// The one output, one row per text.
fn vectors(outputs: &[NamedTensor], texts: usize) -> Result<Tensor, ApiError> {
    match outputs {
        [output] if output.tensor.shape().len() == 2 && output.tensor.shape().first() == Some(&texts) => {
            Ok(output.tensor.clone())
        }
        other => Err(ApiError::internal(
            "the model failed on this request; the gateway's log has the cause",
            format!("asked for one `{EMBEDDING}` with {texts} rows, got {other:?}"),
        )),
    }
}

#[derive(Serialize)]
struct EmbeddingList<'a> {
    object: &'static str,
    data: Vec<Embedding<'a>>,
    model: &'a str,
    usage: Usage,
}

#[derive(Serialize)]
struct Embedding<'a> {
    object: &'static str,
    index: usize,
    embedding: Vector<'a>,
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

/// One vector, as the request wants it written.
struct Vector<'a> {
    values: &'a [f32],
    format: EncodingFormat,
}

impl Serialize for Vector<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.format {
            EncodingFormat::Float => serializer.collect_seq(self.values),
            EncodingFormat::Base64 => {
                serializer.serialize_str(&BASE64.encode(bytemuck::cast_slice::<f32, u8>(self.values)))
            }
        }
    }
}

fn write(model: &Model, vectors: &Tensor, format: EncodingFormat, tokens: usize) -> Result<Response, ApiError> {
    let internal = |cause: String| ApiError::internal("the embeddings could not be written", cause);
    let values = vectors.to_slice::<f32>().map_err(|error| internal(error.to_string()))?;
    let dimensions = vectors.shape().last().copied().unwrap_or(0).max(1);
    let embedding = |(index, values)| Embedding { object: "embedding", index, embedding: Vector { values, format } };
    let list = EmbeddingList {
        object: "list",
        data: values.chunks(dimensions).enumerate().map(embedding).collect(),
        model: model.info().name.as_str(),
        usage: Usage { prompt_tokens: tokens, total_tokens: tokens },
    };
    const ELEMENT_BYTES: usize = 13;
    let mut json = Vec::with_capacity(values.len().saturating_mul(ELEMENT_BYTES).saturating_add(256));
    serde_json::to_writer(&mut json, &list).map_err(|error| internal(error.to_string()))?;
    let mut response = Response::new(Body::from(json));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
