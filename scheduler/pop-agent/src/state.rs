//! What a PoP remembers over restarts: what is wanted of it, and what of what it holds its fleet gave it.
//!
//! With it a PoP serves after a restart while no control plane can be reached.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use headland_fleet::{Desired, Document, DocumentError, ModelKey};
use headland_package::AppName;
use serde::{Deserialize, Serialize};

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// What was last wanted.
    pub desired: Option<Desired>,
    /// Models that the fleet gave.
    pub models: BTreeSet<ModelKey>,
    /// Apps that the fleet gave.
    pub apps: BTreeSet<AppName>,
}

impl Document for State {
    const WHAT: &'static str = "PoP's memory";
}

/// A memory that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The operating system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// It is not what was written.
    #[error("{} cannot be used; move it away, and the PoP asks its fleet anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: DocumentError,
    },
}

impl State {
    /// Reads the file; one that is not there says nothing.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn read(path: &Path) -> Result<Self, StateError> {
        match fs::read(path) {
            Ok(bytes) => State::decode(&bytes).map_err(|source| StateError::Damaged { path: path.to_owned(), source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(State::default()),
            Err(source) => Err(StateError::Io { action: "read", path: path.to_owned(), source }),
        }
    }

    /// Writes the file, so that a crash leaves the old or the new one.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn write(&self, path: &Path) -> Result<(), StateError> {
        replace(path, &self.encode()).map_err(|source| StateError::Io {
            action: "write",
            path: path.to_owned(),
            source,
        })
    }
}

/// Writes a file so that a crash leaves the old or the new one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_read_again_and_what_is_damaged_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/fleet.json");
        assert_eq!(State::read(&path).unwrap(), State::default());
        let state = State { apps: BTreeSet::from(["search".parse().unwrap()]), ..State::default() };
        state.write(&path).unwrap();
        assert_eq!(State::read(&path).unwrap(), state);
        fs::write(&path, b"{\"format\":1,\"models\":3}").unwrap();
        let error = State::read(&path).unwrap_err().to_string();
        assert!(error.contains("fleet.json cannot be used; move it away"), "{error}");
    }
}
