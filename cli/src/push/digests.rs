//! Digests of a folder's files, remembered for the large ones, so that pushing a model again need not read it again.
//!
//! A file counts as unchanged when size, inode and both times are the same, as version control judges it. Were that wrong,
//! the registry would notice: it takes no bytes that have another digest than was promised.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use headland_nn_core::ModelFiles;
use headland_package::Sha256Digest;
use headland_package::oci::PackedFile;

use crate::transfer::state::State;
use crate::transfer::{AT_ONCE, Stop, in_parallel};

/// Smaller files are hashed in no time.
const REMEMBERED_ABOVE_BYTES: u64 = 1 << 20;
/// A file that changed this recently may change again without its times showing it.
const SETTLED_AFTER_S: i64 = 2;

/// What a file looked like when it was hashed, and its digest.
type Remembered = BTreeMap<String, (String, Sha256Text)>;
type Sha256Text = String;

/// The files with their digests, in path order.
pub fn of_folder(folder: &Path, files: &ModelFiles) -> Result<Vec<PackedFile>> {
    let state = State::of_user("digests");
    state.forget_old();
    of_folder_with(&state, folder, files)
}

/// Forgets the digests of this folder's files.
pub fn forget(folder: &Path) {
    State::of_user("digests").remove(&full_path_and_key(folder).1);
}

fn full_path_and_key(folder: &Path) -> (PathBuf, String) {
    let full = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let key = Sha256Digest::of(full.as_os_str().as_encoded_bytes()).hex();
    (full, key)
}

fn of_folder_with(state: &State, folder: &Path, files: &ModelFiles) -> Result<Vec<PackedFile>> {
    let (full, key) = full_path_and_key(folder);
    let known: Remembered = state.get(&key).and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default();
    let (packed, remembered) = (Mutex::new(Vec::new()), Mutex::new(Remembered::new()));
    let files: Vec<(&str, &bytes::Bytes)> = files.iter().collect();
    in_parallel(&files, AT_ONCE, &Stop::default(), |(path, bytes)| {
        let size = bytes.len() as u64;
        let looks = if size > REMEMBERED_ABOVE_BYTES { looks(&full.join(path)) } else { None };
        let remembers = |looks: &String| {
            let (before, digest) = known.get(*path)?;
            if before == looks { digest.parse().ok() } else { None }
        };
        let digest = looks.as_ref().and_then(remembers).unwrap_or_else(|| Sha256Digest::of(bytes));
        if let Some(looks) = looks {
            let mut remembered = remembered.lock().unwrap_or_else(PoisonError::into_inner);
            remembered.insert((*path).to_owned(), (looks, digest.to_string()));
        }
        let file = PackedFile { path: (*path).to_owned(), size, digest };
        packed.lock().unwrap_or_else(PoisonError::into_inner).push(file);
        Ok(())
    })?;
    let remembered = remembered.into_inner().unwrap_or_else(PoisonError::into_inner);
    if remembered != known {
        state.set(&key, &serde_json::to_string(&remembered)?);
    }
    let mut packed = packed.into_inner().unwrap_or_else(PoisonError::into_inner);
    packed.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(packed)
}

/// What tells whether a file changed; nothing for one that changed just now.
fn looks(path: &Path) -> Option<String> {
    let metadata: Metadata = path.metadata().ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs() as i64;
    let settled = now.saturating_sub(metadata.ctime().max(metadata.mtime())) >= SETTLED_AFTER_S;
    let (dev, ino, size) = (metadata.dev(), metadata.ino(), metadata.size());
    let times = (metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec());
    settled.then(|| format!("{dev} {ino} {size} {times:?}"))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;

    fn digests(state: &State, folder: &Path) -> Vec<PackedFile> {
        of_folder_with(state, folder, &headland_package::folder::open(folder).unwrap()).unwrap()
    }

    #[test]
    fn digests_are_of_what_is_there_whether_remembered_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let (state, model) = (State::in_folder(&dir.path().join("state")), dir.path().join("model"));
        std::fs::create_dir(&model).unwrap();
        std::fs::write(model.join("small"), "x").unwrap();
        std::fs::write(model.join("large"), vec![1; 2 << 20]).unwrap();
        let first = digests(&state, &model);
        assert_eq!(first[0].digest, Sha256Digest::of(&vec![1; 2 << 20]));
        assert_eq!((first[1].path.as_str(), first[1].digest), ("small", Sha256Digest::of(b"x")));
        assert_eq!(digests(&state, &model), first);
        std::fs::write(model.join("large"), vec![2; 2 << 20]).unwrap();
        assert_eq!(digests(&state, &model)[0].digest, Sha256Digest::of(&vec![2; 2 << 20]));
    }

    #[test]
    fn a_file_that_changed_just_now_is_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, "x").unwrap();
        assert_eq!(looks(&path), None);
        // The time of the last change of its metadata cannot be set, and so not be forged.
        File::open(&path).unwrap().set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
        assert_eq!(looks(&path), None);
    }
}
