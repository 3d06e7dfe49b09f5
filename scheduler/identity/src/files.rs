//! The few files of an authority or a member: PEM, in one folder, keys for their owner alone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::IdentityError;

/// Certificate of the fleet's authority: in the authority's folder and in every member's.
pub const CA_CERTIFICATE_FILE: &str = "ca.pem";
/// Key of the fleet's authority. It never leaves its folder.
pub const CA_KEY_FILE: &str = "ca-key.pem";
/// A member's certificate.
pub const CERTIFICATE_FILE: &str = "cert.pem";
/// A member's key. It never leaves its folder.
pub const KEY_FILE: &str = "key.pem";

/// No file here is nearly as long.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Who may read a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readable {
    Everybody,
    Owner,
}

impl Readable {
    fn mode(self) -> u32 {
        match self {
            Readable::Everybody => 0o644,
            Readable::Owner => 0o600,
        }
    }
}

/// Makes a folder for its owner alone, if it is not there.
pub(crate) fn make_dir(dir: &Path) -> Result<(), IdentityError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(IdentityError::io("create", dir))
}

/// Reads a text file.
pub(crate) fn read(path: &Path) -> Result<String, IdentityError> {
    let file = File::open(path).map_err(IdentityError::io("open", path))?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(IdentityError::io("read", path))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(IdentityError::bad_file(path, format!("it is longer than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// Reads a key, if nobody but its owner can.
pub(crate) fn read_key(path: &Path) -> Result<String, IdentityError> {
    let mode = fs::metadata(path).map_err(IdentityError::io("open", path))?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::KeyIsOpen { path: path.to_owned(), mode });
    }
    read(path)
}

/// Puts `text` in the place of `path`: whoever reads it, after a crash too, finds the old file or the new one, whole.
pub(crate) fn replace(path: &Path, text: &str, readable: Readable) -> Result<(), IdentityError> {
    let new = path.with_extension("new");
    // Left by a writer that was killed, if it is there at all.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(IdentityError::io("remove", &new)(error)),
        _ => {}
    }
    write_new(&new, text, readable)?;
    fs::rename(&new, path).map_err(IdentityError::io("replace", path))?;
    sync_dir(path)
}

/// Writes `path`, which must not be there.
pub(crate) fn create(path: &Path, text: &str, readable: Readable) -> Result<(), IdentityError> {
    write_new(path, text, readable)?;
    sync_dir(path)
}

fn write_new(path: &Path, text: &str, readable: Readable) -> Result<(), IdentityError> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(readable.mode())
        .open(path)
        .map_err(IdentityError::io("create", path))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(IdentityError::io("write", path))
}

/// A name lasts once its directory is on the disk.
fn sync_dir(path: &Path) -> Result<(), IdentityError> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(IdentityError::io("sync", dir))
}
