//! Uploads: bytes arrive in pieces, perhaps over several connections and restarts, and become a blob all at once.
//!
//! An unfinished upload is one file in its repository's folder, named by the session. While the process lives, the hash
//! goes along with it from piece to piece; after a restart it is computed again from the file.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use headland_package::Sha256Digest;
use sha2::{Digest, Sha256};

use super::error::At;
use super::ledger::Reservation;
use super::names::{Repository, UploadId};
use super::{BlobInfo, Store, StoreError, UPLOADS_MAX, disk};

mod sessions;

pub(super) use sessions::Sessions;
use sessions::{Lease, Progress};

/// The most bytes of one write to the disk.
const WRITE_BYTES: usize = 256 << 10;

/// Bytes read at a time when an upload is hashed again.
const REHASH_CHUNK_BYTES: usize = 1 << 20;
/// Bytes after which the disk is asked to begin writing, so that little is left to do when the upload ends.
const WRITE_BACK_BYTES: u64 = 16 << 20;

/// An upload session, leased to one writer. Dropping it keeps the session, for [`Store::resume_upload`].
#[derive(Debug)]
pub struct Upload {
    lease: Lease,
    file: File,
    path: PathBuf,
    hasher: Sha256,
    len: u64,
    ahead: Reservation,
    handed_to_disk: u64,
}

impl Store {
    /// Begins an upload into a repository.
    ///
    /// # Errors
    /// [`StoreError::TooMany`] sessions or repositories; or the disk refuses.
    pub fn begin_upload(&self, repository: &Repository) -> Result<Upload, StoreError> {
        let changing = self.changing();
        if self.0.sessions.count() >= UPLOADS_MAX {
            self.expire_uploads(&changing)?;
        }
        let id = UploadId::random().at("name a file in", &self.layout().uploads(repository))?;
        let lease = Lease::begin(self.clone(), repository.clone(), id)?;
        self.layout().make_repository(repository)?;
        let path = self.layout().upload(repository, lease.id());
        let file = disk::create(&path, disk::FILE_MODE)?;
        Upload::new(lease, file, path, Sha256::new(), 0)
    }

    /// Takes up an upload where it was left.
    ///
    /// # Errors
    /// [`StoreError::UploadUnknown`], [`StoreError::UploadBusy`]; or the disk refuses.
    pub fn resume_upload(&self, repository: &Repository, id: &UploadId) -> Result<Upload, StoreError> {
        let (mut lease, progress) = Lease::resume(self.clone(), repository, id)?;
        let path = self.layout().upload(repository, id);
        let mut file = match reopen(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.0.ledger.release(progress.len);
                lease.end();
                return Err(StoreError::UploadUnknown { repository: repository.clone(), id: id.clone() });
            }
            opened => opened.at("open", &path)?,
        };
        // More than was acknowledged can be there after a write that failed in its middle, and less never.
        file.set_len(progress.len).at("cut", &path)?;
        let hasher = match progress.hasher {
            Some(hasher) => hasher,
            None => hash_again(&mut file).at("read", &path)?,
        };
        Upload::new(lease, file, path, hasher, progress.len)
    }

    /// Ends uploads that nobody has written to for too long; how many.
    pub(super) fn expire_uploads(&self, _: &super::Changing<'_>) -> Result<usize, StoreError> {
        let mut expired = 0;
        for (repository, id) in self.0.sessions.idle() {
            let old = disk::metadata(&self.layout().upload(&repository, &id))?
                .is_none_or(|metadata| !disk::is_younger(&metadata, self.0.options.upload_expiry));
            if !old {
                continue;
            }
            // Somebody may have taken it up since it was listed; then it is not idle and not ours to end.
            if let Ok((lease, progress)) = Lease::resume(self.clone(), &repository, &id) {
                self.end_upload(lease, progress.len)?;
                expired += 1;
            }
        }
        Ok(expired)
    }

    fn end_upload(&self, mut lease: Lease, len: u64) -> Result<(), StoreError> {
        disk::discard(&self.layout().upload(lease.repository(), lease.id()))?;
        self.0.ledger.release(len);
        lease.end();
        Ok(())
    }
}

/// Opens an unfinished upload for more. A crash just before its end has left it read-only.
fn reopen(path: &Path) -> std::io::Result<File> {
    fs::set_permissions(path, Permissions::from_mode(disk::FILE_MODE))?;
    OpenOptions::new().read(true).append(true).open(path)
}

fn hash_again(file: &mut File) -> std::io::Result<Sha256> {
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; REHASH_CHUNK_BYTES];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(hasher),
            Ok(read) => hasher.update(&chunk[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl Upload {
    fn new(mut lease: Lease, file: File, path: PathBuf, hasher: Sha256, len: u64) -> Result<Self, StoreError> {
        let ahead = Reservation::new(lease.store().clone(), 0)?;
        lease.keep(Progress { len, hasher: None });
        Ok(Upload { lease, file, path, hasher, len, ahead, handed_to_disk: len })
    }

    /// The session, for [`Store::resume_upload`].
    pub fn id(&self) -> &UploadId {
        self.lease.id()
    }

    /// Bytes received so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing has been received yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets room aside for `bytes` more, so that an upload too large for the store is refused before it is sent. What is
    /// not used is given back when this writer is done.
    ///
    /// # Errors
    /// [`StoreError::QuotaExceeded`] or [`StoreError::DiskFull`].
    pub fn reserve(&mut self, bytes: u64) -> Result<(), StoreError> {
        let missing = bytes.saturating_sub(self.ahead.bytes());
        if missing > 0 {
            self.ahead.add(self.lease.store().reserve(missing)?);
        }
        Ok(())
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`StoreError::QuotaExceeded`], [`StoreError::DiskFull`], or the disk refuses. The upload then stands where it stood
    /// before.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.reserve(count)?;
        // In pieces: single writes of half a megabyte and more cost several times the processor time on ext4.
        if let Err(error) = bytes.chunks(WRITE_BYTES).try_for_each(|piece| self.file.write_all(piece)) {
            // Resuming cuts the file again, so a failure here loses nothing.
            let _ = self.file.set_len(self.len);
            return Err(self.write_error(error, count));
        }
        self.hasher.update(bytes);
        self.len += count;
        self.ahead.spend(count);
        self.begin_write_back();
        Ok(())
    }

    fn write_error(&self, source: std::io::Error, needed: u64) -> StoreError {
        let root = self.lease.store().layout().root();
        match (source.kind(), disk::free_bytes(root)) {
            (ErrorKind::StorageFull, Ok(free)) => StoreError::DiskFull { root: root.into(), free, needed },
            _ => StoreError::Io { action: "write", path: self.path.clone(), source },
        }
    }

    /// Asks the disk to begin writing what has piled up. Without it, syncing a large upload at its end would take as long
    /// as receiving it did. The advice drops nothing that is not written yet, and it is only advice.
    fn begin_write_back(&mut self) {
        let piled_up = self.len - self.handed_to_disk;
        if let Some(piled_up) = std::num::NonZeroU64::new(piled_up).filter(|bytes| bytes.get() >= WRITE_BACK_BYTES) {
            let _ = rustix::fs::fadvise(&self.file, self.handed_to_disk, Some(piled_up), rustix::fs::Advice::DontNeed);
            self.handed_to_disk = self.len;
        }
    }

    /// Makes the bytes a blob of the repository, durably.
    ///
    /// # Errors
    /// [`StoreError::DigestMismatch`] when the bytes have another digest; the session is then over, its bytes dropped. Or
    /// the disk refuses; then the session is as it was.
    pub fn finish(mut self, expected: Sha256Digest) -> Result<BlobInfo, StoreError> {
        let found = Sha256Digest::from_raw(self.hasher.clone().finalize().into());
        if found != expected {
            let what = format!("upload {} of {} bytes", self.id(), self.len);
            self.cancel()?;
            return Err(StoreError::DigestMismatch { what, expected, found });
        }
        self.seal()?;
        let store = self.lease.store().clone();
        let changing = store.changing();
        store.install(&changing, &self.path, expected)?;
        self.lease.end();
        store.link(&changing, self.lease.repository(), expected)?;
        Ok(BlobInfo { digest: expected, size: self.len })
    }

    /// Everything a blob needs but its name. The time is set because a blob's grace begins when it is finished.
    fn seal(&self) -> Result<(), StoreError> {
        self.file.set_permissions(Permissions::from_mode(disk::BLOB_MODE)).at("make read-only", &self.path)?;
        self.file.set_modified(SystemTime::now()).at("touch", &self.path)?;
        self.file.sync_all().at("sync", &self.path)
    }

    /// Ends the session and drops its bytes.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn cancel(mut self) -> Result<(), StoreError> {
        disk::discard(&self.path)?;
        self.lease.store().0.ledger.release(self.len);
        self.lease.end();
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.lease.is_kept() {
            self.lease.keep(Progress { len: self.len, hasher: Some(self.hasher.clone()) });
        }
    }
}

#[cfg(test)]
mod tests;
