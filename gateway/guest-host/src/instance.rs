//! One guest instance: its store, and the calls into it.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http_body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::Resource;
use wasmtime::{Engine, Store, UpdateDeadline, format_err};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};
use wasmtime_wasi_http::p3::bindings::{Service, ServicePre};

use crate::app::{App, AppRoute};
use crate::body::LimitedBody;
use crate::head::HeadSender;
use crate::service::{self, RequestP3};
use crate::state::{CONCURRENT_MAX, GuestState};

/// See [`Pre::turns_after_head`]. One is nearly always enough for an answer that is there as a whole.
const TURNS_AFTER_HEAD: usize = 4;

/// A component that is compiled and linked, by the version of `wasi:http` it answers.
#[derive(Clone)]
pub(crate) enum Pre {
    P2(ProxyPre<GuestState>),
    P3(ServicePre<GuestState>),
}

pub(crate) enum Guest {
    P2(Proxy),
    P3(Service),
}

impl Pre {
    fn engine(&self) -> &Engine {
        match self {
            Pre::P2(pre) => pre.engine(),
            Pre::P3(pre) => pre.engine(),
        }
    }

    /// How often a guest is polled again at once when its head is out, before it gets a task of its own. One of 0.2 that
    /// is not done then waits for somebody; in the event loop of one of 0.3, a body takes some turns from hand to hand.
    pub fn turns_after_head(&self) -> usize {
        match self {
            Pre::P2(_) => 0,
            Pre::P3(_) => TURNS_AFTER_HEAD,
        }
    }

    async fn instantiate(&self, store: &mut Store<GuestState>) -> wasmtime::Result<Guest> {
        Ok(match self {
            Pre::P2(pre) => Guest::P2(pre.instantiate_async(store).await?),
            Pre::P3(pre) => Guest::P3(pre.instantiate_async(store).await?),
        })
    }

    /// Makes an instance and drops it.
    pub async fn try_out(&self, store: &mut Store<GuestState>) -> wasmtime::Result<()> {
        self.instantiate(store).await.map(drop)
    }
}

/// A request as guests of one version of `wasi:http` see it, and the way for the head of its answer. Each version has a type of its
/// own: what runs a guest lives as long as it, and is no larger than it must be.
pub(crate) trait GuestRequest: Send + 'static {
    fn serve(self, store: &mut Store<GuestState>, guest: &Guest) -> impl Future<Output = wasmtime::Result<()>> + Send;
}

/// A request for a guest of 0.2: it is in the store's table already.
pub(crate) struct RequestP2 {
    request: Resource<HostIncomingRequest>,
    outparam: Resource<HostResponseOutparam>,
}

impl GuestRequest for RequestP2 {
    async fn serve(self, store: &mut Store<GuestState>, guest: &Guest) -> wasmtime::Result<()> {
        let Guest::P2(proxy) = guest else { return Err(other_version()) };
        proxy.wasi_http_incoming_handler().call_handle(store, self.request, self.outparam).await
    }
}

impl GuestRequest for RequestP3 {
    async fn serve(self, store: &mut Store<GuestState>, guest: &Guest) -> wasmtime::Result<()> {
        let Guest::P3(guest) = guest else { return Err(other_version()) };
        service::serve(store, guest, self).await
    }
}

/// Cannot be: requests and instances come from the same route, which has one component.
fn other_version() -> wasmtime::Error {
    format_err!("the request was made for another version of wasi:http than the instance")
}

/// An instance, or a store that is about to become one.
pub(crate) struct Instance {
    // Before the slot, which is free when the instance is gone.
    pub store: Store<GuestState>,
    guest: Option<Guest>,
    /// Requests it has answered.
    pub served: u32,
    _slot: InstanceSlot,
}

impl Instance {
    /// A store with the app's limits, its clock and its grants.
    pub fn new(route: &AppRoute, slot: InstanceSlot, request_id: Arc<str>, deadline: Instant) -> Self {
        Instance { store: store(route, request_id, deadline), guest: None, served: 0, _slot: slot }
    }

    /// Whether it has come so far that what goes wrong is the guest's own doing.
    pub fn started(&self) -> bool {
        self.guest.is_some()
    }

    /// What the host keeps for the guest: its resources, and the tasks and streams of one of 0.3.
    pub fn resources(&mut self) -> usize {
        let concurrent = self.store.concurrent_resource_table().map_or(0, |table| table.iter_mut().count());
        self.store.data_mut().resources().saturating_add(concurrent)
    }

    /// Turns a request into one for a guest of 0.2.
    pub fn request_p2<B>(
        &mut self,
        request: http::Request<LimitedBody<B>>,
        head: HeadSender,
    ) -> wasmtime::Result<RequestP2>
    where
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: std::fmt::Display,
    {
        let mut http = self.store.data_mut().http();
        let request = http.new_incoming_request(Scheme::Http, request)?;
        let send = Box::new(|value| head.send(value));
        Ok(RequestP2 { request, outparam: http.table.push(HostResponseOutparam { send })? })
    }

    /// Turns a request into one for a guest of 0.3.
    pub fn request_p3<B>(&mut self, request: http::Request<LimitedBody<B>>, head: HeadSender) -> RequestP3
    where
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: std::fmt::Display,
    {
        RequestP3::new(self.store.data_mut().http().hooks, request, head)
    }

    /// Runs the guest on a request until it is done with it.
    pub async fn serve(&mut self, route: &AppRoute, request: impl GuestRequest) -> wasmtime::Result<()> {
        let guest = match &mut self.guest {
            Some(guest) => guest,
            none => none.insert(route.pre.instantiate(&mut self.store).await?),
        };
        request.serve(&mut self.store, guest).await?;
        self.served = self.served.saturating_add(1);
        Ok(())
    }
}

pub(crate) fn store(route: &AppRoute, request_id: Arc<str>, deadline: Instant) -> Store<GuestState> {
    let state = GuestState::new(route.app.clone(), route.models.clone(), request_id, deadline);
    let mut store = Store::new(route.pre.engine(), state);
    if let Some(concurrent) = store.concurrent_resource_table() {
        concurrent.set_max_capacity(CONCURRENT_MAX);
    }
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
