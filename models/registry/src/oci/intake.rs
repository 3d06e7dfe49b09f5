//! Bodies on their way in: blobs through a bounded channel to the thread that hashes and writes them, manifests into
//! memory up to their limit. A client that stalls is let go, and one that is refused hears why before it is cut off.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use headland_package::oci::MANIFEST_BYTES_MAX;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;

use super::failure::{Failure, Why};
use super::limits::{LINGER_MAX, PIECES_WAITING_MAX};
use crate::store::{StoreError, Upload};

/// What becomes of an upload whose body does not arrive as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfinished {
    /// It stays: the client knows its session and can go on.
    Keep,
    /// It goes: nobody knows of it.
    Drop,
}

impl Unfinished {
    /// Lets go of an upload.
    pub(super) fn apply(self, upload: Upload) -> Result<(), StoreError> {
        match self {
            Unfinished::Keep => Ok(()),
            Unfinished::Drop => upload.cancel(),
        }
    }
}

/// What the writing thread is sent. Without an [`Piece::End`] the body broke off, or the client went away.
enum Piece {
    Bytes(Bytes),
    End,
}

/// A request's body. Let go before its end, it is read on for a moment and thrown away: a connection closed while the client
/// still sends would be reset, and the answer lost that says what was wrong.
pub(super) struct Incoming(Body);

impl Incoming {
    pub(super) fn new(body: Body) -> Self {
        Incoming(body)
    }

    /// The next piece that is not empty.
    async fn next(&mut self, idle_max: Duration) -> Result<Option<Bytes>, Failure> {
        loop {
            let Ok(frame) = timeout(idle_max, self.0.frame()).await else {
                let message = format_args!("nothing arrived for {} s", idle_max.as_secs_f32());
                return Err(Failure::new(Why::BodyStalled, message));
            };
            match frame.transpose() {
                Ok(None) => return Ok(None),
                Ok(Some(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    // Trailers, which mean nothing here.
                    _ => {}
                },
                Err(error) => {
                    return Err(Failure::new(Why::BodyBroken, format_args!("the request's body broke off: {error}")));
                }
            }
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let mut body = std::mem::take(&mut self.0);
        let (false, Ok(runtime)) = (body.is_end_stream(), Handle::try_current()) else { return };
        runtime.spawn(timeout(LINGER_MAX, async move { while let Some(Ok(_)) = body.frame().await {} }));
    }
}

/// How many bytes the client said it sends.
pub(super) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Appends a body to an upload; `expected` is how many bytes it must have.
pub(super) async fn append(
    upload: Upload,
    mut body: Incoming,
    expected: Option<u64>,
    idle_max: Duration,
    permit: OwnedSemaphorePermit,
    unfinished: Unfinished,
) -> Result<Upload, Failure> {
    let (pieces, waiting) = mpsc::channel(PIECES_WAITING_MAX);
    let writer = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        write(upload, waiting, unfinished)
    });
    let received = receive(&mut body, expected, idle_max, pieces).await;
    // The writer's answer first: its failure is why receiving stopped. Its end also frees the session for the next request.
    let written = writer.await.map_err(|error| Failure::internal("writing an upload", &error))??;
    received?;
    written.ok_or_else(|| Failure::new(Why::BodyBroken, "the request's body broke off"))
}

/// Writes what arrives; the upload comes back if all of it did.
fn write(
    mut upload: Upload,
    mut waiting: mpsc::Receiver<Piece>,
    unfinished: Unfinished,
) -> Result<Option<Upload>, StoreError> {
    loop {
        match waiting.blocking_recv() {
            Some(Piece::Bytes(bytes)) => {
                if let Err(error) = upload.write(&bytes) {
                    unfinished.apply(upload)?;
                    return Err(error);
                }
            }
            Some(Piece::End) => return Ok(Some(upload)),
            None => return unfinished.apply(upload).map(|()| None),
        }
    }
}

async fn receive(
    body: &mut Incoming,
    expected: Option<u64>,
    idle_max: Duration,
    pieces: mpsc::Sender<Piece>,
) -> Result<(), Failure> {
    let mut left = expected.unwrap_or(u64::MAX);
    while let Some(piece) = body.next(idle_max).await? {
        left = left.checked_sub(piece.len() as u64).ok_or_else(|| chunk_length("is longer than"))?;
        if pieces.send(Piece::Bytes(piece)).await.is_err() {
            // The writer has failed, and says why.
            return Ok(());
        }
    }
    if expected.is_some() && left > 0 {
        return Err(chunk_length("is shorter than"));
    }
    // As above.
    let _ = pieces.send(Piece::End).await;
    Ok(())
}

fn chunk_length(relation: &str) -> Failure {
    let advice = "ask for the upload's status and go on from there";
    Failure::new(Why::Size, format_args!("the chunk {relation} its `Content-Range` says; {advice}"))
}

/// A manifest's body, whole.
pub(super) async fn manifest(headers: &HeaderMap, mut body: Incoming, receive_max: Duration) -> Result<Bytes, Failure> {
    let declared = declared_length(headers).map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    if declared > MANIFEST_BYTES_MAX {
        return Err(Failure::manifest_too_large(declared));
    }
    let collect = async {
        let mut bytes = Vec::with_capacity(declared);
        while let Some(piece) = body.next(receive_max).await? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > MANIFEST_BYTES_MAX {
                return Err(Failure::manifest_too_large(bytes.len()));
            }
        }
        Ok(Bytes::from(bytes))
    };
    timeout(receive_max, collect).await.unwrap_or_else(|_| {
        let message = format_args!("the manifest did not arrive within {} s", receive_max.as_secs_f32());
        Err(Failure::new(Why::BodyStalled, message))
    })
}
