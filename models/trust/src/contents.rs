//! What is judged: the files of a model, wherever they are.
//!
//! [`Folder`] reads a directory, [`Files`] what is in memory or mapped, and [`Listing`] knows only names, sizes and
//! SHA-256 digests, so that a signature can be judged before the files are sent.

mod files;
mod folder;
mod hash;
mod listing;

use std::fmt;
use std::io;
use std::ops::Range;

pub use files::Files;
pub use folder::{FILES_MAX, Folder};
pub use hash::HashAlgorithm;
pub use listing::Listing;

use crate::plain::Plain;

/// The name of the one file of a model that is a file and not a folder.
pub const SINGLE_FILE: &str = ".";

/// What is never part of a model: a repository's own files, at its top (specification, section 6.2).
pub const REPOSITORY_FILES: [&str; 4] = [".git", ".gitattributes", ".github", ".gitignore"];

/// The files of a model. Paths are relative, with `/` between their parts; a model that is a single file has the one
/// path [`SINGLE_FILE`].
pub trait Contents: Sync {
    /// All paths, sorted.
    fn paths(&self) -> Vec<String>;

    /// The size of a file in bytes.
    fn size(&self, path: &str) -> Option<u64>;

    /// Whether the path is a symbolic link; its size and digest are then those of the file it leads to.
    fn is_symlink(&self, _path: &str) -> bool {
        false
    }

    /// Whether digests can be computed from the files themselves; `false` for a mere listing.
    fn is_here(&self) -> bool {
        true
    }

    /// The digest of a file, or of the given bytes of it.
    ///
    /// # Errors
    /// When there is no such file or range, it cannot be read, or its content is not there yet.
    fn digest(&self, path: &str, algorithm: HashAlgorithm, range: Option<Range<u64>>)
    -> Result<Vec<u8>, ContentsError>;
}

/// Why contents cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum ContentsError {
    /// No such file, or not that much of it.
    #[error("`{}` is not there", Plain(.0))]
    NotFound(String),
    /// Only a listing is there, which does not tell this digest.
    #[error("`{}` is not there yet; its digest will be known when it is", Plain(.0))]
    NotThereYet(String),
    /// Reading failed.
    #[error("cannot read `{}`", Plain(path))]
    Io {
        /// The file or folder.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Neither a file nor a folder, or with a name that is no text.
    #[error("`{}` cannot be part of a model: it is {what}", Plain(path))]
    Special {
        /// The entry.
        path: String,
        /// What it is instead.
        what: &'static str,
    },
    /// More files than a model has.
    #[error("there are more than {max} files")]
    TooMany {
        /// [`FILES_MAX`].
        max: usize,
    },
}

/// Lowercase hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
