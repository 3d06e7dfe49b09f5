//! Uploads of blobs: whole in one request, or begun, continued and finished in several.

use axum::response::Response;
use headland_package::Sha256Digest;
use http::{HeaderMap, Request, StatusCode, header};
use tokio::sync::OwnedSemaphorePermit;

use super::blobs::described;
use super::failure::{Failure, Why};
use super::intake::{self, Incoming, Unfinished, declared_length};
use super::{Shared, UPLOAD_HEADER, blocking, empty, header_value, query, range, route, stored};
use crate::store::{BlobInfo, Repository, Upload, UploadId};

/// `POST .../blobs/uploads/`: mounts a blob of another repository, takes a whole blob, or opens a session.
pub(super) async fn begin(
    shared: &Shared,
    repository: Repository,
    request: Request<Incoming>,
) -> Result<Response, Failure> {
    let query: query::Begin = query::read(request.uri())?;
    if let (Some(digest), Some(from)) = (&query.mount, &query.from) {
        let (digest, from) = (route::parse_digest(digest)?, from.parse().map_err(Failure::name)?);
        let to = repository.clone();
        if stored(&shared.registry.store, move |store| store.mount_blob(&from, digest, &to)).await?.is_some() {
            return Ok(created(&repository, digest));
        }
    }
    let Some(digest) = &query.digest else {
        let (store, into) = (&shared.registry.store, repository.clone());
        let id = stored(store, move |store| Ok(store.begin_upload(&into)?.id().clone())).await?;
        return Ok(accepted(StatusCode::ACCEPTED, &repository, &id, 0));
    };
    let digest = route::parse_digest(digest)?;
    let permit = shared.upload_permit()?;
    let into = repository.clone();
    let upload = stored(&shared.registry.store, move |store| store.begin_upload(&into)).await?;
    let upload = receive(shared, &repository, upload, request, permit, Unfinished::Drop).await?;
    complete(&repository, upload, digest).await
}

/// `GET .../blobs/uploads/ID`: how far it has come.
pub(super) async fn status(shared: &Shared, repository: Repository, id: UploadId) -> Result<Response, Failure> {
    let upload = resume(shared, &repository, &id).await?;
    Ok(accepted(StatusCode::NO_CONTENT, &repository, &id, upload.len()))
}

/// `PATCH .../blobs/uploads/ID`: the next piece.
pub(super) async fn append(
    shared: &Shared,
    repository: Repository,
    id: UploadId,
    request: Request<Incoming>,
) -> Result<Response, Failure> {
    let permit = shared.upload_permit()?;
    let upload = resume(shared, &repository, &id).await?;
    let upload = receive(shared, &repository, upload, request, permit, Unfinished::Keep).await?;
    Ok(accepted(StatusCode::ACCEPTED, &repository, &id, upload.len()))
}

/// `PUT .../blobs/uploads/ID?digest=`: the last piece, if there is one, and the end.
pub(super) async fn finish(
    shared: &Shared,
    repository: Repository,
    id: UploadId,
    request: Request<Incoming>,
) -> Result<Response, Failure> {
    let query: query::Finish = query::read(request.uri())?;
    let digest =
        query.digest.ok_or_else(|| Failure::new(Why::Digest, "an upload ends with `?digest=` of all its bytes"))?;
    let digest = route::parse_digest(&digest)?;
    let permit = shared.upload_permit()?;
    let upload = resume(shared, &repository, &id).await?;
    let upload = receive(shared, &repository, upload, request, permit, Unfinished::Keep).await?;
    complete(&repository, upload, digest).await
}

/// `DELETE .../blobs/uploads/ID`: never mind.
pub(super) async fn cancel(shared: &Shared, repository: Repository, id: UploadId) -> Result<Response, Failure> {
    stored(&shared.registry.store, move |store| store.resume_upload(&repository, &id)?.cancel()).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

impl Shared {
    fn upload_permit(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let refused = |_| Failure::too_many("uploads", self.registry.limits.uploads_running_max);
        self.uploads.clone().try_acquire_owned().map_err(refused)
    }
}

async fn resume(shared: &Shared, repository: &Repository, id: &UploadId) -> Result<Upload, Failure> {
    let (repository, id) = (repository.clone(), id.clone());
    stored(&shared.registry.store, move |store| store.resume_upload(&repository, &id)).await
}

/// Appends a request's body, once it is known to continue the upload where it stands and to fit into the store.
async fn receive(
    shared: &Shared,
    repository: &Repository,
    mut upload: Upload,
    request: Request<Incoming>,
    permit: OwnedSemaphorePermit,
    unfinished: Unfinished,
) -> Result<Upload, Failure> {
    let (head, body) = request.into_parts();
    let expected = chunk_length(&head.headers, repository, &upload)?;
    let announced = expected.or_else(|| declared_length(&head.headers)).unwrap_or(0);
    let upload = blocking(move || match upload.reserve(announced) {
        Ok(()) => Ok(upload),
        Err(error) => {
            unfinished.apply(upload)?;
            Err(error.into())
        }
    })
    .await?;
    intake::append(upload, body, expected, shared.registry.limits.upload_idle_max, permit, unfinished).await
}

/// The length of the chunk, if the request says which bytes it is.
fn chunk_length(headers: &HeaderMap, repository: &Repository, upload: &Upload) -> Result<Option<u64>, Failure> {
    let Some(header) = headers.get(header::CONTENT_RANGE) else { return Ok(None) };
    let chunk = header.to_str().ok().and_then(range::of_chunk).ok_or_else(|| {
        Failure::new(Why::UploadInvalid, "`Content-Range` of a chunk is its first and last byte, such as `0-1023`")
    })?;
    if chunk.start != upload.len() {
        let message =
            format_args!("the chunk begins at byte {}, and the upload stands at {}", chunk.start, upload.len());
        return Err(Failure::new(Why::UploadOffset, message)
            .with_header(header::RANGE, header_value(range::arrived(upload.len())))
            .with_header(header::LOCATION, header_value(location(repository, upload.id()))));
    }
    let length = chunk.end - chunk.start;
    match declared_length(headers) {
        Some(declared) if declared != length => Err(Failure::new(
            Why::Size,
            format_args!("`Content-Range` is {length} bytes and `Content-Length` {declared}; they must agree"),
        )),
        _ => Ok(Some(length)),
    }
}

async fn complete(repository: &Repository, upload: Upload, digest: Sha256Digest) -> Result<Response, Failure> {
    let BlobInfo { digest, .. } = blocking(move || Ok(upload.finish(digest)?)).await?;
    Ok(created(repository, digest))
}

fn location(repository: &Repository, id: &UploadId) -> String {
    format!("/v2/{repository}/blobs/uploads/{id}")
}

fn accepted(status: StatusCode, repository: &Repository, id: &UploadId, bytes: u64) -> Response {
    let mut response = empty(status);
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, header_value(location(repository, id)));
    headers.insert(header::RANGE, header_value(range::arrived(bytes)));
    headers.insert(UPLOAD_HEADER, header_value(id));
    response
}

fn created(repository: &Repository, digest: Sha256Digest) -> Response {
    let mut response = described(empty(StatusCode::CREATED), digest);
    response.headers_mut().insert(header::LOCATION, header_value(format_args!("/v2/{repository}/blobs/{digest}")));
    response
}
