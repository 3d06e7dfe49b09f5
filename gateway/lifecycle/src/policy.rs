//! The trust policy in force: read at start, read again when it changes, and handed to all who judge by it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use headland_trust::{Policy, PolicyError};
use tokio::sync::watch;

/// Whoever judges looks here for the policy in force; there is none where the operator gave none.
pub type PolicyWatch = watch::Receiver<Option<Arc<Policy>>>;

/// Reads the policy's file, and says when it is another.
#[derive(Debug)]
pub struct PolicyFile {
    path: Option<PathBuf>,
    in_force: watch::Sender<Option<Arc<Policy>>>,
    /// The file as it was when it was last looked at.
    seen: Mutex<Option<Stamp>>,
    /// Held while it is read again, so that what was read last is what is in force.
    reloading: Mutex<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    bytes: u64,
}

impl PolicyFile {
    /// Reads the policy in `path`; without a path there is none, and nothing from the registry is admitted.
    ///
    /// # Errors
    /// [`PolicyError`], naming the file and the line or rule.
    pub fn open(path: Option<PathBuf>) -> Result<Self, PolicyError> {
        let seen = path.as_deref().and_then(stamp);
        let policy = path.as_deref().map(Policy::read).transpose()?.map(Arc::new);
        Ok(PolicyFile { path, in_force: watch::channel(policy).0, seen: Mutex::new(seen), reloading: Mutex::default() })
    }

    /// The policy in force, now and later.
    pub fn watch(&self) -> PolicyWatch {
        self.in_force.subscribe()
    }

    /// Whether the file was changed since it was last read or looked at. What it names, such as keys, is not looked at.
    pub fn has_changed(&self) -> bool {
        let now = self.path.as_deref().and_then(stamp);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *seen, now) != now
    }

    /// Reads the file again, and what it names. What was in force stays in force if it cannot be used now.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn reload(&self) -> Result<(), PolicyError> {
        let Some(path) = &self.path else { return Ok(()) };
        let _one_at_a_time = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let policy = Policy::read(path)?;
        self.in_force.send_replace(Some(Arc::new(policy)));
        Ok(())
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(Stamp { modified: metadata.modified().ok()?, bytes: metadata.len() })
}
