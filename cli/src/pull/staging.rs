//! The folder beside the output where a pull grows until it is whole. What an interrupted pull left is used by the next.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use headland_package::Sha256Digest;
use headland_package::folder::SIGNATURE;
use headland_package::oci::{PackedFile, check_path};

use super::is_free;

/// A folder that becomes the output.
pub struct Staging {
    folder: PathBuf,
    output: PathBuf,
    /// Held while this command works in the folder.
    _lock: File,
}

impl Staging {
    /// Begins, or goes on with, a pull of exactly this `revision` into `output`.
    pub fn open(output: &Path, revision: &str) -> Result<Self> {
        if !is_free(output)? {
            bail!("{} is there already; choose another --output, or remove it", output.display());
        }
        let name = output.file_name().and_then(|name| name.to_str());
        let name = name.with_context(|| format!("{} is no name for a new folder; say --output", output.display()))?;
        let key: String = Sha256Digest::of(revision.as_bytes()).hex().chars().take(12).collect();
        let folder = output.with_file_name(format!(".{name}.pull-{key}"));
        for part in ["files", "parts"] {
            let path = folder.join(part);
            fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        let lock = File::open(&folder).with_context(|| format!("cannot open {}", folder.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("another command is pulling this into {}", output.display()),
            Err(TryLockError::Error(error)) => return Err(error).context("cannot lock the folder"),
        }
        Ok(Staging { folder, output: output.to_owned(), _lock: lock })
    }

    /// Where the file `path` grows; it is there already if an earlier command fetched it.
    pub fn part(&self, path: &str) -> PathBuf {
        let part = self.folder.join("parts").join(Sha256Digest::of(path.as_bytes()).hex());
        // Checked again like any other part: a command may have ended between the two.
        let _ = fs::rename(self.folder.join("files").join(path), &part);
        part
    }

    /// Puts the file `path`, which is whole, where it belongs.
    pub fn keep(&self, path: &str) -> Result<()> {
        let part = self.folder.join("parts").join(Sha256Digest::of(path.as_bytes()).hex());
        let to = self.place(path)?;
        fs::rename(&part, &to).with_context(|| format!("cannot write {}", to.display()))
    }

    /// Writes a small file.
    pub fn write(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let to = self.place(path)?;
        fs::write(&to, bytes).with_context(|| format!("cannot write {}", to.display()))
    }

    fn place(&self, path: &str) -> Result<PathBuf> {
        check_path(path).with_context(|| format!("file path `{}`", path.escape_debug()))?;
        let to = self.folder.join("files").join(path);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        Ok(to)
    }

    /// Everything is there: the folder appears.
    pub fn finish(self) -> Result<()> {
        let output = &self.output;
        fs::rename(self.folder.join("files"), output).with_context(|| format!("cannot write {}", output.display()))?;
        fs::remove_dir_all(&self.folder).with_context(|| format!("cannot remove {}", self.folder.display()))
    }
}

/// Whether `output` holds exactly these files already, and perhaps a signature.
pub fn is_there(output: &Path, files: &[PackedFile]) -> Result<bool> {
    if is_free(output)? {
        return Ok(false);
    }
    let there = headland_package::folder::open(output)?;
    let same = |file: &PackedFile| {
        let bytes = there.get(&file.path);
        bytes.is_some_and(|bytes| bytes.len() as u64 == file.size && Sha256Digest::of(bytes) == file.digest)
    };
    // A folder as read leaves the signature out.
    let listed = files.iter().filter(|file| file.path != SIGNATURE);
    Ok(there.iter().len() == listed.clone().count() && listed.clone().all(same))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_appears_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("model");
        let staging = Staging::open(&output, "sha256:1").unwrap();
        assert!(Staging::open(&output, "sha256:1").is_err());
        fs::write(staging.part("a/b"), "x").unwrap();
        staging.keep("a/b").unwrap();
        drop(staging);
        // Another command goes on with it, and looks at what is there once more.
        let staging = Staging::open(&output, "sha256:1").unwrap();
        assert_eq!(fs::read_to_string(staging.part("a/b")).unwrap(), "x");
        staging.keep("a/b").unwrap();
        staging.write("model.sig", b"{}").unwrap();
        assert!(!output.exists());
        staging.finish().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let files = [PackedFile { path: "a/b".to_owned(), size: 1, digest: Sha256Digest::of(b"x") }];
        assert!(is_there(&output, &files).unwrap());
        assert!(!is_there(&output, &[]).unwrap());
        let error = Staging::open(&output, "sha256:2").err().unwrap().to_string();
        assert!(error.contains("choose another --output"), "{error}");
    }

    #[test]
    fn no_path_leads_out_of_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let staging = Staging::open(&dir.path().join("model"), "x").unwrap();
        for path in ["../x", "/x", "a/../../x", "a\\b", ""] {
            assert!(staging.write(path, b"x").is_err(), "{path}");
        }
        assert!(!dir.path().join("x").exists());
    }
}
