//! `POST /fleet/v1/infer`: a request that another PoP passes on to a model here.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use headland_batcher::{Answer, Call, Model, Trace};
use headland_nn_core::NnError;
use headland_remote::wire::{
    Frames, HEAD_BYTES_MAX, InferRequest, MEDIA_TYPE, Refused, WireError, encode_answer, encode_refusal,
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
        Ok(answer) => respond(StatusCode::OK, encode_answer(&answer)),
        Err(refused) => respond(status_of(&refused), encode_refusal(&refused)),
    };
    response.extensions_mut().insert(Served::Model(name));
    Ok(response)
}

async fn answer(gateway: &Gateway, request: InferRequest, trace: Trace, arrived: Instant) -> Result<Answer, Refused> {
    let InferRequest { model, version, digest, inputs, outputs, caller, priority, deadline, attempt } = request;
    let infer_max = gateway.limits().infer_max;
    let deadline = arrived + deadline.map_or(infer_max, |left| left.min(infer_max));
    let finding = gateway.models().find_here(&model, &version);
    let late = |_| NnError::DeadlineExceeded { model: model.to_arc() };
    let found: Arc<Model> = tokio::time::timeout_at(deadline.into(), finding)
        .await
        .map_err(late)?
        .map_err(|error| Refused::NotHere(error.to_string()))?;
    if found.info().digest != digest {
        let other = format!("model `{}` is here with other bytes: {}", found.info(), found.info().digest);
        return Err(Refused::NotHere(other));
    }
    let wanted = found.select(outputs.iter().map(String::as_str))?;
    let call = Call { inputs, wanted, deadline: Some(deadline), caller, priority, trace };
    let result = found.infer_here(call).await;
    if let Err(error @ (NnError::Runtime(_) | NnError::BadModel(_) | NnError::DeviceUnavailable(_))) = &result {
        tracing::error!(model = %found.info(), attempt, %error, "the model failed on a request of another PoP");
    }
    Ok(result?)
}

fn respond(status: StatusCode, frames: Frames) -> Response {
    let mut response = Response::new(Body::new(frames));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
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
