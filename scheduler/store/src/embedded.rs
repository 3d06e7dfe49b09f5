//! The store of one process: a file in the data directory, for `headland up`.
//!
//! The file is a redb database. Its commits are copy-on-write with checksums, so that a crash leaves the last commit or the
//! one before it, and each write here is one commit, on the disk before it is acknowledged. SQLite would do as well; it would
//! bring a C library and a query language for what is a map.
//!
//! One writer at a time commits and then tells the watchers, before the next one may: that is all it takes to tell changes in
//! order. Leases are kept in memory, for their holders end with the process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::stream::BoxStream;
use tokio::sync::{Mutex, broadcast};

use crate::entry::{Entry, Event, Revision, check_size};
use crate::error::StoreError;
use crate::key::{Key, Prefix};
use crate::store::{ControlStore, Epoch, Holder, Lease, Leases, StoreFuture, Tenure};

mod file;
mod leases;
mod watch;

use file::{Changed, File, Write};
use leases::LeaseTable;

/// The file's name in the data directory.
pub const FILE_NAME: &str = "control.redb";
/// Changes kept for a watcher that does not read. One that falls behind further gets a snapshot instead.
const WATCHER_LAG_MAX: usize = 1024;

/// Records in a file, watches and leases in memory. Cloning shares it; the file is closed with the last clone and watch.
#[derive(Clone)]
pub struct EmbeddedStore {
    reader: Reader,
    /// Held by whoever writes, from its commit until the watchers are told.
    writing: Arc<Mutex<()>>,
    changes: broadcast::Sender<Changed>,
    leases: Arc<LeaseTable>,
}

impl EmbeddedStore {
    /// Opens the file [`FILE_NAME`] in a directory that exists, or makes it. The whole file is checked, which takes time with
    /// its size. Fails if another process has it, if it is damaged, and if it is no store of ours.
    pub async fn open(data_dir: &Path, lease_ttl: Duration) -> Result<Self, StoreError> {
        let path = data_dir.join(FILE_NAME);
        let file = blocking(&path.clone(), move || File::open(path)).await?;
        Ok(Self {
            reader: Reader { file: Arc::new(file), turn: Arc::default() },
            writing: Arc::default(),
            changes: broadcast::channel(WATCHER_LAG_MAX).0,
            leases: Arc::new(LeaseTable::new(lease_ttl)),
        })
    }

    /// Commits and tells, on a blocking thread that holds the lock: a caller that goes away does not come in between.
    async fn write(&self, write: Write) -> Result<Revision, StoreError> {
        let turn = Arc::clone(&self.writing).lock_owned().await;
        let (file, changes) = (Arc::clone(&self.reader.file), self.changes.clone());
        blocking(self.reader.file.path(), move || {
            let (revision, changed) = file.write(write)?;
            if let Some(changed) = changed {
                // Fails when nobody watches.
                let _ = changes.send(changed);
            }
            drop(turn);
            Ok(revision)
        })
        .await
    }
}

/// Reads the file on one thread at a time: it is small, and every further thread would keep memory of its own.
#[derive(Clone)]
struct Reader {
    file: Arc<File>,
    turn: Arc<Mutex<()>>,
}

impl Reader {
    async fn read<T: Send + 'static>(
        &self,
        what: impl FnOnce(&File) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let file = Arc::clone(&self.file);
        blocking(self.file.path(), move || {
            let _turn = turn;
            what(&file)
        })
        .await
    }
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(
    path: &Path,
    what: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(what).await.unwrap_or_else(|error| {
        Err(StoreError::Unreadable { path: path.to_owned(), why: format!("reading it ended with {error}") })
    })
}

impl ControlStore for EmbeddedStore {
    fn get<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Option<Entry>> {
        let key = key.clone();
        self.reader.read(move |file| file.get(&key)).boxed()
    }

    fn list<'a>(&'a self, prefix: &'a Prefix) -> StoreFuture<'a, Vec<Entry>> {
        let prefix = prefix.clone();
        self.reader.read(move |file| Ok(file.list(&prefix)?.0)).boxed()
    }

    fn create<'a>(&'a self, key: &'a Key, value: Bytes) -> StoreFuture<'a, Revision> {
        async move {
            check_size(key, &value)?;
            self.write(Write::Create(key.clone(), value)).await
        }
        .boxed()
    }

    fn update<'a>(&'a self, key: &'a Key, value: Bytes, seen: Revision) -> StoreFuture<'a, Revision> {
        async move {
            check_size(key, &value)?;
            self.write(Write::Update(key.clone(), value, seen)).await
        }
        .boxed()
    }

    fn delete<'a>(&'a self, key: &'a Key, seen: Option<Revision>) -> StoreFuture<'a, ()> {
        async move { self.write(Write::Delete(key.clone(), seen)).await.map(drop) }.boxed()
    }

    fn watch(&self, prefix: Prefix) -> BoxStream<'static, Event> {
        watch::watch(self.reader.clone(), self.changes.clone(), prefix)
    }
}

impl Leases for EmbeddedStore {
    fn lease_ttl(&self) -> Duration {
        self.leases.ttl()
    }

    fn acquire<'a>(&'a self, name: &'a Key, holder: &'a Holder) -> StoreFuture<'a, Option<Lease>> {
        async move {
            if self.leases.holder(name).is_some() {
                return Ok(None);
            }
            // On the disk before anybody has it, so that no epoch is given twice over restarts.
            let epoch = Epoch(self.write(Write::Advance).await?.0);
            Ok(self.leases.acquire(name, holder, epoch))
        }
        .boxed()
    }

    fn renew<'a>(&'a self, lease: &'a Lease) -> StoreFuture<'a, Option<Lease>> {
        async move { Ok(self.leases.renew(lease)) }.boxed()
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> StoreFuture<'a, ()> {
        async move {
            self.leases.release(lease);
            Ok(())
        }
        .boxed()
    }

    fn holder<'a>(&'a self, name: &'a Key) -> StoreFuture<'a, Option<Tenure>> {
        async move { Ok(self.leases.holder(name)) }.boxed()
    }
}

#[cfg(test)]
mod tests;
