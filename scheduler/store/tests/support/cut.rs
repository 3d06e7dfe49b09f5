//! A way to a store's leases that can be cut: questions then stay without an answer.

use std::sync::Arc;
use std::time::Duration;

use headland_control_store::{ControlStore, Holder, Key, Lease, Leases, StoreFuture, Tenure};
use tokio::sync::watch;

pub struct Cut {
    store: Arc<dyn ControlStore>,
    is_cut: watch::Sender<bool>,
}

impl Cut {
    pub fn new(store: Arc<dyn ControlStore>) -> Arc<Self> {
        Arc::new(Self { store, is_cut: watch::channel(false).0 })
    }

    pub fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    pub fn mend(&self) {
        self.is_cut.send_replace(false);
    }

    fn pass<'a, T: Send + 'a>(
        &'a self,
        question: impl FnOnce() -> StoreFuture<'a, T> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        Box::pin(async move {
            let mut is_cut = self.is_cut.subscribe();
            is_cut.wait_for(|is_cut| !is_cut).await.expect("the sender is ours");
            question().await
        })
    }
}

impl Leases for Cut {
    fn lease_ttl(&self) -> Duration {
        self.store.lease_ttl()
    }

    fn acquire<'a>(&'a self, name: &'a Key, holder: &'a Holder) -> StoreFuture<'a, Option<Lease>> {
        self.pass(move || self.store.acquire(name, holder))
    }

    fn renew<'a>(&'a self, lease: &'a Lease) -> StoreFuture<'a, Option<Lease>> {
        self.pass(move || self.store.renew(lease))
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> StoreFuture<'a, ()> {
        self.pass(move || self.store.release(lease))
    }

    fn holder<'a>(&'a self, name: &'a Key) -> StoreFuture<'a, Option<Tenure>> {
        self.pass(move || self.store.holder(name))
    }
}
