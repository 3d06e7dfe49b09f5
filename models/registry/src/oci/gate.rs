//! Who judges a manifest before anyone can see it.

use std::error::Error;

use bytes::Bytes;
use headland_package::Sha256Digest;
use headland_package::oci::{AppFiles, Descriptor, PackedFile};

use crate::store::{Reference, Repository};

/// A manifest that somebody wants to put into the registry. It has been read and checked; nothing of it is stored yet, and
/// the blobs it names may still be missing, so that a no costs the client next to nothing.
#[derive(Debug)]
pub struct ManifestPut<'a> {
    /// Where to.
    pub repository: &'a Repository,
    /// Under which tag or digest.
    pub reference: &'a Reference,
    /// Its media type.
    pub media_type: &'a str,
    /// Its digest.
    pub digest: Sha256Digest,
    /// The manifest as it was sent.
    pub bytes: &'a Bytes,
    /// What it is.
    pub content: Content,
}

/// What a manifest is.
#[derive(Debug)]
pub enum Content {
    /// A model of these files.
    Model {
        /// Path, size and digest of each.
        files: Vec<PackedFile>,
    },
    /// An app.
    App(AppFiles),
    /// A signature.
    Signature {
        /// The sigstore bundle, read from the store and checked against its digest.
        bundle: Bytes,
        /// What it signs.
        subject: Descriptor,
        /// The manifest it signs, when the repository has it already. A signature may come first.
        signed: Option<Bytes>,
    },
    /// Anything else. It is stored and never loaded.
    Other,
}

/// A no, with what to tell the client.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It may not be there: 403 `DENIED`.
    #[error("{message}")]
    Denied {
        /// Which rule says so, and what to do.
        message: String,
    },
    /// Not now, because of how things are: 409 `DENIED`.
    #[error("{message}")]
    Conflict {
        /// What is in the way, and what to do.
        message: String,
    },
    /// It could not be judged: 500. The client learns no more than that, the log everything.
    #[error("it could not be judged")]
    Failed {
        /// What went wrong.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

/// Judges what is put and what is deleted. Called on a blocking thread, for each request.
pub trait Gatekeeper: Send + Sync + 'static {
    /// Whether this manifest may become visible.
    ///
    /// # Errors
    /// The [`Refusal`] that the client gets.
    fn judge(&self, put: &ManifestPut<'_>) -> Result<(), Refusal>;

    /// Whether this tag or manifest may be taken away.
    ///
    /// # Errors
    /// The [`Refusal`] that the client gets.
    fn judge_delete(&self, _repository: &Repository, _reference: &Reference) -> Result<(), Refusal> {
        Ok(())
    }
}

/// Lets everything in: for tests, and for a store that only keeps and never loads.
#[derive(Clone, Copy, Debug)]
pub struct OpenGate;

impl Gatekeeper for OpenGate {
    fn judge(&self, _: &ManifestPut<'_>) -> Result<(), Refusal> {
        Ok(())
    }
}
