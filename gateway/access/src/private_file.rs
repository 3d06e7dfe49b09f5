//! Small files that belong to the data directory's owner alone: read whole, replaced whole, one writer at a time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::AccessError;

/// Who holds it is the only one who changes files here, over all processes.
const LOCK_FILE: &str = "tokens.lock";

/// Tells one state of a file from another. The change time moves with every write and every change of permissions, and a
/// file that was renamed into place has an inode of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Stamp { inode: metadata.ino(), bytes: metadata.len(), changed: (metadata.ctime(), metadata.ctime_nsec()) }
    }

    /// The state of what is at `path` now, if anything is.
    pub fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata))
    }
}

/// A file as it was read.
pub(crate) struct Contents {
    pub bytes: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
    /// The state these bytes belong to.
    pub stamp: Stamp,
}

/// Reads `path`, or at most one byte more than `bytes_max` of it. `None` if there is no such file.
pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<Option<Contents>, AccessError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(AccessError::io("open", path))?,
    };
    let metadata = file.metadata().map_err(AccessError::io("examine", path))?;
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(AccessError::io("read", path))?;
    Ok(Some(Contents { bytes, mode: metadata.permissions().mode() & 0o777, stamp: Stamp::of(&metadata) }))
}

/// Puts `bytes` in the place of `path`, for its owner alone. Whoever reads it, after a crash too, sees the old file or the
/// new one, whole. Needs the [`Lock`].
pub(crate) fn replace(path: &Path, bytes: &[u8], _lock: &Lock) -> Result<(), AccessError> {
    let new = path.with_extension("new");
    // Left by a writer that was killed, if it is there at all.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(AccessError::io("remove", &new)(error)),
        _ => {}
    }
    let mut file = create(&new)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(AccessError::io("write", &new))?;
    fs::rename(&new, path).map_err(AccessError::io("replace", path))?;
    let dir = directory(path);
    // A rename lasts once its directory is on the disk.
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(AccessError::io("sync", dir))
}

/// Makes `path`, which must not be there. An administrator who runs `headland token` as root leaves no file behind that
/// the gateway cannot read: what is made belongs to the directory's owner.
fn create(path: &Path) -> Result<File, AccessError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let file = options.open(path).map_err(AccessError::io("create", path))?;
    let owner = |metadata: fs::Metadata| (metadata.uid(), metadata.gid());
    let (made, dir) = (file.metadata().map(owner), fs::metadata(directory(path)).map(owner));
    if let (Ok(made), Ok((uid, gid))) = (made, dir)
        && made.0 != uid
    {
        fchown(&file, Some(uid), Some(gid)).map_err(AccessError::io("give to the data directory's owner", path))?;
    }
    Ok(file)
}

fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// The right to change files in one directory. Ends with the process at the latest.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the right. Makes the directory, for its owner alone, if it is not there.
    pub fn take(dir: &Path) -> Result<Self, AccessError> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(AccessError::io("create", dir))?;
        let path: PathBuf = dir.join(LOCK_FILE);
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => match create(&path) {
                // Another process was faster.
                Err(AccessError::Io { source, .. }) if source.kind() == ErrorKind::AlreadyExists => File::open(&path),
                created => Ok(created?),
            },
            opened => opened,
        };
        let file = file.map_err(AccessError::io("open", &path))?;
        file.lock().map_err(AccessError::io("lock", &path))?;
        Ok(Lock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_is_whole_private_and_of_another_stamp() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.json");
        assert!(read(&path, 10).unwrap().is_none());
        assert_eq!(Stamp::at(&path), None);
        let lock = Lock::take(dir.path()).unwrap();
        // What a killed writer left is no obstacle.
        fs::write(path.with_extension("new"), "half").unwrap();
        replace(&path, b"one", &lock).unwrap();
        let one = read(&path, 10).unwrap().unwrap();
        assert_eq!((&one.bytes[..], one.mode), (&b"one"[..], 0o600));
        assert_eq!(Stamp::at(&path), Some(one.stamp));
        replace(&path, b"two", &lock).unwrap();
        let two = read(&path, 2).unwrap().unwrap();
        assert_eq!(two.bytes, b"two", "one byte more than asked for, so that the caller sees it is too long");
        assert_ne!(one.stamp, two.stamp);
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["file.json", LOCK_FILE]);
    }

    #[test]
    fn a_missing_directory_is_made_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("a/b");
        let _lock = Lock::take(&below).unwrap();
        assert_eq!(fs::metadata(&below).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn the_lock_is_held_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let held = Lock::take(dir.path()).unwrap();
        let other = File::open(dir.path().join(LOCK_FILE)).unwrap();
        assert!(other.try_lock().is_err());
        drop(held);
        other.try_lock().unwrap();
    }

    #[test]
    fn what_root_makes_belongs_to_the_directorys_owner() {
        const OTHER: u32 = 65534;
        let dir = tempfile::tempdir().unwrap();
        if std::os::unix::fs::chown(dir.path(), Some(OTHER), Some(OTHER)).is_err() {
            println!("skipped: only root can give a directory away");
            return;
        }
        let path = dir.path().join("file.json");
        replace(&path, b"one", &Lock::take(dir.path()).unwrap()).unwrap();
        for made in [path, dir.path().join(LOCK_FILE)] {
            let made = fs::metadata(made).unwrap();
            assert_eq!((made.uid(), made.gid(), made.permissions().mode() & 0o777), (OTHER, OTHER, 0o600));
        }
    }
}
