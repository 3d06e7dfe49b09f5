//! The chat guard: a question in, the answer of a language model streamed back, personal data in neither.
//!
//! Each piece of the answer goes out as soon as it is clear that it holds no address and no number. What was removed from the
//! question is told in a header, what the answer took in trailers.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use chat_guard::{Redactor, redact};
use headland_guest_http::{Problem, body, text};
use headland_guest_nn::{End, Model, Pieces};
use http_body::Frame;
use serde_json::json;
use wstd::http::{Body, HeaderMap, HeaderValue, Method, Request, Response, StatusCode};

const DEFAULT_MODEL: &str = "small-talk";
const DEFAULT_TOKENS_MAX: u32 = 256;
const USAGE: &str = include_str!("usage.txt");

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, wstd::http::Error> {
    Ok(handle(request).await.unwrap_or_else(Response::from))
}

async fn handle(request: Request<Body>) -> Result<Response<Body>, Problem> {
    match *request.method() {
        Method::POST => chat(&body(request).await?),
        Method::GET | Method::HEAD => Ok(text(USAGE)),
        _ => Err(Problem::method_not_allowed(request.method(), "GET, HEAD, POST")),
    }
}

fn chat(question: &[u8]) -> Result<Response<Body>, Problem> {
    let question = std::str::from_utf8(question)
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the question is not UTF-8; send it as text"))?;
    if question.trim().is_empty() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "there is no question; send one as text"));
    }
    let (question, removed) = redact(question);
    let model = std::env::var("MODEL").unwrap_or_else(|_| DEFAULT_MODEL.to_owned());
    let tokens_max = std::env::var("MAX_TOKENS").ok().and_then(|max| max.parse().ok()).unwrap_or(DEFAULT_TOKENS_MAX);
    let messages = json!([{"role": "user", "content": question}]).to_string();
    let parameters = json!({"stream": true, "max_tokens": tokens_max, "temperature": 0}).to_string();
    let pieces = Model::by_name(&model)?.stream(&messages, &parameters)?;
    let answer = Answer { pieces, redactor: Redactor::default(), end: None, ended: false };
    let mut response = Response::new(Body::from_http_body(answer));
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert("x-guard-removed", HeaderValue::from(removed));
    headers.insert("trailer", HeaderValue::from_static("x-guard-filtered, x-finish-reason, x-usage"));
    Ok(response)
}

/// The answer as a body: a frame for each piece that may be told, trailers in the end.
struct Answer {
    pieces: Pieces,
    redactor: Redactor,
    end: Option<End>,
    ended: bool,
}

impl Answer {
    fn frame(&mut self) -> Option<Result<Frame<Bytes>, wstd::http::Error>> {
        while !self.ended {
            let piece = match self.pieces.next()? {
                Ok(piece) => piece,
                Err(error) => {
                    self.ended = true;
                    // The head has gone: what breaks off is no whole answer.
                    return Some(Err(wstd::http::Error::msg(error)));
                }
            };
            let mut told = self.redactor.push(&piece.text);
            if let Some(end) = piece.end {
                self.ended = true;
                told += &self.redactor.finish();
                self.end = Some(end);
            }
            if !told.is_empty() {
                return Some(Ok(Frame::data(told.into())));
            }
        }
        self.end.take().map(|end| Ok(Frame::trailers(self.trailers(&end))))
    }

    fn trailers(&self, end: &End) -> HeaderMap {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-guard-filtered", HeaderValue::from(self.redactor.removed()));
        for (name, value) in [("x-finish-reason", &end.finish_reason), ("x-usage", &end.usage)] {
            if let Ok(value) = HeaderValue::from_str(value) {
                trailers.insert(name, value);
            }
        }
        trailers
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = wstd::http::Error;

    /// Never pending: the guest waits in the host, which runs others meanwhile.
    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.frame())
    }
}
