//! The two contracts that the control plane is written against: records with revisions, and leases.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use crate::entry::{Entry, Event, Revision};
use crate::error::StoreError;
use crate::key::{Key, Prefix};

/// The longest name of a holder, in bytes.
pub const HOLDER_BYTES_MAX: usize = 256;

/// What an operation of a store answers.
pub type StoreFuture<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// Records by key, each with the revision of its last write, and a way to follow them.
///
/// One conformance suite (`tests/conformance.rs`) holds every store to what is said here. Futures may be dropped at any time;
/// a write that was under way then may or may not happen.
pub trait ControlStore: Leases {
    /// The record, as it was last acknowledged to any writer.
    fn get<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Option<Entry>>;

    /// All records under a prefix, by rendered key. Each is as [`get`](Self::get) would give it; they are not of one instant.
    fn list<'a>(&'a self, prefix: &'a Prefix) -> StoreFuture<'a, Vec<Entry>>;

    /// Writes a record that is not there, or fails with [`StoreError::Exists`]. A deleted one may be created again.
    fn create<'a>(&'a self, key: &'a Key, value: Bytes) -> StoreFuture<'a, Revision>;

    /// Replaces a record if it is at this revision still, or fails with [`StoreError::Conflict`].
    fn update<'a>(&'a self, key: &'a Key, value: Bytes, seen: Revision) -> StoreFuture<'a, Revision>;

    /// Removes a record: with a revision only if it is at that one, else [`StoreError::Conflict`]; without, whatever it is,
    /// and it is fine if it is not there.
    fn delete<'a>(&'a self, key: &'a Key, seen: Option<Revision>) -> StoreFuture<'a, ()>;

    /// Follows a prefix for as long as the stream is kept; it ends with the store alone. Changes come in the order of their
    /// revisions.
    fn watch(&self, prefix: Prefix) -> BoxStream<'static, Event>;
}

/// Leases: names that one holder has at a time, for a bounded time.
pub trait Leases: Send + Sync {
    /// How long a lease lasts after it was acquired or renewed, by the store's clock. It is the store's, for all leases.
    fn lease_ttl(&self) -> Duration;

    /// Takes the lease, or nothing if anybody has it: a former self of the same name too, for it may still run.
    fn acquire<'a>(&'a self, name: &'a Key, holder: &'a Holder) -> StoreFuture<'a, Option<Lease>>;

    /// Prolongs it by [`lease_ttl`](Self::lease_ttl) from now, or nothing if it has been lost. Errors leave it open.
    fn renew<'a>(&'a self, lease: &'a Lease) -> StoreFuture<'a, Option<Lease>>;

    /// Gives it up, so that others need not wait for its end. Fine if it has been lost.
    fn release<'a>(&'a self, lease: &'a Lease) -> StoreFuture<'a, ()>;

    /// Who has it.
    fn holder<'a>(&'a self, name: &'a Key) -> StoreFuture<'a, Option<Tenure>>;
}

/// Counts the acquisitions of leases: each is greater than all before it. Whoever is written to refuses writes of an epoch
/// older than the newest it has seen, which shuts out a holder that does not know yet that it lost its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who asks for a lease; for people to read. At most [`HOLDER_BYTES_MAX`] bytes, without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Holder(Box<str>);

impl Holder {
    /// The holder of this name.
    pub fn new(name: &str) -> Result<Self, StoreError> {
        let fits = !name.is_empty() && name.len() <= HOLDER_BYTES_MAX && !name.chars().any(char::is_control);
        fits.then(|| Self(name.into())).ok_or_else(|| StoreError::Misconfigured {
            what: format!("{name:?} cannot hold a lease"),
            remedy: format!("name it with 1 to {HOLDER_BYTES_MAX} bytes and without control characters"),
        })
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A lease that was acquired, as its holder knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its name.
    pub name: Key,
    /// Who has it.
    pub holder: Holder,
    /// When it was acquired; renewals do not change it.
    pub epoch: Epoch,
    /// Its last write.
    pub revision: Revision,
}

/// A lease, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenure {
    /// Who has it.
    pub holder: Holder,
    /// Since when.
    pub epoch: Epoch,
}
