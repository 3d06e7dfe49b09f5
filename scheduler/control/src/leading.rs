//! What the leader has written, and writing what it wants: with its epoch, by compare-and-swap, only what has changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use headland_control_store::{ControlStore, Entry, Epoch, Key, KeyError, Leadership, Prefix, Revision, StoreError};
use headland_fleet::{Desired, Document, Era, Routes, kind};
use headland_package::RegionName;

use crate::controller::Wanted;
use crate::wanted::Term;

/// What was written, as far as this leader knows.
#[derive(Debug, Default)]
pub struct Written {
    wanted: Wanted,
    revisions: BTreeMap<Key, Revision>,
}

/// Whether the lease of a term holds at this instant.
#[derive(Clone, Copy)]
pub struct Leave<'a> {
    leadership: &'a Leadership,
    epoch: u64,
}

impl<'a> Leave<'a> {
    /// That of the leader of `epoch`.
    pub fn new(leadership: &'a Leadership, epoch: u64) -> Self {
        Leave { leadership, epoch }
    }

    /// Asked right before each write.
    ///
    /// # Errors
    /// [`LeadError::Lapsed`].
    pub fn check(self) -> Result<(), LeadError> {
        match self.leadership.leads() {
            Some(Epoch(epoch)) if epoch == self.epoch => Ok(()),
            _ => Err(LeadError::Lapsed { epoch: self.epoch }),
        }
    }
}

/// Why a leader cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LeadError {
    /// A later leader has written.
    #[error("a leader of epoch {theirs} has written {key}, and this one is of epoch {ours}")]
    Deposed {
        /// What was written.
        key: Key,
        /// Our epoch.
        ours: u64,
        /// Theirs.
        theirs: u64,
    },
    /// The lease has ended, or is about to.
    #[error("the lease of epoch {epoch} has run out, and nothing more is written in it")]
    Lapsed {
        /// Our epoch.
        epoch: u64,
    },
    /// The store did not do as it was told.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A name that cannot be a key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Something that is written with an epoch.
trait Fenced: Document + Send + Sync {
    fn term(&self) -> Term;
}

impl Fenced for Desired {
    fn term(&self) -> Term {
        Term { era: self.era, epoch: self.epoch }
    }
}

impl Fenced for Routes {
    fn term(&self) -> Term {
        Term { era: self.era, epoch: self.epoch }
    }
}

/// Nobody has heard of a store that was made so much later than now: clocks are not that far apart.
pub const ERA_AHEAD_MS_MAX: u64 = 24 * 3600 * 1000;

/// The store's era; one without is new, and gets one that is later than any before.
///
/// # Errors
/// [`LeadError::Store`].
pub async fn era(store: &dyn ControlStore, heard: u64, now_unix_ms: u64) -> Result<u64, LeadError> {
    let key = Key::new(kind::FLEET, ["era"])?;
    if let Some(entry) = store.get(&key).await? {
        match Era::decode(&entry.value) {
            Ok(era) if era.began_unix_ms >= heard => return Ok(era.began_unix_ms),
            Ok(_) | Err(_) => store.delete(&key, Some(entry.revision)).await?,
        }
    }
    let era = Era { began_unix_ms: now_unix_ms.max(heard.saturating_add(1)) };
    store.create(&key, era.encode().into()).await?;
    tracing::info!(era = era.began_unix_ms, "the control store is new");
    Ok(era.began_unix_ms)
}

impl Written {
    /// Reads what earlier leaders have written, for the leader of `ours`.
    ///
    /// # Errors
    /// [`LeadError::Deposed`] when a later leader has written any of it, or the store fails.
    pub async fn read(store: &dyn ControlStore, ours: Term) -> Result<Self, LeadError> {
        let mut written = Written::default();
        for entry in store.list(&Prefix::kind(kind::DESIRED)?).await? {
            if let Some(desired) = written.note::<Desired>(&entry, ours)? {
                written.wanted.desired.insert(desired.pop.clone(), desired);
            }
        }
        for entry in store.list(&Prefix::kind(kind::ROUTES)?).await? {
            if let Some(routes) = written.note::<Routes>(&entry, ours)? {
                written.wanted.routes.insert((routes.region.clone(), routes.part), Arc::new(routes));
            }
        }
        Ok(written)
    }

    /// What a record says, if it can be read; its revision is known in any case.
    fn note<T: Fenced>(&mut self, entry: &Entry, ours: Term) -> Result<Option<T>, LeadError> {
        self.revisions.insert(entry.key.clone(), entry.revision);
        match T::decode(&entry.value) {
            Ok(document) if document.term() > ours => {
                let (key, theirs) = (entry.key.clone(), document.term().epoch);
                Err(LeadError::Deposed { key, ours: ours.epoch, theirs })
            }
            Ok(document) => Ok(Some(document)),
            Err(error) => {
                tracing::warn!(key = %entry.key, "an earlier leader's record cannot be read, and is written anew: {error}");
                Ok(None)
            }
        }
    }

    /// What the records say.
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Writes what of `wanted` is not what was written; how many records that were.
    ///
    /// # Errors
    /// [`LeadError`]; what was written until then stays and is known.
    pub async fn write(
        &mut self,
        store: &dyn ControlStore,
        leave: Leave<'_>,
        wanted: Wanted,
    ) -> Result<usize, LeadError> {
        let mut count = 0;
        // Routes first: who is asked no more may let go.
        for (at, routes) in wanted.routes {
            let known = self.wanted.routes.get(&at);
            if !known.is_some_and(|known| Arc::ptr_eq(known, &routes) || known == &routes) {
                leave.check()?;
                self.put(store, route_key(&at.0, at.1)?, &*routes).await?;
                self.wanted.routes.insert(at, routes);
                count += 1;
            }
        }
        for (pop, desired) in wanted.desired {
            if self.wanted.desired.get(&pop) != Some(&desired) {
                leave.check()?;
                self.put(store, Key::new(kind::DESIRED, [pop.as_str()])?, &desired).await?;
                self.wanted.desired.insert(pop, desired);
                count += 1;
            }
        }
        Ok(count)
    }

    async fn put<T: Fenced>(&mut self, store: &dyn ControlStore, key: Key, document: &T) -> Result<(), LeadError> {
        tracing::debug!(%key, "writing");
        let value: bytes::Bytes = document.encode().into();
        let written = match self.revisions.get(&key) {
            Some(seen) => store.update(&key, value.clone(), *seen).await,
            None => store.create(&key, value.clone()).await,
        };
        let revision = match written {
            Ok(revision) => revision,
            // Somebody wrote, or our own write was acknowledged too late to be heard of.
            Err(StoreError::Conflict { .. } | StoreError::Exists { .. } | StoreError::Unknown { .. }) => {
                self.put_again::<T>(store, &key, value, document.term()).await?
            }
            Err(error) => return Err(error.into()),
        };
        self.revisions.insert(key, revision);
        Ok(())
    }

    /// Writes over what is there, unless a later leader wrote it.
    async fn put_again<T: Fenced>(
        &self,
        store: &dyn ControlStore,
        key: &Key,
        value: bytes::Bytes,
        ours: Term,
    ) -> Result<Revision, LeadError> {
        let Some(there) = store.get(key).await? else { return Ok(store.create(key, value).await?) };
        let theirs = T::decode(&there.value).map_or(Term { era: 0, epoch: 0 }, |document| document.term());
        if theirs > ours {
            return Err(LeadError::Deposed { key: key.clone(), ours: ours.epoch, theirs: theirs.epoch });
        }
        Ok(store.update(key, value, there.revision).await?)
    }
}

fn route_key(region: &RegionName, part: u8) -> Result<Key, KeyError> {
    Key::new(kind::ROUTES, [region.as_str(), &part.to_string()])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use headland_control_store::{EmbeddedStore, Role};
    use tokio::sync::watch;

    use super::*;

    #[tokio::test]
    async fn a_leader_whose_lease_is_over_writes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(dir.path(), Duration::from_secs(10)).await.unwrap();
        let (role, told) = watch::channel(Role::Leader { epoch: Epoch(3) });
        let leadership = Leadership::told(told);
        let wanted = |pop: &str| {
            let desired = Desired {
                pop: pop.parse().unwrap(),
                era: 1,
                epoch: 3,
                generation: 1,
                models: Vec::new(),
                apps: Vec::new(),
                aliases: BTreeMap::new(),
            };
            Wanted { desired: [(desired.pop.clone(), desired)].into(), ..Wanted::default() }
        };
        let mut written = Written::default();
        let leave = Leave::new(&leadership, 3);
        assert_eq!(written.write(&store, leave, wanted("a")).await.unwrap(), 1);
        for now in [Role::Standby, Role::Leader { epoch: Epoch(4) }] {
            role.send_replace(now);
            let error = written.write(&store, leave, wanted("b")).await.unwrap_err();
            assert!(matches!(error, LeadError::Lapsed { epoch: 3 }), "{error}");
        }
        let there = store.list(&Prefix::kind(kind::DESIRED).unwrap()).await.unwrap();
        assert_eq!(there.len(), 1, "{there:?}");
    }
}
