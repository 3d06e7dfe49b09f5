//! Memory for models, by device: who takes how much, and who has to go to make room.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headland_nn_core::Device;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// A model that was asked for more recently is not put out to make room: two models that do not fit together would take
/// turns at being loaded.
pub const IDLE_MIN: Duration = Duration::from_secs(1);

/// The memory that models may take on each device. A device without a limit has none.
#[derive(Debug, Default)]
pub struct Budget {
    accounts: Mutex<BTreeMap<Device, Account>>,
    freed: Notify,
}

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    limit: Option<u64>,
    used: u64,
}

/// What does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{needed} bytes are needed on {device}, where models take {used} of {limit}")]
pub struct Shortage {
    /// Where.
    pub device: Device,
    /// Bytes asked for.
    pub needed: u64,
    /// Bytes models take already.
    pub used: u64,
    /// Bytes they may take.
    pub limit: u64,
}

impl Shortage {
    /// Bytes that would have to become free.
    pub fn missing(&self) -> u64 {
        self.used.saturating_add(self.needed).saturating_sub(self.limit)
    }

    /// Whether no model but this one would fit it either.
    pub fn is_hopeless(&self) -> bool {
        self.needed > self.limit
    }
}

/// Memory set aside; given back on drop.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    device: Device,
    bytes: Mutex<u64>,
}

impl Budget {
    /// A budget with these limits in bytes.
    pub fn new(limits: impl IntoIterator<Item = (Device, u64)>) -> Arc<Self> {
        let account = |limit| Account { limit: Some(limit), used: 0 };
        let accounts = limits.into_iter().map(|(device, limit)| (device, account(limit))).collect();
        Arc::new(Budget { accounts: Mutex::new(accounts), freed: Notify::new() })
    }

    /// Sets `bytes` of `device` aside.
    ///
    /// # Errors
    /// [`Shortage`] when they would go over its limit.
    pub fn reserve(self: &Arc<Self>, device: Device, bytes: u64) -> Result<Reservation, Shortage> {
        let mut accounts = self.accounts();
        let account = accounts.entry(device).or_default();
        let used = account.used.saturating_add(bytes);
        if let Some(limit) = account.limit.filter(|&limit| used > limit) {
            return Err(Shortage { device, needed: bytes, used: account.used, limit });
        }
        account.used = used;
        Ok(Reservation { budget: self.clone(), device, bytes: Mutex::new(bytes) })
    }

    /// Bytes taken and allowed on each device that has either.
    pub fn usage(&self) -> Vec<(Device, u64, Option<u64>)> {
        self.accounts().iter().map(|(device, account)| (*device, account.used, account.limit)).collect()
    }

    /// Waits until something is given back; enable it before looking, so that nothing is missed.
    pub fn freed(&self) -> Notified<'_> {
        self.freed.notified()
    }

    fn accounts(&self) -> MutexGuard<'_, BTreeMap<Device, Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, device: Device, from: u64, to: u64) {
        if let Some(account) = self.accounts().get_mut(&device) {
            account.used = account.used.saturating_sub(from).saturating_add(to);
        }
        if to < from {
            self.freed.notify_waiters();
        }
    }
}

impl Reservation {
    /// Corrects an estimate by what it came to, even if that is more than was free: the memory is taken already.
    pub fn correct(&self, bytes: u64) {
        let mut reserved = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        self.budget.change(self.device, *reserved, bytes);
        *reserved = bytes;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.correct(0);
    }
}

/// A loaded model, as far as making room is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Memory it would give back, in bytes.
    pub bytes: u64,
    /// How long nobody has asked for it.
    pub idle: Duration,
    /// Whether somebody is using it, or an operator wants it to stay.
    pub stays: bool,
}

/// Which of `candidates` to put out so that at least `missing` bytes become free: those that were idle for longest, and no
/// more than needed. `None` when even all that may go are not enough, and then none should.
pub fn choose(missing: u64, candidates: &[Candidate]) -> Option<Vec<usize>> {
    let mut may_go: Vec<usize> =
        (0..candidates.len()).filter(|&index| !candidates[index].stays && candidates[index].idle >= IDLE_MIN).collect();
    may_go.sort_by_key(|&index| std::cmp::Reverse(candidates[index].idle));
    let mut freed = 0u64;
    let mut chosen = Vec::new();
    for index in may_go {
        if freed >= missing {
            break;
        }
        freed = freed.saturating_add(candidates[index].bytes);
        chosen.push(index);
    }
    // What a later, larger one frees alone need not be freed by the earlier, smaller ones.
    let mut spare = freed.checked_sub(missing)?;
    chosen.retain(|&index| {
        let needless = candidates[index].bytes <= spare;
        if needless {
            spare -= candidates[index].bytes;
        }
        !needless
    });
    Some(chosen)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn memory_is_given_back_and_never_promised_twice() {
        let budget = Budget::new([(Device::Cpu, 100)]);
        let first = budget.reserve(Device::Cpu, 60).unwrap();
        let shortage = budget.reserve(Device::Cpu, 50).unwrap_err();
        assert_eq!((shortage.missing(), shortage.is_hopeless()), (10, false));
        assert_eq!(shortage.to_string(), "50 bytes are needed on cpu, where models take 60 of 100");
        first.correct(30);
        let second = budget.reserve(Device::Cpu, 50).unwrap();
        drop((first, second));
        assert_eq!(budget.usage(), [(Device::Cpu, 0, Some(100))]);
        assert!(budget.reserve(Device::Cpu, 101).unwrap_err().is_hopeless());
        assert!(budget.reserve(Device::Cuda(3), u64::MAX).is_ok(), "a device without a limit has none");
    }

    #[tokio::test]
    async fn who_waits_for_memory_is_woken_when_some_is_given_back() {
        let budget = Budget::new([(Device::Cpu, 100)]);
        let taken = budget.reserve(Device::Cpu, 100).unwrap();
        let freed = budget.freed();
        tokio::pin!(freed);
        freed.as_mut().enable();
        drop(taken);
        freed.await;
    }

    fn candidate(bytes: u64, idle_s: u64, stays: bool) -> Candidate {
        Candidate { bytes, idle: Duration::from_secs(idle_s), stays }
    }

    #[test]
    fn the_longest_idle_go_first_and_no_more_than_needed() {
        let candidates = [candidate(10, 5, false), candidate(10, 9, false), candidate(10, 99, true)];
        assert_eq!(choose(10, &candidates), Some(vec![1]));
        assert_eq!(choose(11, &candidates), Some(vec![1, 0]));
        assert_eq!(choose(21, &candidates), None);
        assert_eq!(choose(0, &candidates), Some(vec![]));
        assert_eq!(choose(50, &[candidate(5, 9, false), candidate(50, 5, false)]), Some(vec![1]));
        assert_eq!(choose(1, &[candidate(5, 0, false)]), None, "just asked for");
    }

    proptest! {
        #[test]
        fn what_is_chosen_may_go_is_enough_and_each_is_needed(
            missing in 0u64..200,
            raw in prop::collection::vec((0u64..100, 0u64..20, any::<bool>()), 0..12),
        ) {
            let candidates: Vec<_> = raw.iter().map(|&(bytes, idle, stays)| candidate(bytes, idle, stays)).collect();
            let may_go = |c: &&Candidate| !c.stays && c.idle >= IDLE_MIN;
            let most: u64 = candidates.iter().filter(may_go).map(|c| c.bytes).sum();
            match choose(missing, &candidates) {
                None => prop_assert!(most < missing),
                Some(chosen) => {
                    prop_assert!(chosen.iter().all(|&index| may_go(&&candidates[index])));
                    let freed: u64 = chosen.iter().map(|&index| candidates[index].bytes).sum();
                    prop_assert!(freed >= missing);
                    prop_assert!(chosen.iter().all(|&index| freed - candidates[index].bytes < missing));
                }
            }
        }
    }
}
