//! Opening a store's folder: one process at a time, a known format, nothing left over from a crash.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::error::At;
use super::layout::Layout;
use super::{StoreError, disk};

/// The first line of the format file. A change that an older program would misread gets a new number.
pub(super) const FORMAT: &str = "headland-store 1";
/// The names that may lie in a folder before it has a format: what a crash during the very first opening leaves.
const BEFORE_FORMAT: [&str; 2] = ["lock", "format.new"];
/// How much of a format or lock file is looked at.
const LINE_BYTES_MAX: u64 = 64;

/// Opens or makes the store in `dir`. The file returned holds the lock for as long as it is open.
pub(super) fn open(dir: &Path) -> Result<(Layout, File), StoreError> {
    DirBuilder::new().recursive(true).mode(disk::DIR_MODE).create(dir).at("make the folder", dir)?;
    let layout = Layout::new(dir.into());
    refuse_foreign(&layout)?;
    let lock = lock(&layout)?;
    fs::set_permissions(dir, Permissions::from_mode(disk::DIR_MODE)).at("make private", dir)?;
    check_format(&layout)?;
    layout.make()?;
    clear(&layout.staging())?;
    clear(&layout.trash())?;
    Ok((layout, lock))
}

/// Writes nothing, not even a lock file, into a folder that belongs to something else.
fn refuse_foreign(layout: &Layout) -> Result<(), StoreError> {
    let is_new = || Ok(disk::names(layout.root())?.iter().all(|name| BEFORE_FORMAT.contains(&name.as_str())));
    if disk::metadata(&layout.format())?.is_some() || is_new()? {
        return Ok(());
    }
    Err(StoreError::NotAStore { root: layout.root().into() })
}

fn lock(layout: &Layout) -> Result<File, StoreError> {
    let path = layout.lock();
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(disk::FILE_MODE)
        .open(&path)
        .at("open the lock", &path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let pid = first_line(&mut file).trim().parse().ok();
            return Err(StoreError::InUse { root: layout.root().into(), pid });
        }
        Err(TryLockError::Error(error)) => return Err(error).at("lock", &path),
    }
    // The process id is for people; the lock is the kernel's, and goes with the process however it ends.
    file.set_len(0).and_then(|()| file.rewind()).at("write", &path)?;
    writeln!(file, "{}", std::process::id()).at("write", &path)?;
    Ok(file)
}

fn check_format(layout: &Layout) -> Result<(), StoreError> {
    let path = layout.format();
    if disk::metadata(&path)?.is_none() {
        let staged = layout.root().join("format.new");
        disk::discard(&staged)?;
        disk::stage(&staged, disk::FILE_MODE, format!("{FORMAT}\n").as_bytes())?;
        return disk::rename(&staged, &path);
    }
    let found = first_line(&mut File::open(&path).at("open", &path)?);
    if found == FORMAT { Ok(()) } else { Err(StoreError::UnknownFormat { root: layout.root().into(), found }) }
}

fn first_line(file: &mut File) -> String {
    let mut bytes = Vec::new();
    // A file that cannot be read has an empty first line, which is neither a format nor a process.
    let _ = file.take(LINE_BYTES_MAX).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).lines().next().unwrap_or_default().escape_debug().to_string()
}

fn clear(dir: &Path) -> Result<(), StoreError> {
    for name in disk::names(dir)? {
        disk::discard(&dir.join(name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::store::{Store, StoreOptions};

    use super::*;

    fn open(dir: &Path) -> Result<Store, StoreError> {
        Store::open(dir, StoreOptions::default())
    }

    #[test]
    fn a_second_opening_names_the_process_that_has_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).unwrap();
        let refused = open(dir.path()).unwrap_err();
        assert!(matches!(refused, StoreError::InUse { pid: Some(pid), .. } if pid == std::process::id()), "{refused}");
        assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
        drop(store);
        open(dir.path()).unwrap();
    }

    #[test]
    fn a_folder_with_other_things_in_it_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.txt"), "mine").unwrap();
        let refused = open(dir.path()).unwrap_err();
        assert!(matches!(refused, StoreError::NotAStore { .. }), "{refused}");
        assert_eq!(disk::names(dir.path()).unwrap(), ["thesis.txt"]);
    }

    #[test]
    fn an_unknown_format_is_refused_and_named() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        for found in ["headland-store 2", "", "junk\u{1b}[2J"] {
            fs::write(dir.path().join("format"), found).unwrap();
            let refused = open(dir.path()).unwrap_err();
            assert!(matches!(refused, StoreError::UnknownFormat { .. }), "{refused}");
            assert!(!refused.to_string().contains('\u{1b}'));
        }
    }

    #[test]
    fn a_crash_during_the_first_opening_leaves_nothing_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("lock"), "1\n").unwrap();
        fs::write(dir.path().join("format.new"), "headl").unwrap();
        open(dir.path()).unwrap();
    }

    #[test]
    fn everything_in_the_store_is_private() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("a/store");
        let store = open(&dir).unwrap();
        let mut upload = store.begin_upload(&"models/m".parse().unwrap()).unwrap();
        upload.write(b"weights").unwrap();
        upload.finish(headland_package::Sha256Digest::of(b"weights")).unwrap();
        let mut folders = vec![dir.clone()];
        let mut blobs = 0;
        while let Some(folder) = folders.pop() {
            assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700, "{}", folder.display());
            for name in disk::names(&folder).unwrap() {
                let path = folder.join(name);
                let metadata = fs::metadata(&path).unwrap();
                if metadata.is_dir() {
                    folders.push(path);
                } else if path.starts_with(dir.join("blobs")) {
                    assert_eq!(metadata.permissions().mode() & 0o777, 0o400, "{}", path.display());
                    blobs += 1;
                } else {
                    assert_eq!(metadata.permissions().mode() & 0o077, 0, "{}", path.display());
                }
            }
        }
        assert_eq!(blobs, 1);
    }
}
