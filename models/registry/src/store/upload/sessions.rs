//! Which uploads there are, and who is writing to them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::Sha256;

use crate::store::layout::Layout;
use crate::store::names::{Repository, UploadId};
use crate::store::{Store, StoreError, UPLOADS_MAX, disk};

/// How far an upload is.
#[derive(Clone, Debug)]
pub(in crate::store) struct Progress {
    /// Bytes received and counted against the quota.
    pub(super) len: u64,
    /// The hash of those; after a restart it has to be computed again.
    pub(super) hasher: Option<Sha256>,
}

#[derive(Debug)]
struct Session {
    repository: Repository,
    /// `None` while somebody is writing.
    idle: Option<Progress>,
}

/// All sessions of a store. The lock is held for a look-up at a time.
#[derive(Debug)]
pub(in crate::store) struct Sessions(Mutex<HashMap<UploadId, Session>>);

impl Sessions {
    /// The sessions whose files are on disk.
    pub(in crate::store) fn found(layout: &Layout) -> Result<Self, StoreError> {
        let mut table = HashMap::new();
        for repository in layout.all_repositories()? {
            for name in disk::names(&layout.uploads(&repository))? {
                let Ok(id) = name.parse::<UploadId>() else { continue };
                let len = disk::size_of(&layout.upload(&repository, &id))?.unwrap_or(0);
                table
                    .insert(id, Session { repository: repository.clone(), idle: Some(Progress { len, hasher: None }) });
            }
        }
        Ok(Sessions(Mutex::new(table)))
    }

    fn table(&self) -> MutexGuard<'_, HashMap<UploadId, Session>> {
        // Every change to the table is one insert, remove or assignment: a panic leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of all idle sessions; when the store opens, that is all of them.
    pub(in crate::store) fn bytes(&self) -> u64 {
        self.table().values().filter_map(|session| session.idle.as_ref()).map(|progress| progress.len).sum()
    }

    pub(super) fn count(&self) -> usize {
        self.table().len()
    }

    /// The sessions nobody is writing to.
    pub(super) fn idle(&self) -> Vec<(Repository, UploadId)> {
        let table = self.table();
        let idle = table.iter().filter(|(_, session)| session.idle.is_some());
        idle.map(|(id, session)| (session.repository.clone(), id.clone())).collect()
    }
}

/// The right to write to a session.
#[derive(Debug)]
pub(super) struct Lease {
    store: Store,
    repository: Repository,
    id: UploadId,
    /// How far the session is when the lease ends; without it, the session ends too.
    then: Option<Progress>,
}

impl Lease {
    /// Enters a new session.
    pub(super) fn begin(store: Store, repository: Repository, id: UploadId) -> Result<Self, StoreError> {
        let mut table = store.0.sessions.table();
        if table.len() >= UPLOADS_MAX {
            let advice = "finish or cancel some, or wait until they expire";
            return Err(StoreError::TooMany { what: "unfinished uploads", limit: UPLOADS_MAX, advice });
        }
        table.insert(id.clone(), Session { repository: repository.clone(), idle: None });
        drop(table);
        Ok(Lease { store, repository, id, then: None })
    }

    /// Takes an idle session of this repository.
    pub(super) fn resume(store: Store, repository: &Repository, id: &UploadId) -> Result<(Self, Progress), StoreError> {
        let mut table = store.0.sessions.table();
        let unknown = || StoreError::UploadUnknown { repository: repository.clone(), id: id.clone() };
        let session = table.get_mut(id).filter(|session| session.repository == *repository).ok_or_else(unknown)?;
        let progress = session.idle.take().ok_or_else(|| StoreError::UploadBusy { id: id.clone() })?;
        drop(table);
        let then = Some(Progress { len: progress.len, hasher: None });
        Ok((Lease { store, repository: repository.clone(), id: id.clone(), then }, progress))
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn repository(&self) -> &Repository {
        &self.repository
    }

    pub(super) fn id(&self) -> &UploadId {
        &self.id
    }

    /// The session goes on from here when this lease is dropped, unless it has ended.
    pub(super) fn keep(&mut self, progress: Progress) {
        self.then = Some(progress);
    }

    /// Whether the session goes on.
    pub(super) fn is_kept(&self) -> bool {
        self.then.is_some()
    }

    /// The session is over when this lease is dropped.
    pub(super) fn end(&mut self) {
        self.then = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut table = self.store.0.sessions.table();
        match (self.then.take(), table.get_mut(&self.id)) {
            (Some(progress), Some(session)) => session.idle = Some(progress),
            _ => drop(table.remove(&self.id)),
        }
    }
}
