//! `POST /fleet/v1/infer`: a request that another PoP passes on to a model here, answered whole, or piece by piece where it says
//! so and the model does.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use futures_util::stream;
use headland_batcher::{Answer, Call, Model, Pieces, Trace};
use headland_nn_core::NnError;
use headland_remote::wire::{
    HEAD_BYTES_MAX, InferRequest, MEDIA_TYPE, PIECES_MEDIA_TYPE, Refused, WireError, encode_answer, encode_end,
    encode_piece, encode_refusal,
};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, StatusCode};

use crate::body;
use crate::errors::{ApiError, Reason};
use crate::gateway::Gateway;
use crate::limits::PEER_BODY_GROWTH;
use crate::observe::{Served, trace_of};

pub(super) async fn infer(State(gateway): State<Arc<Gateway>>, request: Request<Body>) -> Result<Response, ApiError> {
    let arrived = Instant::now();
    if request.headers().get(CONTENT_TYPE).is_none_or(|given| given != MEDIA_TYPE) {
        return Err(ApiError::new(Reason::MalformedBody, format!("an inference is sent as `{MEDIA_TYPE}`")));
    }
    let trace = trace_of(request.headers());
    let limit = gateway.limits().body_bytes_max.saturating_mul(PEER_BODY_GROWTH).saturating_add(HEAD_BYTES_MAX);
    // Held to the end, for token lists that are read out of it rather than views of it are in its share of the budget too.
    let held = body::read_up_to(&gateway, request, limit).await?;
    let request = InferRequest::decode(held.clone())?;
    let name = request.model.to_arc();
    let mut response = match answer(&gateway, request, trace, arrived).await {
        Ok(Given::Whole(answer)) => respond(StatusCode::OK, MEDIA_TYPE, Body::new(encode_answer(&answer))),
        Ok(Given::InPieces(telling)) => respond(StatusCode::OK, PIECES_MEDIA_TYPE, telling.body()),
        Err(refused) => respond(status_of(&refused), MEDIA_TYPE, Body::new(encode_refusal(&refused))),
    };
    response.extensions_mut().insert(Served::Model(name));
    Ok(response)
}

/// What a model here gives.
enum Given {
    Whole(Answer),
    InPieces(Telling),
}

async fn answer(gateway: &Gateway, request: InferRequest, trace: Trace, arrived: Instant) -> Result<Given, Refused> {
    let InferRequest { model, version, digest, inputs, outputs, caller, priority, deadline, attempt, stream } = request;
    let limits = gateway.limits();
    let within = |max: Duration| arrived + deadline.map_or(max, |left| left.min(max));
    let finding = gateway.models().find_here(&model, &version);
    let late = |_| NnError::DeadlineExceeded { model: model.to_arc() };
    let found: Arc<Model> = tokio::time::timeout_at(within(limits.infer_max).into(), finding)
        .await
        .map_err(late)?
        .map_err(|error| Refused::NotHere(error.to_string()))?;
    if found.info().digest != digest {
        let other = format!("model `{}` is here with other bytes: {}", found.info(), found.info().digest);
        return Err(Refused::NotHere(other));
    }
    let wanted = found.select(outputs.iter().map(String::as_str))?;
    let deadline = Some(within(limits.answer_max(&found)));
    let call = Call { inputs, wanted, deadline, caller, priority, trace };
    if stream && let Some(pieces) = found.stream_here(&call).await? {
        return Ok(Given::InPieces(Telling { model: found, pieces, attempt }));
    }
    let result = found.infer_here(call).await;
    if let Err(error) = &result {
        note(&found, attempt, error);
    }
    Ok(Given::Whole(result?))
}

/// An answer that is being told to another PoP.
struct Telling {
    /// Held for as long as it answers: a model in use is not put out to make room.
    model: Arc<Model>,
    pieces: Pieces,
    attempt: u32,
}

impl Telling {
    /// A frame for each piece as it is made, and the last for how it ended. Whoever drops it ends the answer.
    fn body(self) -> Body {
        Body::from_stream(stream::unfold(Some(self), |telling| async move {
            let mut telling = telling?;
            let (frame, telling) = match telling.pieces.next().await {
                Ok(Some(outputs)) => (encode_piece(&outputs), Some(telling)),
                Ok(None) => (encode_end(Ok(())), None),
                Err(error) => {
                    note(&telling.model, telling.attempt, &error);
                    (encode_end(Err(&error)), None)
                }
            };
            Some((Ok::<_, Infallible>(frame), telling))
        }))
    }
}

/// What is wrong here is for the log here.
fn note(model: &Model, attempt: u32, error: &NnError) {
    if let NnError::Runtime(_) | NnError::BadModel(_) | NnError::DeviceUnavailable(_) = error {
        tracing::error!(model = %model.info(), attempt, %error, "the model failed on a request of another PoP");
    }
}

fn respond(status: StatusCode, media_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// The status that everybody else would get for it.
fn status_of(refused: &Refused) -> StatusCode {
    let reason = match refused {
        Refused::NotHere(_) => Reason::ModelNotFound,
        Refused::Failed(error) => ApiError::from(error.clone()).reason(),
    };
    reason.row().status
}

impl From<WireError> for ApiError {
    fn from(error: WireError) -> Self {
        ApiError::new(Reason::MalformedBody, error.to_string())
    }
}
