//! Leases of one process: a table in memory, by the monotonic clock.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::entry::Revision;
use crate::key::Key;
use crate::store::{Epoch, Holder, Lease, Tenure};

pub(super) struct LeaseTable {
    ttl: Duration,
    held: Mutex<HashMap<Key, Held>>,
}

struct Held {
    tenure: Tenure,
    until: Instant,
}

impl LeaseTable {
    pub fn new(ttl: Duration) -> Self {
        Self { ttl, held: Mutex::default() }
    }

    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    pub fn acquire(&self, name: &Key, holder: &Holder, epoch: Epoch) -> Option<Lease> {
        let mut held = self.lock();
        if held.contains_key(name) {
            return None;
        }
        let tenure = Tenure { holder: holder.clone(), epoch };
        held.insert(name.clone(), Held { tenure, until: Instant::now() + self.ttl });
        Some(Lease { name: name.clone(), holder: holder.clone(), epoch, revision: Revision(epoch.0) })
    }

    pub fn renew(&self, lease: &Lease) -> Option<Lease> {
        let mut held = self.lock();
        let mine = held.get_mut(&lease.name).filter(|held| held.tenure.epoch == lease.epoch)?;
        mine.until = Instant::now() + self.ttl;
        Some(lease.clone())
    }

    pub fn release(&self, lease: &Lease) {
        let mut held = self.lock();
        if held.get(&lease.name).is_some_and(|held| held.tenure.epoch == lease.epoch) {
            held.remove(&lease.name);
        }
    }

    pub fn holder(&self, name: &Key) -> Option<Tenure> {
        self.lock().get(name).map(|held| held.tenure.clone())
    }

    /// The table, without what has expired.
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Held>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        held.retain(|_, held| held.until > now);
        held
    }
}
