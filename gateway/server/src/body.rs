//! Reads a request body into memory, within the limits on size, on time, and on all bodies together.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use headland_package::ByteSize;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use tokio::sync::OwnedSemaphorePermit;

use crate::errors::{ApiError, Reason};
use crate::gateway::Gateway;
use crate::limits::BODY_READ_MAX;

/// Unit of the budget for all bodies together; a semaphore counts no further than 2^29 on small machines.
pub(crate) const BUDGET_UNIT_BYTES: usize = 1 << 10;

/// A body in memory, and its share of the budget.
struct Shared {
    bytes: Bytes,
    _share: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads the body of `request`. A body that says it is too large is refused before a byte of it is read.
///
/// Its share of the budget is given back with the last view of it: a tensor that still waits in a queue, or work on a
/// blocking thread, keeps it after the client has gone.
pub(crate) async fn read(gateway: &Gateway, request: Request<Body>) -> Result<Bytes, ApiError> {
    read_up_to(gateway, request, gateway.limits().body_bytes_max).await
}

/// The same with another limit.
pub(crate) async fn read_up_to(gateway: &Gateway, request: Request<Body>, limit: usize) -> Result<Bytes, ApiError> {
    refuse_encodings(request.headers())?;
    let declared = content_length(request.headers());
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    // One that does not say its length may turn out to be as large as is allowed.
    let expected = declared.map_or(limit, |length| length as usize);
    let share = claim(gateway, expected)?;
    let reading = collect(request.into_body(), declared.map(|length| length as usize), limit);
    let bytes = tokio::time::timeout(BODY_READ_MAX, reading).await.map_err(|_| {
        let message = format!("the request body took longer than {} s to arrive", BODY_READ_MAX.as_secs());
        ApiError::new(Reason::BodyTimeout, message)
    })??;
    Ok(Bytes::from_owner(Shared { bytes, _share: share }))
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn refuse_encodings(headers: &HeaderMap) -> Result<(), ApiError> {
    match headers.get(CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => Err(ApiError::new(
            Reason::UnsupportedEncoding,
            "compressed request bodies are not supported; send it as it is",
        )),
        _ => Ok(()),
    }
}

fn too_large(limit: usize) -> ApiError {
    let message = format!("the request body is larger than {}, the most this gateway takes", ByteSize(limit as u64));
    ApiError::new(Reason::BodyTooLarge, message)
}

fn claim(gateway: &Gateway, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
    let units = u32::try_from(bytes.div_ceil(BUDGET_UNIT_BYTES)).unwrap_or(u32::MAX);
    gateway
        .body_budget()
        .clone()
        .try_acquire_many_owned(units)
        .map_err(|_| ApiError::new(Reason::Overloaded, "too many large requests are in flight; try again shortly"))
}

/// Keeps the only chunk of a small body as it is; puts larger ones together with one allocation.
async fn collect(mut body: Body, declared: Option<usize>, limit: usize) -> Result<Bytes, ApiError> {
    let Some(first) = next_chunk(&mut body).await? else { return Ok(Bytes::new()) };
    if first.len() > limit {
        return Err(too_large(limit));
    }
    if declared == Some(first.len()) {
        return Ok(first);
    }
    let Some(second) = next_chunk(&mut body).await? else { return Ok(first) };
    // `declared` is within the limit, and pages that are never written cost nothing.
    let mut whole = BytesMut::with_capacity(declared.unwrap_or(first.len() + second.len()));
    whole.extend_from_slice(&first);
    let mut next = Some(second);
    while let Some(chunk) = next {
        if chunk.len() > limit - whole.len() {
            return Err(too_large(limit));
        }
        whole.extend_from_slice(&chunk);
        next = next_chunk(&mut body).await?;
    }
    Ok(whole.freeze())
}

async fn next_chunk(body: &mut Body) -> Result<Option<Bytes>, ApiError> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            ApiError::new(
                Reason::MalformedBody,
                format!("the request body broke off or is not framed correctly: {error}"),
            )
        })?;
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data));
        }
    }
    Ok(None)
}
