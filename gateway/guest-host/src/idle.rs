//! Instances of routes with `reuse = true` that wait for their next request.
//!
//! What reuse trades: requests of one route see the memory that earlier ones left behind, so that a guest can keep what is
//! dear to make, and can mix up what is not to be mixed. Never two at a time: an instance answers one request, then waits
//! here. One that failed in any way, was cut off, or has served [`REQUESTS_MAX`], does not come back. Instances that
//! wait hold slots others could use, so they go when somebody wants one, and after [`IDLE_MAX`].

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::instance::Instance;

/// Requests one instance answers before it is replaced.
pub const REQUESTS_MAX: u32 = 1_000;
/// Time an instance waits for its next request.
pub const IDLE_MAX: Duration = Duration::from_secs(10);
/// Host resources (streams, as a rule) an instance may hold on to between requests. With more of them it is replaced.
const RESOURCES_KEPT_MAX: usize = 32;

/// Which route an instance belongs to: unique in the process, so that no version of an app gets another's.
pub(crate) type RouteKey = u64;

/// All instances of the host that wait, the oldest first.
#[derive(Default)]
pub(crate) struct Idle(Mutex<VecDeque<Waiting>>);

struct Waiting {
    route: RouteKey,
    since: Instant,
    instance: Instance,
}

impl Idle {
    /// An instance of `route`, the one that came last: its memory is the warmest.
    pub fn take(&self, route: RouteKey) -> Option<Instance> {
        let mut waiting = self.lock();
        let at = waiting.iter().rposition(|waiting| waiting.route == route)?;
        waiting.remove(at).map(|waiting| waiting.instance)
    }

    /// Takes an instance back that has answered a request as it should.
    pub fn give(&self, route: RouteKey, mut instance: Instance) {
        if instance.served >= REQUESTS_MAX || instance.resources() > RESOURCES_KEPT_MAX {
            return;
        }
        self.lock().push_back(Waiting { route, since: Instant::now(), instance });
    }

    /// Drops the instance that has waited longest, for somebody who needs its slot. Says whether there was one.
    pub fn evict(&self) -> bool {
        let oldest = self.lock().pop_front();
        oldest.is_some()
    }

    /// Drops those that have waited for [`IDLE_MAX`]. Called now and then.
    pub fn expire(&self, now: Instant) {
        let mut waiting = self.lock();
        let expired = waiting.iter().take_while(|waiting| now.duration_since(waiting.since) >= IDLE_MAX).count();
        let gone: Vec<Waiting> = waiting.drain(..expired).collect();
        drop(waiting);
        // Outside the lock, for dropping an instance takes its time.
        drop(gone);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
