//! One guest instance: its store, and the calls into it.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http_body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::Proxy;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::types::HostResponseOutparam;

use crate::app::{App, AppRoute};
use crate::body::LimitedBody;
use crate::state::GuestState;

/// An instance, or a store that is about to become one.
pub(crate) struct Instance {
    // Before the slot, which is free when the instance is gone.
    pub store: Store<GuestState>,
    proxy: Option<Proxy>,
    /// Requests it has answered.
    pub served: u32,
    _slot: InstanceSlot,
}

impl Instance {
    /// A store with the app's limits, its clock and its grants.
    pub fn new(route: &AppRoute, slot: InstanceSlot, request_id: Arc<str>, deadline: Instant) -> Self {
        Instance { store: store(route, request_id, deadline), proxy: None, served: 0, _slot: slot }
    }

    /// Whether it has come so far that what goes wrong is the guest's own doing.
    pub fn started(&self) -> bool {
        self.proxy.is_some()
    }

    /// Runs the guest on a request until it returns.
    pub async fn serve<B>(
        &mut self,
        route: &AppRoute,
        request: http::Request<LimitedBody<B>>,
        outparam: HostResponseOutparam,
    ) -> wasmtime::Result<()>
    where
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: std::fmt::Display,
    {
        let mut http = self.store.data_mut().http();
        let request = http.new_incoming_request(Scheme::Http, request)?;
        let outparam = http.table.push(outparam)?;
        let proxy = match &mut self.proxy {
            Some(proxy) => proxy,
            none => none.insert(route.pre.instantiate_async(&mut self.store).await?),
        };
        proxy.wasi_http_incoming_handler().call_handle(&mut self.store, request, outparam).await?;
        self.served = self.served.saturating_add(1);
        Ok(())
    }
}

pub(crate) fn store(route: &AppRoute, request_id: Arc<str>, deadline: Instant) -> Store<GuestState> {
    let state = GuestState::new(route.app.clone(), route.models.clone(), request_id, deadline);
    let mut store = Store::new(route.pre.engine(), state);
    store.limiter(|state| &mut state.memory);
    store.set_epoch_deadline(1);
    // At every tick others get their turn; the deadline itself is a timeout around the whole run.
    store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
    store
}

/// One of the instances that the app and the host may have alive, for as long as it lives.
pub(crate) struct InstanceSlot {
    app: Arc<App>,
    _of_host: OwnedSemaphorePermit,
}

impl InstanceSlot {
    /// A slot, if both have one left. The app's own limit counts what earlier versions of it still run.
    pub fn take(app: &Arc<App>, host: &Arc<Semaphore>) -> Option<Self> {
        let of_host = host.clone().try_acquire_owned().ok()?;
        app.stats.instance_starts(app.limits.instances).then(|| InstanceSlot { app: app.clone(), _of_host: of_host })
    }
}

impl Drop for InstanceSlot {
    fn drop(&mut self) {
        self.app.stats.instance_ended();
    }
}
