//! Manifests of repositories: put, found, listed as referrers, deleted.
//!
//! A manifest's bytes are a blob. What makes it a manifest of a repository is a file there holding its media type; that
//! file's rename is the moment it becomes visible. Everything else is read from the bytes, which prove themselves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use headland_package::Sha256Digest;

use super::layout::digests;
use super::manifest::{self, MANIFEST_BYTES_MAX, Parsed, Part};
use super::names::{Reference, Repository, Tag};
use super::{Blob, Changing, MANIFESTS_MAX, REFERRERS_MAX, Store, StoreError, disk};

/// What is known of a manifest without looking at its parts. With these, a descriptor of it can be written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ManifestInfo {
    /// The digest of its bytes.
    pub digest: Sha256Digest,
    /// How many bytes these are.
    pub size: u64,
    /// The media type it was put with.
    pub media_type: String,
    /// Its artifact type, or else its config's media type.
    pub artifact_type: Option<String>,
    /// The manifest it is about.
    pub subject: Option<Sha256Digest>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    blobs: Vec<Part>,
    manifests: Vec<Part>,
}

impl ManifestInfo {
    fn new(digest: Sha256Digest, bytes: &[u8], media_type: &str) -> Result<Self, StoreError> {
        let Parsed { artifact_type, annotations, subject, blobs, manifests } = manifest::parse(media_type, bytes)?;
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let media_type = media_type.into();
        Ok(ManifestInfo { digest, size, media_type, artifact_type, subject, annotations, blobs, manifests })
    }

    /// Everything it is made of.
    pub(super) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.blobs.iter().chain(&self.manifests)
    }
}

/// A manifest with its bytes, which have its digest.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// What it is.
    pub info: ManifestInfo,
    /// The bytes as they were put.
    pub bytes: Bytes,
}

/// A file on its way into the store, removed if it does not get there.
struct Staged(PathBuf);

impl Drop for Staged {
    fn drop(&mut self) {
        // Not found is the good case; anything else is cleared when the store next opens.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Store {
    /// Puts a manifest into a repository, under its digest and, if the reference is a tag, under that. All its parts must
    /// be there with the sizes it states; its subject need not be.
    ///
    /// # Errors
    /// [`StoreError::ManifestType`], [`StoreError::ManifestInvalid`], [`StoreError::ManifestBlobUnknown`];
    /// [`StoreError::DigestMismatch`] when the reference is a digest and not this manifest's; [`StoreError::TooMany`],
    /// [`StoreError::QuotaExceeded`], [`StoreError::DiskFull`]; or the disk refuses.
    pub fn put_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<ManifestInfo, StoreError> {
        let found = Sha256Digest::of(bytes);
        if let Reference::Digest(expected) = *reference
            && expected != found
        {
            return Err(StoreError::DigestMismatch { what: "the manifest".into(), expected, found });
        }
        let info = ManifestInfo::new(found, bytes, media_type)?;
        let changing = self.changing();
        self.check_parts(repository, &info)?;
        self.check_room(repository, &info, reference)?;
        self.layout().make_repository(repository)?;
        if !self.holds(repository, &info) {
            self.enter(&changing, repository, &info, bytes)?;
        }
        match reference {
            Reference::Tag(tag) => self.write_tag(&changing, repository, tag, info.digest)?,
            Reference::Digest(_) => {}
        }
        Ok(info)
    }

    /// Whether just this manifest is there, undamaged. Then a second push of it has nothing to write.
    fn holds(&self, repository: &Repository, info: &ManifestInfo) -> bool {
        let found = self.manifest(repository, &Reference::Digest(info.digest));
        matches!(found, Ok(Some(manifest)) if manifest.info.media_type == info.media_type)
    }

    /// Nothing can take the parts away between this and the manifest's entry: both happen under one lock.
    fn check_parts(&self, repository: &Repository, info: &ManifestInfo) -> Result<(), StoreError> {
        let layout = self.layout();
        let blobs = info.blobs.iter().map(|part| ("blob", layout.link(repository, part.digest), part));
        let manifests = info.manifests.iter().map(|part| ("manifest", layout.manifest(repository, part.digest), part));
        for (what, entry, part) in blobs.chain(manifests) {
            let entered = disk::metadata(&entry)?.is_some();
            match disk::size_of(&layout.blob(part.digest))?.filter(|_| entered) {
                Some(size) if size == part.size => {}
                Some(size) => {
                    let problem = format!("it says {} has {} bytes, and it has {size}", part.digest, part.size);
                    return Err(StoreError::ManifestInvalid { problem });
                }
                None => {
                    let (repository, digest) = (repository.clone(), part.digest);
                    return Err(StoreError::ManifestBlobUnknown { repository, what, digest });
                }
            }
        }
        Ok(())
    }

    fn check_room(
        &self,
        repository: &Repository,
        info: &ManifestInfo,
        reference: &Reference,
    ) -> Result<(), StoreError> {
        if disk::metadata(&self.layout().manifest(repository, info.digest))?.is_some() {
            return self.check_room_for(reference, repository);
        }
        let folder = self.layout().manifests(repository);
        disk::check_room(&folder, MANIFESTS_MAX, "manifests in the repository", "delete some")?;
        if let Some(subject) = info.subject {
            let folder = self.layout().referrers(repository, subject);
            disk::check_room(&folder, REFERRERS_MAX, "referrers of this subject", "delete some")?;
        }
        self.check_room_for(reference, repository)
    }

    fn check_room_for(&self, reference: &Reference, repository: &Repository) -> Result<(), StoreError> {
        match reference {
            Reference::Tag(tag) => self.check_room_for_tag(repository, tag),
            Reference::Digest(_) => Ok(()),
        }
    }

    /// Makes a manifest visible. The referrer's entry comes before its own: alone it shows nothing, and so no manifest that
    /// is there lacks it.
    fn enter(
        &self,
        changing: &Changing<'_>,
        repository: &Repository,
        info: &ManifestInfo,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        let mut held = self.reserve(info.size)?;
        let staged = Staged(self.layout().staged()?);
        disk::stage(&staged.0, disk::BLOB_MODE, bytes)?;
        self.install(changing, &staged.0, info.digest)?;
        held.spend(info.size);
        if let Some(subject) = info.subject {
            disk::make_dir(&self.layout().referrers(repository, subject))?;
            disk::mark(&self.layout().referrer(repository, subject, info.digest))?;
        }
        self.replace(&self.layout().manifest(repository, info.digest), &info.media_type)
    }

    /// Writes a small file whole, over what may be there.
    pub(super) fn replace(&self, path: &Path, text: &str) -> Result<(), StoreError> {
        let staged = Staged(self.layout().staged()?);
        disk::stage(&staged.0, disk::FILE_MODE, text.as_bytes())?;
        disk::rename(&staged.0, path)
    }

    /// A manifest of the repository, if it has it. The bytes are checked against their digest.
    ///
    /// # Errors
    /// What lies on disk is not what was put there; or the disk refuses.
    pub fn manifest(&self, repository: &Repository, reference: &Reference) -> Result<Option<Manifest>, StoreError> {
        let digest = match reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(tag) => match self.tag(repository, tag)? {
                Some(digest) => digest,
                None => return Ok(None),
            },
        };
        let entry = self.layout().manifest(repository, digest);
        let Some(media_type) = disk::read(&entry)? else { return Ok(None) };
        let path = self.layout().blob(digest);
        let Some(mut blob) = Blob::open(&path, digest)? else {
            // Deleted and collected since the entry was read, or taken away by hand.
            return match disk::metadata(&entry)? {
                None => Ok(None),
                Some(_) => Err(StoreError::Damaged { path, problem: "it is missing".into() }),
            };
        };
        let bytes = blob.read_verified(MANIFEST_BYTES_MAX)?;
        Ok(Some(Manifest { info: ManifestInfo::new(digest, &bytes, &media_type)?, bytes }))
    }

    /// The manifests of the repository whose subject is `subject`, in order of their digests; with `artifact_type`, only
    /// those of this type. The subject itself need not be there.
    ///
    /// # Errors
    /// What lies on disk is not what was put there; or the disk refuses.
    pub fn referrers(
        &self,
        repository: &Repository,
        subject: Sha256Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<ManifestInfo>, StoreError> {
        let mut found = Vec::new();
        for digest in digests(&self.layout().referrers(repository, subject))? {
            let Some(manifest) = self.manifest(repository, &Reference::Digest(digest))? else { continue };
            if artifact_type.is_none_or(|wanted| manifest.info.artifact_type.as_deref() == Some(wanted)) {
                found.push(manifest.info);
            }
        }
        Ok(found)
    }

    /// Every manifest of a repository, read one after the other.
    pub(super) fn all_manifests(
        &self,
        repository: &Repository,
    ) -> Result<impl Iterator<Item = Result<ManifestInfo, StoreError>>, StoreError> {
        let digests = digests(&self.layout().manifests(repository))?;
        let read = move |digest| self.manifest(repository, &Reference::Digest(digest)).transpose();
        Ok(digests.into_iter().filter_map(read).map(|manifest| Ok(manifest?.info)))
    }

    /// Deletes a manifest and every tag that points to it. Its referrers stay, for it may come back.
    ///
    /// # Errors
    /// [`StoreError::ManifestUnknown`], or the disk refuses.
    pub fn delete_manifest(&self, repository: &Repository, digest: Sha256Digest) -> Result<(), StoreError> {
        let changing = self.changing();
        let entry = self.layout().manifest(repository, digest);
        if disk::metadata(&entry)?.is_none() {
            let (repository, reference) = (repository.clone(), Reference::Digest(digest));
            return Err(StoreError::ManifestUnknown { repository, reference });
        }
        // A damaged manifest can be deleted too; its referrer's entry is then left to garbage collection.
        let subject = self.manifest(repository, &Reference::Digest(digest)).ok().flatten().and_then(|m| m.info.subject);
        let tags: Vec<Tag> = self.all_tags(repository)?;
        for tag in tags {
            if self.tag(repository, &tag)? == Some(digest) {
                self.remove_tag(&changing, repository, &tag)?;
            }
        }
        disk::remove(&entry)?;
        match subject {
            Some(subject) => disk::remove(&self.layout().referrer(repository, subject, digest)).map(drop),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
