//! The store of a fleet: NATS JetStream, one server or a cluster.
//!
//! Records are messages of a stream that is laid out as a NATS key-value bucket; their sequence numbers are the revisions.
//! Reads go to the stream's leader, never to a follower; revisions come from acknowledgements, from those reads and from
//! consumers. The README beside says which traps of which versions this goes around.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::stream::BoxStream;
use tokio::sync::OnceCell;

use crate::entry::{Entry, Event, Revision, check_size};
use crate::error::StoreError;
use crate::key::{Key, Prefix};
use crate::store::{ControlStore, Holder, Lease, Leases, StoreFuture, Tenure};

mod bucket;
mod bus;
mod connection;
mod leases;
mod options;
mod records;
mod tls;
mod watch;

use bucket::{Bucket, Layout};
use connection::Connection;
use leases::LeaseRecords;
use records::Records;

pub use bus::NatsBus;
pub use options::{Namespace, NatsOptions, NatsServers};

/// Records, leases and watches over NATS.
pub struct NatsStore {
    options: NatsOptions,
    connection: Connection,
    records: Records,
    leases: LeaseRecords,
    prepared: OnceCell<()>,
}

impl NatsStore {
    /// Begins to connect, and goes on with it in the background for as long as this or a watch lives. A server that is away
    /// is no error here: a PoP starts without one. Fails for options that cannot be used.
    pub async fn connect(options: NatsOptions) -> Result<Self, StoreError> {
        options.check()?;
        let connection = Connection::start(&options).await?;
        let bucket = |what: &str| Bucket::new(format!("{}-{what}", options.namespace.as_str()));
        let records = Records::open(connection.clone(), bucket("state")).await?;
        let leases = LeaseRecords(Records::open(connection.clone(), bucket("leases")).await?);
        Ok(Self { options, connection, records, leases, prepared: OnceCell::new() })
    }

    /// Makes the buckets where they are missing, and checks those that are there. Only controls do so, once, when they begin;
    /// nobody makes them anew while running, so that a server that lost its disk is not taken for an empty fleet.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        let prepare = || async {
            let (replicas, history) = (self.options.replicas, self.options.history);
            self.records.bucket.prepare(&self.connection, &Layout { replicas, history, max_age: None }).await?;
            let leases = Layout { replicas, history: 1, max_age: Some(self.options.lease_ttl) };
            self.leases.0.bucket.prepare(&self.connection, &leases).await
        };
        self.prepared.get_or_try_init(prepare).await.copied()
    }

    /// The bus over the same connection.
    pub fn bus(&self) -> NatsBus {
        NatsBus::new(self.connection.clone(), &self.options.namespace)
    }

    /// Whether there is a connection now.
    pub fn is_connected(&self) -> bool {
        self.connection.is_connected()
    }
}

impl ControlStore for NatsStore {
    fn get<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Option<Entry>> {
        self.records.get(key).boxed()
    }

    fn list<'a>(&'a self, prefix: &'a Prefix) -> StoreFuture<'a, Vec<Entry>> {
        async move { Ok(self.records.read(prefix, self.connection.deadline()).await?.entries) }.boxed()
    }

    fn create<'a>(&'a self, key: &'a Key, value: Bytes) -> StoreFuture<'a, Revision> {
        async move {
            check_size(key, &value)?;
            self.records.create(key, value).await
        }
        .boxed()
    }

    fn update<'a>(&'a self, key: &'a Key, value: Bytes, seen: Revision) -> StoreFuture<'a, Revision> {
        async move {
            check_size(key, &value)?;
            self.records.update(key, value, seen).await
        }
        .boxed()
    }

    fn delete<'a>(&'a self, key: &'a Key, seen: Option<Revision>) -> StoreFuture<'a, ()> {
        self.records.delete(key, seen).boxed()
    }

    fn watch(&self, prefix: Prefix) -> BoxStream<'static, Event> {
        watch::watch(self.records.clone(), prefix, self.options.refresh_every)
    }
}

impl Leases for NatsStore {
    fn lease_ttl(&self) -> Duration {
        self.options.lease_ttl
    }

    fn acquire<'a>(&'a self, name: &'a Key, holder: &'a Holder) -> StoreFuture<'a, Option<Lease>> {
        async move {
            // A bucket with another lifetime would let two hold it.
            self.prepare().await?;
            self.leases.acquire(name, holder).await
        }
        .boxed()
    }

    fn renew<'a>(&'a self, lease: &'a Lease) -> StoreFuture<'a, Option<Lease>> {
        self.leases.renew(lease).boxed()
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> StoreFuture<'a, ()> {
        self.leases.release(lease).boxed()
    }

    fn holder<'a>(&'a self, name: &'a Key) -> StoreFuture<'a, Option<Tenure>> {
        self.leases.holder(name).boxed()
    }
}
