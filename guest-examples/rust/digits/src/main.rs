//! The digits app: a picture in, the digit and how sure the model is out.
//!
//! `lib.rs` holds what needs no host: decoding, finding the digit, bringing it into the model's form.

use digits::{PictureError, Prepared, prepare, softmax};
use headland_guest_http::{Problem, body, json, text};
use headland_guest_nn::{Error, Model, Tensor};
use serde::Serialize;
use wstd::http::{Body, Method, Request, Response, StatusCode};

const DEFAULT_MODEL: &str = "digits";
const USAGE: &str = include_str!("usage.txt");

#[derive(Serialize)]
struct Answer {
    digit: usize,
    confidence: f32,
    probabilities: Vec<f32>,
    r#box: [usize; 4],
}

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, wstd::http::Error> {
    Ok(handle(request).await.unwrap_or_else(Response::from))
}

async fn handle(request: Request<Body>) -> Result<Response<Body>, Problem> {
    match *request.method() {
        Method::POST => read_digit(&body(request).await?),
        Method::GET | Method::HEAD => Ok(text(USAGE)),
        _ => Err(Problem::method_not_allowed(request.method(), "GET, HEAD, POST")),
    }
}

fn read_digit(picture: &[u8]) -> Result<Response<Body>, Problem> {
    let Prepared { image, bounds } = prepare(picture).map_err(refuse)?;
    let probabilities = softmax(&classify(&image)?);
    let digit = (0..probabilities.len()).max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b])).unwrap_or(0);
    let confidence = probabilities.get(digit).copied().unwrap_or(0.0);
    Ok(json(&Answer { digit, confidence, probabilities, r#box: bounds }))
}

fn classify(image: &[f32; 64]) -> Result<Vec<f32>, Error> {
    let name = std::env::var("MODEL").unwrap_or_else(|_| DEFAULT_MODEL.to_owned());
    Model::by_name(&name)?.compute([("image", Tensor::of(&[1, 8, 8], image))])?.take("logits")
}

fn refuse(error: PictureError) -> Problem {
    let status = match error {
        PictureError::Empty => StatusCode::BAD_REQUEST,
        PictureError::NotAPicture => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        PictureError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        PictureError::Corrupt { .. } | PictureError::NoDigit(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    Problem::new(status, error.to_string())
}
