//! Bytes in use, counted as they come and go, and the quota over them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Store, StoreError};

/// How full the store is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Blobs, manifests, unfinished uploads, and what running uploads have set aside.
    pub used_bytes: u64,
    /// The operator's limit for those.
    pub quota_bytes: u64,
    /// What the disk has left.
    pub disk_free_bytes: u64,
}

/// Counts bytes against a limit. Counted once when the store opens, then kept by those who add and remove.
#[derive(Debug)]
pub(super) struct Ledger {
    limit: u64,
    used: AtomicU64,
}

impl Ledger {
    pub(super) fn new(limit: u64, used: u64) -> Self {
        Ledger { limit, used: AtomicU64::new(used) }
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, needed: u64) -> Result<(), StoreError> {
        if needed == 0 {
            return Ok(());
        }
        let fits = |used: u64| used.checked_add(needed).filter(|after| *after <= self.limit);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .map(drop)
            .map_err(|used| StoreError::QuotaExceeded { limit: self.limit, used, needed })
    }

    pub(super) fn release(&self, bytes: u64) {
        // Saturating: a file somebody put there by hand was never counted.
        let less = |used: u64| Some(used.saturating_sub(bytes));
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

/// Bytes set aside for something about to be written; given back when dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    store: Store,
    bytes: u64,
}

impl Reservation {
    pub(super) fn new(store: Store, bytes: u64) -> Result<Self, StoreError> {
        store.0.ledger.take(bytes)?;
        Ok(Reservation { store, bytes })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Joins another reservation of the same store to this one.
    pub(super) fn add(&mut self, mut other: Reservation) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Counts `bytes` of it as written: from now on a file stands for them.
    pub(super) fn spend(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.store.0.ledger.release(self.bytes);
    }
}
