//! What the fleet's control plane stands on: records with revisions that are written by compare-and-swap and watched, leases
//! with fencing epochs, and messages. It knows nothing of models or placement.
//!
//! - [`ControlStore`] and [`Leases`] are the contracts; [`EmbeddedStore`] keeps them within one process,
//!   [`NatsStore`] over NATS JetStream.
//! - [`Bus`] carries messages that nobody keeps; [`RamBus`] within one process, [`NatsBus`] over NATS.
//! - [`Election`] makes one of several processes the leader, by a lease.
//! - [`Mirror`] holds what a watch tells.
//!
//! The crate's README says what is guaranteed, and why a lease has one holder.

mod backoff;
mod bus;
pub mod election;
mod embedded;
mod entry;
mod error;
mod key;
mod mirror;
mod nats;
mod ram_bus;
mod store;

pub use bus::{Bus, BusFuture, Message, ReplyTo};
pub use election::{Election, Leadership, Role};
pub use embedded::{EmbeddedStore, FILE_NAME};
pub use entry::{Entry, Event, Revision, VALUE_BYTES_MAX};
pub use error::{BusError, Cause, StoreError};
pub use key::{KEY_BYTES_MAX, KEY_TOKENS_MAX, Key, KeyError, Prefix, Subject, Subjects};
pub use mirror::Mirror;
pub use nats::{Namespace, NatsBus, NatsOptions, NatsServers, NatsStore};
pub use ram_bus::RamBus;
pub use store::{ControlStore, Epoch, HOLDER_BYTES_MAX, Holder, Lease, Leases, StoreFuture, Tenure};
