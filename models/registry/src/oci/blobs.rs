//! Blobs on their way out, whole or in part, streamed from the file that was opened once.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use headland_package::Sha256Digest;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};

use super::failure::{Failure, Why};
use super::intake::Incoming;
use super::limits::READ_BYTES;
use super::range::{Part, requested};
use super::{DIGEST_HEADER, Shared, empty, header_value, stored};
use crate::store::{Blob, Repository, StoreError};

/// `HEAD` of a blob. Who asks is about to rely on it, and so the store keeps it for a while.
pub(super) async fn head(shared: &Shared, repository: Repository, digest: Sha256Digest) -> Result<Response, Failure> {
    let size = stored(&shared.registry.store, move |store| {
        store.has_blob(&repository, digest)?.ok_or(StoreError::BlobUnknown { repository, digest })
    })
    .await?;
    Ok(with_length(described(empty(StatusCode::OK), digest), size))
}

/// `GET` of a blob, or of a part of it.
pub(super) async fn get(
    shared: &Shared,
    repository: Repository,
    digest: Sha256Digest,
    request: Request<Incoming>,
) -> Result<Response, Failure> {
    let blob = stored(&shared.registry.store, move |store| {
        store.blob(&repository, digest)?.ok_or(StoreError::BlobUnknown { repository, digest })
    })
    .await?;
    if is_known(request.headers(), digest) {
        return Ok(described(empty(StatusCode::NOT_MODIFIED), digest));
    }
    let size = blob.size();
    let (status, bytes) = match part(request.headers(), digest, size) {
        Part::Whole => (StatusCode::OK, 0..size),
        Part::Bytes(bytes) => (StatusCode::PARTIAL_CONTENT, bytes),
        Part::Unsatisfiable => {
            return Err(Failure::new(
                Why::Range,
                format_args!("the blob has {size} bytes, and none of those asked for"),
            )
            .with_header(header::CONTENT_RANGE, header_value(format!("bytes */{size}"))));
        }
    };
    let mut response = with_length(described(empty(status), digest), bytes.end - bytes.start);
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {}-{}/{size}", bytes.start, bytes.end - 1);
        response.headers_mut().insert(header::CONTENT_RANGE, header_value(range));
    }
    *response.body_mut() = streamed(blob, bytes);
    Ok(response)
}

fn with_length(mut response: Response, bytes: u64) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    response
}

/// Names content by its digest, which is also the best entity tag there can be.
pub(super) fn described(mut response: Response, digest: Sha256Digest) -> Response {
    response.headers_mut().insert(DIGEST_HEADER, header_value(digest));
    response.headers_mut().insert(header::ETAG, header_value(format_args!("\"{digest}\"")));
    response
}

/// Whether the client says it has this content already.
pub(super) fn is_known(headers: &HeaderMap, digest: Sha256Digest) -> bool {
    let names_it = |value: &HeaderValue| {
        let tags = value.to_str().unwrap_or_default();
        tags.split(',').any(|tag| is_tag_of(tag.trim().trim_start_matches("W/"), digest))
    };
    headers.get_all(header::IF_NONE_MATCH).iter().any(names_it)
}

fn is_tag_of(tag: &str, digest: Sha256Digest) -> bool {
    tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).is_some_and(|tag| tag.parse() == Ok(digest))
}

/// The part asked for; `If-Range` of other content makes it the whole.
fn part(headers: &HeaderMap, digest: Sha256Digest, size: u64) -> Part {
    let same = headers.get(header::IF_RANGE).is_none_or(|tag| is_tag_of(tag.to_str().unwrap_or_default(), digest));
    match headers.get(header::RANGE).and_then(|range| range.to_str().ok()) {
        Some(range) if same => requested(range, size),
        _ => Part::Whole,
    }
}

/// The bytes of a blob, read a piece at a time where it may block. A slow client holds no thread.
fn streamed(blob: Blob, bytes: Range<u64>) -> Body {
    let pieces = stream::try_unfold((Arc::new(blob), bytes), |(blob, bytes)| async move {
        if bytes.is_empty() {
            return Ok(None);
        }
        let (reader, at) = (blob.clone(), bytes.clone());
        let piece = tokio::task::spawn_blocking(move || piece(&reader, at)).await.map_err(io::Error::other)??;
        let next = bytes.start + piece.len() as u64..bytes.end;
        Ok::<_, io::Error>(Some((piece, (blob, next))))
    });
    Body::from_stream(pieces)
}

fn piece(blob: &Blob, bytes: Range<u64>) -> io::Result<Bytes> {
    let len = usize::try_from(bytes.end - bytes.start).unwrap_or(READ_BYTES).min(READ_BYTES);
    let mut buffer = vec![0; len];
    let read = blob.read_at(bytes.start, &mut buffer).map_err(io::Error::other)?;
    if read == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the blob's file became shorter while it was sent"));
    }
    buffer.truncate(read);
    Ok(buffer.into())
}

/// `DELETE` of a blob from a repository.
pub(super) async fn delete(shared: &Shared, repository: Repository, digest: Sha256Digest) -> Result<Response, Failure> {
    stored(&shared.registry.store, move |store| store.delete_blob(&repository, digest)).await?;
    Ok(empty(StatusCode::ACCEPTED))
}
