//! Manifests: read, judged, put, deleted.

use std::sync::{Arc, PoisonError};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use headland_package::oci::{
    self, ArtifactKind, Document, MEDIA_TYPE_MANIFEST, Manifest, RepositoryKind, SIGNATURE_BYTES_MAX, app_files,
    model_files, repository_kind, signature_layer,
};
use headland_package::{ModelVersion, Sha256Digest};
use http::{HeaderMap, Method, Request, StatusCode, header};

use super::blobs::{described, is_known};
use super::failure::{Failure, Why, missing};
use super::gate::{Content, ManifestPut};
use super::intake::Incoming;
use super::{SUBJECT_HEADER, Shared, blocking, empty, header_value, intake, stored};
use crate::store::{Reference, Repository, Store, StoreError};

/// `GET` and `HEAD`. What was put is what is answered, whatever the client would rather accept.
pub(super) async fn get(
    shared: &Shared,
    repository: Repository,
    reference: &str,
    request: Request<Incoming>,
) -> Result<Response, Failure> {
    let reference = existing(reference)?;
    let manifest = stored(&shared.registry.store, move |store| {
        store.manifest(&repository, &reference)?.ok_or(StoreError::ManifestUnknown { repository, reference })
    })
    .await?;
    let digest = manifest.info.digest;
    if is_known(request.headers(), digest) {
        return Ok(described(empty(StatusCode::NOT_MODIFIED), digest));
    }
    let mut response = described(empty(StatusCode::OK), digest);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header_value(manifest.info.media_type));
    headers.insert(header::CONTENT_LENGTH, header_value(manifest.bytes.len()));
    if request.method() == Method::GET {
        *response.body_mut() = Body::from(manifest.bytes);
    }
    Ok(response)
}

/// `DELETE`: of a tag, or of a manifest with all its tags.
pub(super) async fn delete(shared: &Arc<Shared>, repository: Repository, reference: &str) -> Result<Response, Failure> {
    let reference = existing(reference)?;
    let shared = shared.clone();
    blocking(move || {
        let registry = &shared.registry;
        registry.gatekeeper.judge_delete(&repository, &reference)?;
        match reference {
            Reference::Tag(tag) => registry.store.delete_tag(&repository, &tag)?,
            Reference::Digest(digest) => registry.store.delete_manifest(&repository, digest)?,
        }
        Ok(empty(StatusCode::ACCEPTED))
    })
    .await
}

/// `PUT`.
pub(super) async fn put(
    shared: &Arc<Shared>,
    repository: Repository,
    reference: &str,
    request: Request<Incoming>,
) -> Result<Response, Failure> {
    let reference = parse(reference, Why::Name)?;
    let limits = shared.registry.limits;
    let refused = |_| Failure::too_many("manifests", limits.manifests_running_max);
    let _permit = shared.manifests.try_acquire().map_err(refused)?;
    let (head, body) = request.into_parts();
    let media_type = media_type(&head.headers)?;
    let bytes = intake::manifest(&head.headers, body, limits.manifest_receive_max).await?;
    let shared = shared.clone();
    blocking(move || Arrived { repository, reference, media_type, bytes }.admit(&shared)).await
}

/// A reference to something that should be there.
fn existing(reference: &str) -> Result<Reference, Failure> {
    parse(reference, Why::ManifestUnknown)
}

fn parse(reference: &str, otherwise: Why) -> Result<Reference, Failure> {
    if reference.starts_with("sha512:") {
        return Err(Failure::sha512());
    }
    reference.parse().map_err(|error| Failure::new(otherwise, error))
}

/// The content type, without parameters.
fn media_type(headers: &HeaderMap) -> Result<String, Failure> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Failure::new(Why::Unsupported, "manifests are sent as they are, without `Content-Encoding`"));
    }
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = value.split(';').next().unwrap_or_default().trim();
    if media_type.is_empty() {
        let advice = format_args!("say in `Content-Type` what the manifest is, such as `{MEDIA_TYPE_MANIFEST}`");
        return Err(Failure::new(Why::Manifest, advice));
    }
    Ok(media_type.to_owned())
}

/// A manifest that has arrived.
struct Arrived {
    repository: Repository,
    reference: Reference,
    media_type: String,
    bytes: Bytes,
}

impl Arrived {
    /// From cheap to dear: what it is, whether its version is free, whether it may be there, whether its blobs are there.
    /// So a client may send the manifest first, and learn what is wrong, or which blobs to send, before it sends them.
    fn admit(self, shared: &Shared) -> Result<Response, Failure> {
        let store = &shared.registry.store;
        let document = Document::parse(&self.media_type, &self.bytes)?;
        let digest = self.digest()?;
        self.check_place(&document)?;
        self.check_version(store, digest)?;
        let content = self.content(store, &document)?;
        let Arrived { repository, reference, media_type, bytes } = &self;
        shared.registry.gatekeeper.judge(&ManifestPut { repository, reference, media_type, digest, bytes, content })?;
        self.check_blobs(store, &document)?;

        let one_at_a_time = shared.versions.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_version(store, digest)?;
        store.put_manifest(repository, reference, media_type, bytes)?;
        drop(one_at_a_time);
        Ok(self.created(digest, document.subject().map(|subject| subject.digest)))
    }

    fn digest(&self) -> Result<Sha256Digest, Failure> {
        let digest = Sha256Digest::of(&self.bytes);
        match self.reference {
            Reference::Digest(expected) if expected != digest => Err(Failure::new(
                Why::Digest,
                format_args!("the manifest should have digest {expected} and has {digest}"),
            )),
            _ => Ok(digest),
        }
    }

    /// Repositories of models hold models and what refers to them, under tags that are versions; apps alike.
    fn check_place(&self, document: &Document) -> Result<(), Failure> {
        let (kind, what) = match repository_kind(self.repository.as_str()) {
            RepositoryKind::Model(_) => (ArtifactKind::Model, "models (ModelPack artifacts)"),
            RepositoryKind::App(_) => (ArtifactKind::App, "apps"),
            RepositoryKind::Other => return Ok(()),
        };
        let found = document.kind();
        if found != kind && document.subject().is_none() {
            let message =
                format_args!("{} holds {what} and their signatures; push this to another repository", self.repository);
            return Err(Failure::new(Why::Manifest, message));
        }
        match &self.reference {
            Reference::Tag(tag) if found == kind => {
                tag.as_str().parse::<ModelVersion>().map(drop).map_err(|error| Failure::new(Why::Name, error))
            }
            _ => Ok(()),
        }
    }

    /// A version of a model is one model for ever: whoever verified it must get what was verified.
    fn check_version(&self, store: &Store, digest: Sha256Digest) -> Result<(), Failure> {
        let (RepositoryKind::Model(name), Reference::Tag(tag)) =
            (repository_kind(self.repository.as_str()), &self.reference)
        else {
            return Ok(());
        };
        match store.tag(&self.repository, tag)? {
            Some(taken) if taken != digest => Err(Failure::new(
                Why::VersionTaken,
                format_args!(
                    "model {name} has a version {tag} already, {taken}, and versions never change; choose another version"
                ),
            )),
            _ => Ok(()),
        }
    }

    fn content(&self, store: &Store, document: &Document) -> Result<Content, Failure> {
        let Document::Manifest(manifest) = document else { return Ok(Content::Other) };
        let kind = manifest.kind();
        if kind != ArtifactKind::Other && self.media_type != MEDIA_TYPE_MANIFEST {
            let message = format_args!("models, apps and signatures are manifests of type `{MEDIA_TYPE_MANIFEST}`");
            return Err(Failure::new(Why::Manifest, message));
        }
        Ok(match kind {
            ArtifactKind::Model => Content::Model { files: model_files(manifest)? },
            ArtifactKind::App => Content::App(app_files(manifest)?),
            ArtifactKind::Signature => self.signature(store, manifest)?,
            ArtifactKind::Other => Content::Other,
        })
    }

    fn signature(&self, store: &Store, manifest: &Manifest) -> Result<Content, Failure> {
        let (layer, subject) = signature_layer(manifest)?;
        let unknown = || missing_blobs(&self.repository, &[layer.digest]);
        let blob = store.blob(&self.repository, layer.digest)?.ok_or_else(unknown)?;
        if blob.size() > SIGNATURE_BYTES_MAX {
            return Err(oci::ArtifactError::SignatureSize(blob.size()).into());
        }
        let signed = store.manifest(&self.repository, &Reference::Digest(subject.digest))?;
        Ok(Content::Signature {
            bundle: blob.map_verified()?,
            subject: subject.clone(),
            signed: signed.map(|signed| signed.bytes),
        })
    }

    /// Every blob that is missing, not only the first. The store checks again when it may no longer change.
    fn check_blobs(&self, store: &Store, document: &Document) -> Result<(), Failure> {
        let Document::Manifest(manifest) = document else { return Ok(()) };
        let mut absent = Vec::new();
        for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
            if store.has_blob(&self.repository, blob.digest)?.is_none() && !absent.contains(&blob.digest) {
                absent.push(blob.digest);
            }
        }
        if absent.is_empty() { Ok(()) } else { Err(missing_blobs(&self.repository, &absent)) }
    }

    fn created(&self, digest: Sha256Digest, subject: Option<Sha256Digest>) -> Response {
        let mut response = described(empty(StatusCode::CREATED), digest);
        let location = format!("/v2/{}/manifests/{digest}", self.repository);
        response.headers_mut().insert(header::LOCATION, header_value(location));
        if let Some(subject) = subject {
            response.headers_mut().insert(SUBJECT_HEADER, header_value(subject));
        }
        response
    }
}

fn missing_blobs(repository: &Repository, absent: &[Sha256Digest]) -> Failure {
    let message = match absent {
        [one] => format!("the manifest names blob {one}, which is not in {repository}; upload it first"),
        all => format!("the manifest names {} blobs that are not in {repository}; upload them first", all.len()),
    };
    Failure::new(Why::ManifestBlobUnknown, message).with_detail(missing(absent))
}
