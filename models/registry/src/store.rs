//! The content-addressed store: blobs by digest; manifests, tags and referrers by repository; all as files.
//!
//! Stands below the registry's HTTP side, which writes here, and the model manager, which loads from here through
//! [`Blob::map_verified`]. Blocking calls, no network. The files are the only truth: nothing about blobs, manifests or tags
//! is remembered, so a crash cannot leave memory and disk disagreeing. `README.md` beside `src` has the layout, and why a
//! crash loses nothing and garbage collection races nothing.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use headland_package::Sha256Digest;

mod blob;
mod disk;
mod error;
mod gc;
mod layout;
mod ledger;
mod links;
mod manifest;
mod manifests;
mod names;
mod root;
mod tags;
#[cfg(test)]
mod testing;
mod upload;

pub use blob::{Blob, BlobInfo};
pub use error::StoreError;
pub use gc::GcReport;
pub use ledger::Usage;
pub use manifest::{INDEX_TYPES, MANIFEST_BYTES_MAX, MANIFEST_PARTS_MAX, MANIFEST_TYPES};
pub use manifests::{Manifest, ManifestInfo};
pub use names::{NameError, REPOSITORY_BYTES_MAX, Reference, Repository, TAG_BYTES_MAX, Tag, UploadId};
pub use upload::Upload;

use layout::Layout;
use ledger::Ledger;

/// Bytes the store may hold, unless the operator says otherwise.
pub const QUOTA_BYTES_DEFAULT: u64 = 64 << 30;
/// How long a blob that no manifest names is kept, unless the operator says otherwise: longer than a slow push takes.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// How long an upload nobody writes to is kept, unless the operator says otherwise.
pub const UPLOAD_EXPIRY_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// Bytes of the disk that the store leaves free for everybody else.
pub const DISK_RESERVE_BYTES: u64 = 64 << 20;
/// Upload sessions at one time.
pub const UPLOADS_MAX: usize = 1_000;
/// Repositories of one store.
pub const REPOSITORIES_MAX: usize = 10_000;
/// Tags of one repository.
pub const TAGS_MAX: usize = 10_000;
/// Manifests of one repository.
pub const MANIFESTS_MAX: usize = 10_000;

/// Referrers of one manifest.
pub const REFERRERS_MAX: usize = 256;

/// What an operator may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// Most bytes of blobs, manifests and unfinished uploads together.
    pub quota_bytes: u64,
    /// How long a blob that no manifest names is kept.
    pub grace: Duration,
    /// How long an upload nobody writes to is kept.
    pub upload_expiry: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions { quota_bytes: QUOTA_BYTES_DEFAULT, grace: GRACE_DEFAULT, upload_expiry: UPLOAD_EXPIRY_DEFAULT }
    }
}

/// A store on disk, open in this process and in no other. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Store(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    layout: Layout,
    options: StoreOptions,
    ledger: Ledger,
    sessions: upload::Sessions,
    /// Held by whoever makes something visible or takes it away, so that a check and the change it allows are one step.
    changes: Mutex<()>,
    /// How often they did.
    changed: AtomicU64,
    /// Held for writing while garbage is swept, for reading by whoever promises a client that a blob will stay.
    sweep: RwLock<()>,
    /// Keeps other processes out; released when the last clone goes, or the process does.
    _lock: File,
}

/// The right to change what is visible; when it ends, something may have changed.
struct Changing<'a> {
    changed: &'a AtomicU64,
    _held: MutexGuard<'a, ()>,
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.changed.fetch_add(1, Ordering::Release);
    }
}

impl Store {
    /// Opens the store in `dir`, making it when the folder is absent or empty, and clears what a crash left behind.
    ///
    /// # Errors
    /// Another process has it open, the folder holds something else or an unknown format, or the disk refuses.
    pub fn open(dir: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let (layout, lock) = root::open(dir)?;
        let sessions = upload::Sessions::found(&layout)?;
        let ledger = Ledger::new(options.quota_bytes, layout.bytes_of_blobs()?.saturating_add(sessions.bytes()));
        let (changes, sweep) = (Mutex::new(()), RwLock::new(()));
        Ok(Store(Arc::new(Shared {
            layout,
            options,
            ledger,
            sessions,
            changes,
            changed: AtomicU64::default(),
            sweep,
            _lock: lock,
        })))
    }

    /// How full the store and its disk are.
    ///
    /// # Errors
    /// The disk does not say.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let disk_free_bytes = disk::free_bytes(self.layout().root())?;
        Ok(Usage { used_bytes: self.0.ledger.used(), quota_bytes: self.0.options.quota_bytes, disk_free_bytes })
    }

    /// Grows after every change: what was read when it was as it is now is still so.
    pub fn changes(&self) -> u64 {
        self.0.changed.load(Ordering::Acquire)
    }

    fn layout(&self) -> &Layout {
        &self.0.layout
    }

    fn changing(&self) -> Changing<'_> {
        // The mutex guards no value that a panic could have left half done: the files are changed in whole steps.
        let held = self.0.changes.lock().unwrap_or_else(PoisonError::into_inner);
        Changing { changed: &self.0.changed, _held: held }
    }

    /// Sets `bytes` aside under the quota, after a look at the disk.
    fn reserve(&self, bytes: u64) -> Result<ledger::Reservation, StoreError> {
        let free = disk::free_bytes(self.layout().root())?;
        if bytes > free.saturating_sub(DISK_RESERVE_BYTES) {
            return Err(StoreError::DiskFull { root: self.layout().root().into(), free, needed: bytes });
        }
        ledger::Reservation::new(self.clone(), bytes)
    }

    /// Makes the finished file `staged` the blob `digest`. Renaming over an existing blob is meant: the new bytes were
    /// just hashed, and whatever lay there may have been damaged. The caller has the bytes reserved, and keeps them so.
    fn install(&self, _: &Changing<'_>, staged: &Path, digest: Sha256Digest) -> Result<(), StoreError> {
        let path = self.layout().blob(digest);
        let replaced = disk::size_of(&path)?;
        disk::rename(staged, &path)?;
        self.0.ledger.release(replaced.unwrap_or(0));
        Ok(())
    }
}
