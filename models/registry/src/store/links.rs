//! Blobs as a repository sees them: one is readable through a repository only if it was uploaded to it or mounted into it.

use std::io::ErrorKind;
use std::sync::PoisonError;

use headland_package::Sha256Digest;

use super::names::Repository;
use super::{Blob, Changing, Store, StoreError, disk};

impl Store {
    /// Opens a blob of the repository, if it has it.
    ///
    /// # Errors
    /// What lies there is not a plain file, or the disk refuses.
    pub fn blob(&self, repository: &Repository, digest: Sha256Digest) -> Result<Option<Blob>, StoreError> {
        match disk::metadata(&self.layout().link(repository, digest))? {
            Some(_) => Blob::open(&self.layout().blob(digest), digest),
            None => Ok(None),
        }
    }

    /// The size of a blob of the repository, if it has it. Who asks is about to rely on the answer, so the blob's grace
    /// begins anew.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn has_blob(&self, repository: &Repository, digest: Sha256Digest) -> Result<Option<u64>, StoreError> {
        let _no_sweep = self.0.sweep.read().unwrap_or_else(PoisonError::into_inner);
        let link = self.layout().link(repository, digest);
        let (Some(_), Some(size)) = (disk::metadata(&link)?, disk::size_of(&self.layout().blob(digest))?) else {
            return Ok(None);
        };
        match disk::touch(&link) {
            // Deleted by somebody at this very moment.
            Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
            touched => touched.map(|()| Some(size)),
        }
    }

    /// Makes a blob of the repository `from` readable through `to` too; its size, if `from` has it.
    ///
    /// # Errors
    /// [`StoreError::TooMany`] repositories, or the disk refuses.
    pub fn mount_blob(
        &self,
        from: &Repository,
        digest: Sha256Digest,
        to: &Repository,
    ) -> Result<Option<u64>, StoreError> {
        let changing = self.changing();
        let linked = disk::metadata(&self.layout().link(from, digest))?.is_some();
        let Some(size) = disk::size_of(&self.layout().blob(digest))?.filter(|_| linked) else { return Ok(None) };
        self.layout().make_repository(to)?;
        self.link(&changing, to, digest)?;
        Ok(Some(size))
    }

    /// Takes a blob away from the repository. The bytes go with the next garbage collection, if nobody else has them.
    ///
    /// # Errors
    /// [`StoreError::BlobUnknown`]; [`StoreError::BlobInUse`] when a manifest of the repository names it; or the disk
    /// refuses.
    pub fn delete_blob(&self, repository: &Repository, digest: Sha256Digest) -> Result<(), StoreError> {
        let _changing = self.changing();
        if disk::metadata(&self.layout().link(repository, digest))?.is_none() {
            return Err(StoreError::BlobUnknown { repository: repository.clone(), digest });
        }
        for info in self.all_manifests(repository)? {
            let info = info?;
            if info.parts().any(|part| part.digest == digest) {
                let (repository, manifest) = (repository.clone(), info.digest);
                return Err(StoreError::BlobInUse { repository, digest, manifest });
            }
        }
        disk::remove(&self.layout().link(repository, digest)).map(drop)
    }

    /// Makes a blob readable through a repository whose folders are there.
    pub(super) fn link(
        &self,
        _: &Changing<'_>,
        repository: &Repository,
        digest: Sha256Digest,
    ) -> Result<(), StoreError> {
        let link = self.layout().link(repository, digest);
        if disk::mark(&link)? { Ok(()) } else { disk::touch(&link) }
    }
}
