//! What can go wrong in the store, each told to the person who can do something about it.

use std::io;
use std::path::{Path, PathBuf};

use headland_package::{ByteSize, Sha256Digest};

use super::names::{Reference, Repository, Tag, UploadId};

/// Why the store did not do something. Nothing visible has changed when one of these comes back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The operating system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Another process has the store open.
    #[error("the store {} is in use by {}; stop it, or choose another data directory", root.display(), owner(*pid))]
    InUse {
        /// The store.
        root: PathBuf,
        /// The other process, if it said so.
        pid: Option<u32>,
    },
    /// The folder holds something else.
    #[error("{} holds files but no store; choose an empty or new folder", root.display())]
    NotAStore {
        /// The folder.
        root: PathBuf,
    },
    /// A newer, or no, version of the format.
    #[error(
        "the store {} has format `{found}`, and this headland reads `{}`; use the headland that wrote it, or another folder",
        root.display(), super::root::FORMAT
    )]
    UnknownFormat {
        /// The store.
        root: PathBuf,
        /// The first line of its format file.
        found: String,
    },
    /// The bytes would not fit under the operator's limit.
    #[error(
        "the store is full: {needed} more are needed, {used} of {limit} are in use; remove models or raise the limit",
        needed = ByteSize(*needed), used = ByteSize(*used), limit = ByteSize(*limit)
    )]
    QuotaExceeded {
        /// The operator's limit, in bytes.
        limit: u64,
        /// Bytes of blobs, manifests, unfinished uploads and what running uploads set aside.
        used: u64,
        /// Bytes asked for.
        needed: u64,
    },
    /// The bytes would not fit on the disk.
    #[error(
        "the disk of {} is full: {needed} more are needed, {free} are free and {reserve} of these stay free",
        root.display(), needed = ByteSize(*needed), free = ByteSize(*free), reserve = ByteSize(super::DISK_RESERVE_BYTES)
    )]
    DiskFull {
        /// The store.
        root: PathBuf,
        /// Bytes the disk has for us.
        free: u64,
        /// Bytes asked for.
        needed: u64,
    },
    /// What was uploaded, or lies on disk, is not what it should be.
    #[error("{what} should have digest {expected} and has {found}")]
    DigestMismatch {
        /// The upload, or the file.
        what: String,
        /// The digest asked for.
        expected: Sha256Digest,
        /// The digest of the bytes.
        found: Sha256Digest,
    },
    /// A file in the store's folder is not what the store puts there.
    #[error("{} is damaged: {problem}; remove it and push again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// No such upload session in this repository: never begun, finished, cancelled or expired.
    #[error("there is no upload {id} in {repository}; begin a new one")]
    UploadUnknown {
        /// The repository.
        repository: Repository,
        /// The session.
        id: UploadId,
    },
    /// Somebody is writing to this upload session right now.
    #[error("upload {id} is being written by another request; wait for it to end")]
    UploadBusy {
        /// The session.
        id: UploadId,
    },
    /// Too many of something.
    #[error("there are already {limit} {what}; {advice}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
        /// What to do.
        advice: &'static str,
    },
    /// Not a manifest.
    #[error("the manifest is refused: {problem}")]
    ManifestInvalid {
        /// What is wrong with it.
        problem: String,
    },
    /// A media type that no manifest has.
    #[error("`{given}` is no manifest media type; use an OCI image manifest or index")]
    ManifestType {
        /// The media type given.
        given: String,
    },
    /// The manifest names something this repository does not have.
    #[error("the manifest names {what} {digest}, which is not in {repository}; upload it first")]
    ManifestBlobUnknown {
        /// The repository.
        repository: Repository,
        /// `blob` or `manifest`.
        what: &'static str,
        /// The first one missing.
        digest: Sha256Digest,
    },
    /// No such manifest in the repository.
    #[error("there is no manifest {reference} in {repository}")]
    ManifestUnknown {
        /// The repository.
        repository: Repository,
        /// What was asked for.
        reference: Reference,
    },
    /// No such tag in the repository.
    #[error("there is no tag {tag} in {repository}")]
    TagUnknown {
        /// The repository.
        repository: Repository,
        /// The tag.
        tag: Tag,
    },
    /// No such blob in the repository.
    #[error("there is no blob {digest} in {repository}")]
    BlobUnknown {
        /// The repository.
        repository: Repository,
        /// The blob.
        digest: Sha256Digest,
    },
    /// A manifest of the repository needs the blob.
    #[error("blob {digest} is part of manifest {manifest} in {repository}; delete that first")]
    BlobInUse {
        /// The repository.
        repository: Repository,
        /// The blob.
        digest: Sha256Digest,
        /// One manifest that names it.
        manifest: Sha256Digest,
    },
}

fn owner(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".into(), |pid| format!("process {pid}"))
}

/// Gives an I/O error the place where it happened.
pub(super) trait At<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|error| StoreError::Io { action, path: path.into(), source: error.into() })
    }
}
