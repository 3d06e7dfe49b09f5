//! A folder on disk, or a single file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::hash::Hasher;
use super::{Contents, ContentsError, HashAlgorithm, REPOSITORY_FILES, SINGLE_FILE};

/// Files and folders read from one root.
pub const FILES_MAX: usize = 100_000;

/// How much of a file is read at once, in bytes.
const PIECE_BYTES: usize = 1 << 20;

/// A folder or a file, as found when it was opened.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
    files: BTreeMap<String, Entry>,
    read_bytes: Arc<AtomicU64>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    size: u64,
    symlink: bool,
}

impl Folder {
    /// Lists the files below `root`, or `root` itself when it is a file. Reads none of them, and passes over
    /// [`REPOSITORY_FILES`], which may hold anything.
    ///
    /// # Errors
    /// When something cannot be listed, is neither file nor folder, or there is too much of it.
    pub fn open(root: &Path) -> Result<Self, ContentsError> {
        let metadata = fs::metadata(root).map_err(|source| failed(root, source))?;
        let mut files = BTreeMap::new();
        if metadata.is_file() {
            files.insert(SINGLE_FILE.to_owned(), Entry { size: metadata.len(), symlink: false });
        } else {
            list(root, &mut files)?;
        }
        Ok(Folder { root: root.to_owned(), files, read_bytes: Arc::default() })
    }

    /// Adds what is read from here on to `read_bytes`, for somebody who waits.
    pub fn counting(self, read_bytes: Arc<AtomicU64>) -> Self {
        Folder { read_bytes, ..self }
    }

    /// The name of the folder or file, as signatures carry it.
    pub fn name(&self) -> String {
        let root = self.root.canonicalize().unwrap_or_else(|_| self.root.clone());
        root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    fn path(&self, path: &str) -> PathBuf {
        if path == SINGLE_FILE { self.root.clone() } else { self.root.join(path) }
    }
}

/// Walks the tree without recursion, so that depth costs no stack.
fn list(root: &Path, files: &mut BTreeMap<String, Entry>) -> Result<(), ContentsError> {
    let mut pending = vec![(root.to_owned(), String::new())];
    let mut seen = 0;
    while let Some((folder, prefix)) = pending.pop() {
        for entry in fs::read_dir(&folder).map_err(|source| failed(&folder, source))? {
            let entry = entry.map_err(|source| failed(&folder, source))?;
            seen += 1;
            if seen > FILES_MAX {
                return Err(ContentsError::TooMany { max: FILES_MAX });
            }
            let special = |what| ContentsError::Special { path: entry.path().display().to_string(), what };
            let name = entry.file_name().into_string().map_err(|_| special("named by bytes that are no UTF-8"))?;
            let path = format!("{prefix}{name}");
            if REPOSITORY_FILES.contains(&path.as_str()) {
                continue;
            }
            let found = entry.file_type().map_err(|source| failed(&entry.path(), source))?;
            if found.is_dir() {
                pending.push((entry.path(), format!("{path}/")));
                continue;
            }
            let metadata = fs::metadata(entry.path()).map_err(|source| failed(&entry.path(), source))?;
            if metadata.is_dir() {
                // The reference tool passes over what is behind such links, so no signature covers it.
                return Err(special("a symbolic link to a folder, which no signature covers"));
            }
            if !metadata.is_file() {
                return Err(special("neither a file nor a folder"));
            }
            files.insert(path, Entry { size: metadata.len(), symlink: found.is_symlink() });
        }
    }
    Ok(())
}

impl Contents for Folder {
    fn paths(&self) -> Vec<String> {
        self.files.keys().cloned().collect()
    }

    fn size(&self, path: &str) -> Option<u64> {
        self.files.get(path).map(|entry| entry.size)
    }

    fn is_symlink(&self, path: &str) -> bool {
        self.files.get(path).is_some_and(|entry| entry.symlink)
    }

    fn digest(
        &self,
        path: &str,
        algorithm: HashAlgorithm,
        range: Option<Range<u64>>,
    ) -> Result<Vec<u8>, ContentsError> {
        // Only what was listed is opened: no name in a signature leads out of the folder.
        if !self.files.contains_key(path) {
            return Err(ContentsError::NotFound(path.to_owned()));
        }
        let full = self.path(path);
        hash_file(&full, algorithm, range, &self.read_bytes).map_err(|source| failed(&full, source))
    }
}

fn hash_file(
    path: &Path,
    algorithm: HashAlgorithm,
    range: Option<Range<u64>>,
    read_bytes: &AtomicU64,
) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut left = u64::MAX;
    if let Some(range) = &range {
        file.seek(SeekFrom::Start(range.start))?;
        left = range.end.saturating_sub(range.start);
    }
    let mut hasher = Hasher::new(algorithm);
    let mut piece = vec![0; PIECE_BYTES];
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let read = file.read(piece.get_mut(..want).unwrap_or_default())?;
        if read == 0 {
            break;
        }
        hasher.update(piece.get(..read).unwrap_or_default());
        left -= read as u64;
        read_bytes.fetch_add(read as u64, Ordering::Relaxed);
    }
    if range.is_some() && left > 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than it was"));
    }
    Ok(hasher.finish())
}

fn failed(path: &Path, source: io::Error) -> ContentsError {
    ContentsError::Io { path: path.display().to_string(), source }
}
