//! What a store holds and tells: values with revisions, and the events of a watch.

use std::fmt;

use bytes::Bytes;

use crate::error::StoreError;
use crate::key::Key;

/// The largest value of a record and of a message, in bytes: half of the 1 MiB that a NATS server takes by default.
pub const VALUE_BYTES_MAX: usize = 512 * 1024;

/// When a record was written, counted over the whole store: later writes have greater revisions, over restarts too. There may
/// be gaps. Only revisions of one key are to be compared between stores' operations; none is ever given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub key: Key,
    /// Its value, at most [`VALUE_BYTES_MAX`].
    pub value: Bytes,
    /// Its last write; what [`update`](crate::ControlStore::update) wants to see.
    pub revision: Revision,
}

/// What a watch tells. It begins with a snapshot; after a loss of the connection, and every few minutes, there is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Everything there is under the watched prefix: whatever else was told before is gone. [`Mirror`](crate::Mirror) keeps
    /// count of that.
    Snapshot(Vec<Entry>),
    /// A record was written. Of one that is written again and again, writings may be left out, but never the last one.
    Put(Entry),
    /// A record was removed.
    Deleted {
        /// Its name.
        key: Key,
        /// Greater than that of its last value.
        revision: Revision,
    },
    /// The store cannot be heard: what was told may be old. A snapshot follows as soon as it can.
    Interrupted {
        /// For people.
        reason: String,
    },
}

pub(crate) fn check_size(key: &Key, value: &Bytes) -> Result<(), StoreError> {
    if value.len() > VALUE_BYTES_MAX {
        return Err(StoreError::TooLarge { key: key.clone(), bytes: value.len() });
    }
    Ok(())
}
