//! What the tests stand on: real nats-server processes, places where stores are opened, and waiting for events.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use headland_control_store::{Bus, ControlStore, EmbeddedStore, NatsOptions, NatsStore, RamBus};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

pub mod cut;
pub mod nats;

pub use cut::Cut;
pub use nats::NatsServer;

/// Leases of the tests: short, and long enough that a busy machine renews them in time.
pub const TTL: Duration = Duration::from_secs(2);
/// How long anything may take that is to happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Where a store is. It may be opened several times; all see the same records.
pub trait Place: Send + Sync {
    /// Another way in, as another process would have.
    fn open(&self) -> BoxFuture<'_, Arc<dyn ControlStore>>;
    /// A way to the bus beside it.
    fn bus(&self) -> BoxFuture<'_, Arc<dyn Bus>>;
}

pub struct Embedded {
    store: EmbeddedStore,
    bus: RamBus,
    _folder: TempDir,
}

impl Embedded {
    pub async fn begin() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(folder.path(), TTL).await.unwrap();
        Some(Self { store, bus: RamBus::default(), _folder: folder })
    }
}

impl Place for Embedded {
    fn open(&self) -> BoxFuture<'_, Arc<dyn ControlStore>> {
        let store: Arc<dyn ControlStore> = Arc::new(self.store.clone());
        Box::pin(async { store })
    }

    fn bus(&self) -> BoxFuture<'_, Arc<dyn Bus>> {
        let bus: Arc<dyn Bus> = Arc::new(self.bus.clone());
        Box::pin(async { bus })
    }
}

pub struct Nats {
    pub server: NatsServer,
}

impl Nats {
    /// None where there is no nats-server.
    pub async fn begin() -> Option<Self> {
        nats::is_installed().then(|| Self { server: NatsServer::start() })
    }

    pub async fn store(&self) -> NatsStore {
        let store = NatsStore::connect(options(&self.server.url())).await.unwrap();
        store.prepare().await.unwrap();
        store
    }
}

impl Place for Nats {
    fn open(&self) -> BoxFuture<'_, Arc<dyn ControlStore>> {
        Box::pin(async { Arc::new(self.store().await) as Arc<dyn ControlStore> })
    }

    fn bus(&self) -> BoxFuture<'_, Arc<dyn Bus>> {
        Box::pin(async { Arc::new(self.store().await.bus()) as Arc<dyn Bus> })
    }
}

pub fn options(url: &str) -> NatsOptions {
    NatsOptions {
        lease_ttl: TTL,
        reconnect_delay_max: Duration::from_millis(200),
        ..NatsOptions::new(url.parse().unwrap())
    }
}

/// Asks again and again until the answer is there.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, question: impl FnMut() -> F) -> T {
    within(PATIENCE, what, question).await
}

/// The same, with its own patience.
pub async fn within<T, F: Future<Output = Option<T>>>(
    patience: Duration,
    what: &str,
    mut question: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = question().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Waits for what has to come.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}
