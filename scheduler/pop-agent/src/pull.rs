//! A model's or an app's files, from whoever in the fleet has them into this PoP's own registry.
//!
//! By digest from beginning to end: the manifest by the one that the control plane names, its blobs by those that the manifest
//! names. What a member sends is therefore either right or thrown away, and who sent something else is named. A blob that
//! breaks off goes on where it broke off, from the next member. What arrives is not yet trusted: it is verified when it is
//! loaded.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use headland_fleet::Source;
use headland_package::oci::{self, ARTIFACT_TYPE_SIGNATURE, Document, MANIFEST_BYTES_MAX, SIGNATURE_BYTES_MAX};
use headland_package::{PopId, Sha256Digest};
use headland_registry::store::{Reference, Repository, Store, StoreError, Tag, Upload};
use serde::Deserialize;

use crate::fetch::{Fetch, FetchError};
use crate::throttle::Throttle;

/// How long a member may be silent in the middle of a file.
const SILENT_MAX: Duration = Duration::from_secs(15);
/// The most of a list of referrers that is read.
const REFERRERS_BYTES_MAX: usize = 4 << 20;
/// How often one blob is begun or gone on with, over all members.
const TRIES_MAX: usize = 12;

/// What is pulled.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where it is kept, there and here.
    pub repository: Repository,
    /// Its tag: the version.
    pub tag: Tag,
    /// Its manifest.
    pub manifest: Sha256Digest,
    /// Who has it, the nearest first.
    pub sources: Vec<Source>,
}

/// Why it is not here.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// Nobody gave it.
    #[error("{what} could not be had from {tried}")]
    NoSource {
        /// What.
        what: String,
        /// Who was asked, each with what came of it.
        tried: String,
    },
    /// It is no manifest that can be kept here.
    #[error("the manifest {digest} cannot be kept: {problem}")]
    BadManifest {
        /// Which.
        digest: Sha256Digest,
        /// What is wrong with it.
        problem: String,
    },
    /// The registry here would not take it: no room, no disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The work was interrupted.
    #[error("the pull was interrupted")]
    Interrupted,
}

/// Pulls into one registry.
#[derive(Clone)]
pub struct Puller {
    store: Store,
    fetch: Arc<dyn Fetch>,
    throttle: Arc<Throttle>,
    /// Told of every member that sent other bytes than it should have.
    accuse: Arc<dyn Fn(&PopId) + Send + Sync>,
}

impl Puller {
    /// Pulls into `store` over `fetch`, no faster than `throttle` allows; `accuse` is told who sent something wrong.
    pub fn new(
        store: Store,
        fetch: Arc<dyn Fetch>,
        throttle: Arc<Throttle>,
        accuse: impl Fn(&PopId) + Send + Sync + 'static,
    ) -> Self {
        Puller { store, fetch, throttle, accuse: Arc::new(accuse) }
    }

    /// Has `wanted` in the registry, its signatures with it, when it returns. What is there already is not fetched.
    ///
    /// # Errors
    /// [`PullError`]; what was received stays, and the next try goes on from it.
    pub async fn pull(&self, wanted: &Wanted) -> Result<(), PullError> {
        let (media_type, manifest) = self.manifest(wanted, wanted.manifest).await?;
        self.blobs(wanted, &media_type, &manifest).await?;
        self.signatures(wanted).await?;
        let reference = Reference::Tag(wanted.tag.clone());
        self.put(wanted, reference, media_type, manifest).await
    }

    async fn put(
        &self,
        wanted: &Wanted,
        reference: Reference,
        media_type: String,
        manifest: Bytes,
    ) -> Result<(), PullError> {
        let repository = wanted.repository.clone();
        self.stored(move |store| store.put_manifest(&repository, &reference, &media_type, &manifest).map(drop)).await
    }

    async fn stored<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, PullError> {
        let store = self.store.clone();
        Ok(tokio::task::spawn_blocking(move || call(&store)).await.map_err(|_| PullError::Interrupted)??)
    }

    /// A manifest and its media type: from here, or from the first member that has it.
    async fn manifest(&self, wanted: &Wanted, digest: Sha256Digest) -> Result<(String, Bytes), PullError> {
        let (repository, reference) = (wanted.repository.clone(), Reference::Digest(digest));
        if let Ok(Some(here)) = self.stored(move |store| store.manifest(&repository, &reference)).await {
            return Ok((here.info.media_type, here.bytes));
        }
        let path = format!("/v2/{}/manifests/{digest}", wanted.repository);
        let mut tried = Tried::default();
        for source in &wanted.sources {
            match self.whole(source, &path, MANIFEST_BYTES_MAX).await {
                Ok((media_type, bytes)) if Sha256Digest::of(&bytes) == digest => return Ok((media_type, bytes)),
                Ok(_) => {
                    (self.accuse)(&source.pop);
                    tried.note(source, "it sent other bytes than the digest says");
                }
                Err(error) => tried.note(source, error),
            }
        }
        Err(tried.none(format!("the manifest {digest} of {}", wanted.repository)))
    }

    /// Something small, all at once.
    async fn whole(&self, source: &Source, path: &str, bytes_max: usize) -> Result<(String, Bytes), FetchError> {
        let mut fetched = self.fetch.get(source, path, 0).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = next(&mut fetched.body).await? {
            if bytes.len() + chunk.len() > bytes_max {
                return Err(FetchError::Failed(format!("it sent more than {bytes_max} bytes for {path}")));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok((fetched.media_type, bytes.into()))
    }

    async fn blobs(&self, wanted: &Wanted, media_type: &str, manifest: &Bytes) -> Result<(), PullError> {
        let bad = |problem: String| PullError::BadManifest { digest: Sha256Digest::of(manifest), problem };
        let document = Document::parse(media_type, manifest).map_err(|error| bad(error.to_string()))?;
        let Document::Manifest(manifest) = document else { return Err(bad("it is a list of manifests".to_owned())) };
        for part in std::iter::once(&manifest.config).chain(&manifest.layers) {
            self.blob(wanted, part.digest, part.size).await?;
        }
        Ok(())
    }

    /// Has one blob here, from as many members as it takes.
    async fn blob(&self, wanted: &Wanted, digest: Sha256Digest, size: u64) -> Result<(), PullError> {
        let repository = wanted.repository.clone();
        // An earlier pull that was interrupted may have brought it.
        if self.stored(move |store| store.has_blob(&repository, digest)).await?.is_some() {
            return Ok(());
        }
        let mut tried = Tried::default();
        let mut upload: Option<Part> = None;
        // A member that sent wrong bytes is not asked again.
        let mut liars: Vec<&Source> = Vec::new();
        for round in 0..TRIES_MAX {
            let sources: Vec<&Source> = wanted.sources.iter().filter(|source| !liars.contains(source)).collect();
            let Some(source) = sources.get(round % sources.len().max(1)) else { break };
            let part = match upload.take() {
                Some(part) => part,
                None => Part::begin(self, wanted, size).await?,
            };
            let from = part.length;
            let received = self.receive(source, wanted, digest, part, size).await?;
            upload = match received {
                Received::Whole(part) => match part.finish(self, digest).await? {
                    true => return Ok(()),
                    false => {
                        tried.note(source, "it sent other bytes than the digest says");
                        // Of bytes from several members nobody can tell whose were wrong: the next try is from one alone.
                        if from == 0 {
                            (self.accuse)(&source.pop);
                            liars.push(source);
                        }
                        None
                    }
                },
                Received::Part(part, why) => {
                    tried.note(source, why);
                    Some(part)
                }
            };
            if round + 1 >= sources.len() && upload.as_ref().is_some_and(|part| part.length == 0) {
                break;
            }
        }
        if let Some(part) = upload {
            part.cancel(self).await;
        }
        Err(tried.none(format!("{digest} of {}", wanted.repository)))
    }

    /// As much of a blob as `source` gives.
    async fn receive(
        &self,
        source: &Source,
        wanted: &Wanted,
        digest: Sha256Digest,
        mut part: Part,
        size: u64,
    ) -> Result<Received, PullError> {
        let path = format!("/v2/{}/blobs/{digest}", wanted.repository);
        if part.length == size {
            return Ok(Received::Whole(part));
        }
        let mut fetched = match self.fetch.get(source, &path, part.length).await {
            Ok(fetched) => fetched,
            Err(error) => return Ok(Received::Part(part, error)),
        };
        loop {
            let chunk = match next(&mut fetched.body).await {
                Ok(Some(chunk)) => chunk,
                Ok(None) if part.length == size => return Ok(Received::Whole(part)),
                Ok(None) => return Ok(Received::Part(part, FetchError::Failed("it sent too little".to_owned()))),
                Err(error) => return Ok(Received::Part(part, error)),
            };
            if part.length.saturating_add(chunk.len() as u64) > size {
                // Its digest cannot be right; whatever came before may be.
                (self.accuse)(&source.pop);
                return Ok(Received::Part(part, FetchError::Failed("it sent too much".to_owned())));
            }
            self.throttle.take(chunk.len()).await;
            part = part.write(self, chunk).await?;
        }
    }

    /// The signatures that refer to it: all that any member has.
    async fn signatures(&self, wanted: &Wanted) -> Result<(), PullError> {
        #[derive(Deserialize)]
        struct Referrers {
            manifests: Vec<Referrer>,
        }
        #[derive(Deserialize)]
        struct Referrer {
            digest: String,
        }
        let query = format!("artifactType={}", ARTIFACT_TYPE_SIGNATURE.replace('/', "%2F").replace('+', "%2B"));
        let path = format!("/v2/{}/referrers/{}?{query}", wanted.repository, wanted.manifest);
        for source in &wanted.sources {
            let Ok((_, bytes)) = self.whole(source, &path, REFERRERS_BYTES_MAX).await else { continue };
            let Ok(referrers) = serde_json::from_slice::<Referrers>(&bytes) else { continue };
            for referrer in referrers.manifests {
                let Ok(digest) = referrer.digest.parse::<Sha256Digest>() else { continue };
                let from = Wanted { sources: vec![source.clone()], ..wanted.clone() };
                if let Err(error) = self.signature(&from, digest).await {
                    tracing::warn!(source = %source.pop, %digest, "a signature was not taken over: {error}");
                }
            }
            return Ok(());
        }
        // Without a signature it may still be let in, or not: that is for the policy to say.
        Ok(())
    }

    async fn signature(&self, wanted: &Wanted, digest: Sha256Digest) -> Result<(), PullError> {
        let (media_type, manifest) = self.manifest(wanted, digest).await?;
        let bad = |problem: String| PullError::BadManifest { digest, problem };
        let document = Document::parse(&media_type, &manifest).map_err(|error| bad(error.to_string()))?;
        let Document::Manifest(parsed) = document else { return Err(bad("it is a list of manifests".to_owned())) };
        let (bundle, _) = oci::signature_layer(&parsed).map_err(|error| bad(error.to_string()))?;
        if bundle.size > SIGNATURE_BYTES_MAX {
            return Err(bad(format!("its signature has {} bytes", bundle.size)));
        }
        self.blobs(wanted, &media_type, &manifest).await?;
        self.put(wanted, Reference::Digest(digest), media_type, manifest).await
    }
}

async fn next(
    body: &mut futures_util::stream::BoxStream<'static, std::io::Result<Bytes>>,
) -> Result<Option<Bytes>, FetchError> {
    match tokio::time::timeout(SILENT_MAX, body.next()).await {
        Ok(chunk) => chunk.transpose().map_err(|error| FetchError::Failed(error.to_string())),
        Err(_) => Err(FetchError::Failed(format!("it was silent for {} s", SILENT_MAX.as_secs()))),
    }
}

/// What came of asking one member.
enum Received {
    Whole(Part),
    Part(Part, FetchError),
}

/// A blob that is being received.
struct Part {
    upload: Upload,
    length: u64,
}

impl Part {
    async fn begin(puller: &Puller, wanted: &Wanted, size: u64) -> Result<Self, PullError> {
        let repository = wanted.repository.clone();
        let upload = puller.stored(move |store| {
            let mut upload = store.begin_upload(&repository)?;
            // No room is better known before a gigabyte has come than after.
            upload.reserve(size)?;
            Ok(upload)
        });
        Ok(Part { upload: upload.await?, length: 0 })
    }

    async fn write(self, puller: &Puller, chunk: Bytes) -> Result<Self, PullError> {
        let Part { mut upload, length } = self;
        puller
            .stored(move |_| {
                upload.write(&chunk)?;
                Ok(Part { upload, length: length + chunk.len() as u64 })
            })
            .await
    }

    /// Whether the bytes are those they should be; if not, they are gone.
    async fn finish(self, puller: &Puller, digest: Sha256Digest) -> Result<bool, PullError> {
        puller
            .stored(move |_| match self.upload.finish(digest) {
                Ok(_) => Ok(true),
                Err(StoreError::DigestMismatch { .. }) => Ok(false),
                Err(error) => Err(error),
            })
            .await
    }

    async fn cancel(self, puller: &Puller) {
        if let Err(error) = puller.stored(move |_| self.upload.cancel()).await {
            tracing::warn!("an unfinished download stays until it expires: {error}");
        }
    }
}

/// Who was asked, and what came of it.
#[derive(Default)]
struct Tried(Vec<String>);

impl Tried {
    fn note(&mut self, source: &Source, why: impl std::fmt::Display) {
        self.0.push(format!("{} ({why})", source.pop));
    }

    fn none(self, what: String) -> PullError {
        let tried =
            if self.0.is_empty() { "anybody: no member is known to have it".to_owned() } else { self.0.join(", ") };
        PullError::NoSource { what, tried }
    }
}

#[cfg(test)]
mod tests;
