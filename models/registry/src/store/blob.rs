//! A blob, opened once: what is checked is what is used.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use headland_package::{Hashed, Sha256Digest};
use memmap2::{Advice, MmapOptions};

use super::StoreError;
use super::error::At;

/// A blob that was just stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobInfo {
    /// The digest of its bytes.
    pub digest: Sha256Digest,
    /// How many bytes these are.
    pub size: u64,
}

/// A blob's open file. It stays readable for as long as this lives, whatever is deleted meanwhile.
#[derive(Debug)]
pub struct Blob {
    file: File,
    path: PathBuf,
    digest: Sha256Digest,
    size: u64,
}

impl Blob {
    /// Opens the file that should hold `digest`, if there is one. A symbolic link there is not followed.
    pub(super) fn open(path: &Path, digest: Sha256Digest) -> Result<Option<Self>, StoreError> {
        let nofollow = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let file = match OpenOptions::new().read(true).custom_flags(nofollow.bits().cast_signed()).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                return Err(StoreError::Damaged { path: path.into(), problem: "it is a symbolic link".into() });
            }
            Err(error) => return Err(error).at("open", path),
        };
        let metadata = file.metadata().at("look at", path)?;
        if !metadata.is_file() {
            return Err(StoreError::Damaged { path: path.into(), problem: "it is not a plain file".into() });
        }
        Ok(Some(Blob { file, path: path.into(), digest, size: metadata.len() }))
    }

    /// The digest it was stored under. Only [`Blob::map_verified`] says that the bytes still have it.
    pub fn digest(&self) -> Sha256Digest {
        self.digest
    }

    /// Its size in bytes, as the file had it when it was opened.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The file, to send from.
    pub fn into_file(self) -> File {
        self.file
    }

    /// Reads at `offset` into `buffer`; how many bytes, 0 at the end.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, StoreError> {
        self.file.read_at(buffer, offset).at("read", &self.path)
    }

    /// Maps the opened file, hashes the mapping, and hands it out only if it has the blob's digest: there is no window
    /// between the check and the use. Costs one pass over the bytes and no copy of them.
    ///
    /// # Errors
    /// [`StoreError::DigestMismatch`] naming the file when it was tampered with or damaged; or the disk refuses.
    pub fn map_verified(&self) -> Result<Bytes, StoreError> {
        self.map_hashed().map(|hashed| hashed.bytes().clone())
    }

    /// [`Self::map_verified`], with the digest it was verified by, for whoever compares that with a signature.
    ///
    /// # Errors
    /// As [`Self::map_verified`].
    pub fn map_hashed(&self) -> Result<Hashed, StoreError> {
        let hashed = Hashed::of(self.map().at("map", &self.path)?);
        self.compare(hashed.sha256())?;
        Ok(hashed)
    }

    fn map(&self) -> io::Result<Bytes> {
        if self.size == 0 {
            return Ok(Bytes::new());
        }
        let len = usize::try_from(self.size).map_err(|_| ErrorKind::FileTooLarge)?;
        // SAFETY: the file is private to this user (mode 0400 in folders of mode 0700) and this program never writes to it
        // again: blobs are only ever put in place by rename and taken away by unlink, which leave mapped pages alone. Who
        // could still change it, the same user or root, could as well write to this process's memory.
        let map = unsafe { MmapOptions::new().len(len).map(&self.file)? };
        // Only advice: all of it is about to be read, from front to back.
        let _ = map.advise(Advice::WillNeed);
        Ok(headland_package::mapped::bytes(map))
    }

    fn compare(&self, found: Sha256Digest) -> Result<(), StoreError> {
        if found == self.digest {
            return Ok(());
        }
        Err(StoreError::DigestMismatch { what: self.path.display().to_string(), expected: self.digest, found })
    }

    /// The whole blob in memory, checked; for manifests, which are small.
    pub(super) fn read_verified(&mut self, bytes_max: usize) -> Result<Bytes, StoreError> {
        let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
        if self.size > limit {
            let problem = format!("it should hold a manifest, and those have at most {bytes_max} bytes");
            return Err(StoreError::Damaged { path: self.path.clone(), problem });
        }
        let mut bytes = Vec::new();
        (&mut self.file).take(limit).read_to_end(&mut bytes).at("read", &self.path)?;
        self.compare(Sha256Digest::of(&bytes))?;
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests;
