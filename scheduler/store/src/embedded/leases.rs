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
    leases: Mutex<Leases>,
}

#[derive(Default)]
struct Leases {
    held: HashMap<Key, Held>,
    /// The greatest epoch that was given.
    newest: Option<Epoch>,
}

struct Held {
    tenure: Tenure,
    until: Instant,
}

impl LeaseTable {
    pub fn new(ttl: Duration) -> Self {
        Self { ttl, leases: Mutex::default() }
    }

    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Gives the lease in this epoch; to nobody whose epoch was overtaken while it was on its way.
    pub fn acquire(&self, name: &Key, holder: &Holder, epoch: Epoch) -> Option<Lease> {
        let mut leases = self.lock();
        if leases.held.contains_key(name) || leases.newest >= Some(epoch) {
            return None;
        }
        leases.newest = Some(epoch);
        let tenure = Tenure { holder: holder.clone(), epoch };
        leases.held.insert(name.clone(), Held { tenure, until: Instant::now() + self.ttl });
        Some(Lease { name: name.clone(), holder: holder.clone(), epoch, revision: Revision(epoch.0) })
    }

    pub fn renew(&self, lease: &Lease) -> Option<Lease> {
        let mut leases = self.lock();
        let mine = leases.held.get_mut(&lease.name).filter(|held| held.tenure.epoch == lease.epoch)?;
        mine.until = Instant::now() + self.ttl;
        Some(lease.clone())
    }

    pub fn release(&self, lease: &Lease) {
        let mut leases = self.lock();
        if leases.held.get(&lease.name).is_some_and(|held| held.tenure.epoch == lease.epoch) {
            leases.held.remove(&lease.name);
        }
    }

    pub fn holder(&self, name: &Key) -> Option<Tenure> {
        self.lock().held.get(name).map(|held| held.tenure.clone())
    }

    /// The leases, without those that have expired.
    fn lock(&self) -> MutexGuard<'_, Leases> {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        leases.held.retain(|_, held| held.until > now);
        leases
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_that_was_overtaken_is_not_given() {
        let table = LeaseTable::new(Duration::from_secs(1));
        let (name, holder) = (Key::new("lease", ["a"]).unwrap(), Holder::new("a").unwrap());
        let later = table.acquire(&name, &holder, Epoch(6)).unwrap();
        table.release(&later);
        assert_eq!(table.acquire(&name, &holder, Epoch(5)), None);
        assert!(table.acquire(&name, &holder, Epoch(7)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_ends_with_its_time_and_not_before() {
        let table = LeaseTable::new(Duration::from_secs(10));
        let (name, holder) = (Key::new("lease", ["a"]).unwrap(), Holder::new("a").unwrap());
        let lease = table.acquire(&name, &holder, Epoch(1)).unwrap();
        tokio::time::advance(Duration::from_millis(9_999)).await;
        assert!(table.renew(&lease).is_some());
        tokio::time::advance(Duration::from_millis(9_999)).await;
        assert_eq!(table.holder(&name).map(|tenure| tenure.epoch), Some(Epoch(1)));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!((table.holder(&name), table.renew(&lease)), (None, None));
    }
}
