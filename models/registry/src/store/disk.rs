//! Durable steps on files: each is finished on disk when it returns, and a crash in its middle leaves the old or the new.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::StoreError;
use super::error::At;

/// Only the owner may look into the store's folders.
pub(super) const DIR_MODE: u32 = 0o700;
/// Blobs never change, so nobody may write to them.
pub(super) const BLOB_MODE: u32 = 0o400;
/// Everything else.
pub(super) const FILE_MODE: u32 = 0o600;

/// Makes a folder, unless it is there.
pub(super) fn make_dir(path: &Path) -> Result<(), StoreError> {
    match DirBuilder::new().mode(DIR_MODE).create(path) {
        Ok(()) => sync_parent(path),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error).at("make the folder", path),
    }
}

/// Makes a rename, a new name or a removal in the folder of `path` last.
pub(super) fn sync_parent(path: &Path) -> Result<(), StoreError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    File::open(parent).and_then(|dir| dir.sync_all()).at("sync the folder", parent)
}

/// A new file for writing. Existing ones are not touched.
pub(super) fn create(path: &Path, mode: u32) -> Result<File, StoreError> {
    OpenOptions::new().read(true).append(true).create_new(true).mode(mode).open(path).at("create", path)
}

/// Writes `bytes` to a new file, durably but for its name.
pub(super) fn stage(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), StoreError> {
    let mut file = create(path, mode)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).at("write", path);
    if written.is_err() {
        // What is left over is cleared when the store next opens; nobody looks here before.
        let _ = fs::remove_file(path);
    }
    written
}

/// Makes an empty file, whose name is all it says, durably; whether it is new.
pub(super) fn mark(path: &Path) -> Result<bool, StoreError> {
    if metadata(path)?.is_some() {
        return Ok(false);
    }
    create(path, FILE_MODE)?.sync_all().at("sync", path)?;
    sync_parent(path).map(|()| true)
}

/// Moves a staged file to its place, over what may be there, durably.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).at("put in place", to)?;
    sync_parent(to)
}

/// Removes a file that nothing depends on being gone.
pub(super) fn discard(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).at("remove", path),
        _ => Ok(()),
    }
}

/// Removes a file durably; whether it was there.
pub(super) fn remove(path: &Path) -> Result<bool, StoreError> {
    match fs::remove_file(path) {
        Ok(()) => sync_parent(path).map(|()| true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).at("remove", path),
    }
}

/// The names in a folder, none when there is no folder. Names that are not UTF-8 are not ours.
pub(super) fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).at("list", dir),
    };
    let names =
        entries.map(|entry| entry.map(|entry| entry.file_name().into_string().ok())).collect::<Result<Vec<_>, _>>();
    Ok(names.at("list", dir)?.into_iter().flatten().collect())
}

/// Whether a folder has room for one more entry.
pub(super) fn check_room(dir: &Path, limit: usize, what: &'static str, advice: &'static str) -> Result<(), StoreError> {
    if names(dir)?.len() < limit { Ok(()) } else { Err(StoreError::TooMany { what, limit, advice }) }
}

/// Removes a folder if it is empty.
pub(super) fn prune_dir(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir(path) {
        Err(error) if !matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::NotFound) => {
            Err(error).at("remove", path)
        }
        _ => Ok(()),
    }
}

/// A file's text, if there is such a file.
pub(super) fn read(path: &Path) -> Result<Option<String>, StoreError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("read", path),
    }
}

/// What the file system says about a file itself (not about what a symbolic link points to), if there is one.
pub(super) fn metadata(path: &Path) -> Result<Option<fs::Metadata>, StoreError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("look at", path),
    }
}

/// A file's size, if there is one.
pub(super) fn size_of(path: &Path) -> Result<Option<u64>, StoreError> {
    Ok(metadata(path)?.map(|metadata| metadata.len()))
}

/// Whether a file was last written or touched within `limit`. Times in the future, after a clock was set back, count as new.
pub(super) fn is_younger(metadata: &fs::Metadata, limit: Duration) -> bool {
    let age = metadata.modified().ok().and_then(|then| SystemTime::now().duration_since(then).ok());
    age.unwrap_or_default() < limit
}

/// Makes a file as young as if it had just been written.
pub(super) fn touch(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|file| file.set_modified(SystemTime::now())).at("touch", path)
}

/// Bytes of the disk a process like ours may still use.
pub(super) fn free_bytes(path: &Path) -> Result<u64, StoreError> {
    let disk = rustix::fs::statvfs(path).at("ask for the free space of", path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}
