//! The semantic-search app: an HTTP request in, documents ranked by a sentence-embedding model out.
//!
//! `lib.rs` holds what needs no host: the request's form, the packing of texts, the ranking, the built-in corpus.

use headland_guest_http::{Problem, body, json, text};
use headland_guest_nn::{Error, Model, Tensor};
use semantic_search::{BadSearch, Search, corpus, pack, rank};
use serde::Serialize;
use wstd::http::{Body, Method, Request, Response, StatusCode};

const DEFAULT_MODEL: &str = "all-minilm-l6-v2";
const USAGE: &str = include_str!("usage.txt");

#[derive(Serialize)]
struct Answer<'a> {
    results: Vec<Hit<'a>>,
    model: &'a str,
}

#[derive(Serialize)]
struct Hit<'a> {
    index: usize,
    score: f32,
    document: &'a str,
}

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, wstd::http::Error> {
    Ok(handle(request).await.unwrap_or_else(Response::from))
}

async fn handle(request: Request<Body>) -> Result<Response<Body>, Problem> {
    match *request.method() {
        Method::POST => search(&body(request).await?),
        Method::GET | Method::HEAD => Ok(text(USAGE)),
        _ => Err(Problem::method_not_allowed(request.method(), "GET, HEAD, POST")),
    }
}

fn search(body: &[u8]) -> Result<Response<Body>, Problem> {
    let search = Search::parse(body).map_err(|error| match error {
        BadSearch::Malformed(detail) => Problem::new(StatusCode::BAD_REQUEST, detail),
        BadSearch::TooLarge(detail) => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail),
    })?;
    let model_name = std::env::var("MODEL").unwrap_or_else(|_| DEFAULT_MODEL.to_owned());
    let model = Model::by_name(&model_name)?;

    let (documents, stored) = match &search.documents {
        Some(documents) => (documents.iter().map(String::as_str).collect(), None),
        None => (corpus::texts(), corpus::embeddings(&model_name)),
    };
    let hits = match stored {
        Some(stored) => rank(&embed(&model, &[&search.query])?, &stored, search.top_k),
        None => {
            let texts: Vec<&str> = std::iter::once(search.query.as_str()).chain(documents.iter().copied()).collect();
            let embeddings = embed(&model, &texts)?;
            let (query, documents) = embeddings.split_at(embeddings.len() / texts.len());
            rank(query, documents, search.top_k)
        }
    };
    let results = hits
        .into_iter()
        .filter_map(|hit| Some(Hit { index: hit.index, score: hit.score, document: documents.get(hit.index)? }))
        .collect();
    Ok(json(&Answer { results, model: &model_name }))
}

/// One embedding after the other, from a single call: the host tokenizes.
fn embed(model: &Model, texts: &[&str]) -> Result<Vec<f32>, Error> {
    let (shape, bytes) = pack(texts);
    model.compute([("text", Tensor::of(&shape, &bytes))])?.take("sentence_embedding")
}
