//! One request through one fresh guest instance.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use headland_wasi_nn_host::WasiNnCtx;
use http::header::{CONTENT_LENGTH, HOST, HeaderValue};
use http_body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use wasmtime::{PoolConcurrencyLimitError, Store, UpdateDeadline, format_err};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::p2::types::HostResponseOutparam;

use crate::app::{App, AppRoute};
use crate::body::{GuestBody, LimitedBody};
use crate::error::GuestError;
use crate::state::GuestState;
use crate::stats::Outcome;
use crate::stdio::{LogStream, Stream};

/// Random bytes a guest may ask for in one call: making them cannot be interrupted.
const RANDOM_BYTES_MAX: u64 = 256 << 10;

/// What the host knows of a request beside the request itself.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// Its id, for logs.
    pub request_id: Arc<str>,
}

type Head = Result<http::Response<HyperOutgoingBody>, ErrorCode>;
type Running = Pin<Box<dyn Future<Output = Result<(), GuestError>> + Send>>;

impl AppRoute {
    /// Runs the guest on `request`. Returns when the response's head is there; its body streams from then on.
    ///
    /// Dropping the future, or the body before its end, stops the guest.
    ///
    /// # Errors
    /// [`GuestError`]; the host is well after each of them.
    pub async fn handle<B>(
        &self,
        request: http::Request<B>,
        context: RequestContext,
    ) -> Result<http::Response<GuestBody>, GuestError>
    where
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: std::fmt::Display,
    {
        let mut outcome = CountOutcome { app: &self.app, outcome: Outcome::Canceled };
        let result = self.run(request, context).await;
        outcome.outcome = Outcome::of(&result);
        result
    }

    /// Makes an instance as a request would, and drops it. For warming up, and for measuring what an instance costs.
    ///
    /// # Errors
    /// When the component does not start, or the pool is full.
    pub async fn instantiate(&self) -> wasmtime::Result<()> {
        let context = RequestContext { request_id: "warm-up".into() };
        let deadline = self.deadline();
        let mut store = self.store(&context, deadline);
        match tokio::time::timeout_at(deadline.into(), self.pre.instantiate_async(&mut store)).await {
            Ok(proxy) => proxy.map(drop),
            Err(_) => Err(format_err!("it took longer than its deadline of {} ms", self.app.limits.deadline_ms)),
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.app.limits.deadline_ms)
    }

    /// A store with the app's limits, its clock and its grants.
    fn store(&self, context: &RequestContext, deadline: Instant) -> Store<GuestState> {
        let mut store = Store::new(self.pre.engine(), state(&self.app, context, self.models.clone(), deadline));
        store.limiter(|state| &mut state.memory);
        store.set_epoch_deadline(1);
        // At every tick others get their turn; the deadline itself is a timeout around the whole run.
        store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
        store
    }

    async fn run<B>(
        &self,
        mut request: http::Request<B>,
        context: RequestContext,
    ) -> Result<http::Response<GuestBody>, GuestError>
    where
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: std::fmt::Display,
    {
        let limits = self.app.limits;
        let too_large = || GuestError::BodyTooLarge { limit: limits.body };
        if request.body().size_hint().lower() > limits.body.0 {
            return Err(too_large());
        }
        let slot = InstanceSlot::take(&self.app, &self.instances).ok_or(GuestError::Overloaded)?;
        if !request.headers().contains_key(HOST) && request.uri().authority().is_none() {
            // HTTP/1.0 has no Host, and wasi:http cannot do without an authority.
            request.headers_mut().insert(HOST, HeaderValue::from_static("localhost"));
        }
        let (parts, body) = request.into_parts();
        let (body, exceeded) = LimitedBody::new(body, limits.body.0);
        let (head, response) = oneshot::channel();
        let failed = Arc::new(AtomicBool::new(false));
        let guest = self.guest(http::Request::from_parts(parts, body), head, context, slot, failed.clone());
        let response = first_of(guest, response).await.map(|(head, task)| {
            let content_length = content_length(&head);
            head.map(|body| GuestBody::new(body, task, failed, content_length))
        });
        // What the guest made of a body it could not read is beside the point; dropping its response stops it.
        if exceeded.load(Relaxed) { Err(too_large()) } else { response }
    }

    /// The guest's whole run, within its deadline. Boxed, so that it can start on the connection's task and move to
    /// its own when the response outlives the call.
    fn guest<B>(
        &self,
        request: http::Request<LimitedBody<B>>,
        head: oneshot::Sender<Head>,
        context: RequestContext,
        slot: InstanceSlot,
        failed: Arc<AtomicBool>,
    ) -> Running
    where
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: std::fmt::Display,
    {
        let (app, pre, deadline) = (self.app.clone(), self.pre.clone(), self.deadline());
        let deadline_ms = app.limits.deadline_ms;
        let store = self.store(&context, deadline);
        Box::pin(async move {
            // Declared before the store, so that it outlives it: the slot is free when the instance is gone.
            let _slot = slot;
            let mut store = store;
            let head_sent = Arc::new(AtomicBool::new(false));
            let mut started = false;
            let run = async {
                let mut http = store.data_mut().http();
                let request = http.new_incoming_request(Scheme::Http, request)?;
                let outparam = http.table.push(outparam(head, head_sent.clone()))?;
                let proxy = pre.instantiate_async(&mut store).await?;
                started = true;
                proxy.wasi_http_incoming_handler().call_handle(&mut store, request, outparam).await
            };
            let result = tokio::time::timeout_at(deadline.into(), run).await;
            store.data_mut().abort_unfinished_bodies();
            let error = match result {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => {
                    let refused = store.data().memory.refused;
                    tracing::warn!(
                        target: "guest",
                        app = &*app.name,
                        request_id = &*context.request_id,
                        memory_limit = refused,
                        error = ?format!("{error:#}"),
                        "guest failed"
                    );
                    if refused {
                        GuestError::MemoryLimit { limit: app.limits.memory }
                    } else if started {
                        GuestError::Trapped
                    } else if error.is::<PoolConcurrencyLimitError>() {
                        // Components of many core modules can fill the pool before its slots are all taken.
                        GuestError::Overloaded
                    } else {
                        GuestError::Internal
                    }
                }
                Err(_) => {
                    tracing::warn!(
                        target: "guest",
                        app = &*app.name,
                        request_id = &*context.request_id,
                        deadline_ms,
                        "guest stopped at its deadline"
                    );
                    GuestError::DeadlineExceeded { deadline_ms }
                }
            };
            // Before the store goes, and with it the guest's end of the body.
            failed.store(true, Relaxed);
            if head_sent.load(Relaxed) {
                app.stats.count_cut_off();
            }
            Err(error)
        })
    }
}

type Started = (http::Response<HyperOutgoingBody>, Option<tokio::task::AbortHandle>);

/// Runs the guest on the calling task until the response's head is there, and the rest of it, if any, on a task of its
/// own: most guests are done by then, and cost no task at all.
async fn first_of(mut guest: Running, mut response: oneshot::Receiver<Head>) -> Result<Started, GuestError> {
    tokio::select! {
        biased;
        ended = &mut guest => match response.try_recv() {
            // A head that was set counts, even if the guest failed after it: the broken body tells the client.
            Ok(head) => Ok((answered(head)?, None)),
            Err(_) => Err(ended.err().unwrap_or(GuestError::NoResponse)),
        },
        head = &mut response => match head {
            Ok(head) => {
                let head = answered(head)?;
                let rest = tokio::spawn(guest);
                Ok((head, Some(rest.abort_handle())))
            }
            // The outparam was dropped unset; how the guest ends says why.
            Err(_) => Err(guest.await.err().unwrap_or(GuestError::NoResponse)),
        },
    }
}

fn answered(head: Head) -> Result<http::Response<HyperOutgoingBody>, GuestError> {
    head.map_err(|code| GuestError::ErrorCode { code: format!("{code:?}") })
}

/// Passes the head on and notes that it has gone out.
fn outparam(head: oneshot::Sender<Head>, sent: Arc<AtomicBool>) -> HostResponseOutparam {
    HostResponseOutparam {
        send: Box::new(move |value| {
            sent.store(true, Relaxed);
            // Nobody listens when the client has gone; the guest is about to be stopped then.
            let _ = head.send(value);
        }),
    }
}

fn state(
    app: &App,
    context: &RequestContext,
    models: Arc<headland_batcher::ModelTable>,
    deadline: Instant,
) -> GuestState {
    let log = |stream| LogStream::new(stream, app.name.clone(), context.request_id.clone());
    let wasi = WasiCtxBuilder::new()
        .envs(&app.env)
        .stdout(log(Stream::Stdout))
        .stderr(log(Stream::Stderr))
        .max_random_size(RANDOM_BYTES_MAX)
        .build();
    let memory_bytes_max = usize::try_from(app.limits.memory.0).unwrap_or(usize::MAX);
    let request_id = context.request_id.clone();
    let nn = WasiNnCtx::new(models, app.grants.clone(), request_id, Some(deadline), memory_bytes_max);
    GuestState::new(wasi, nn, app.outbound.clone(), memory_bytes_max)
}

fn content_length<B>(head: &http::Response<B>) -> Option<u64> {
    head.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Counts how a request ended, also when its future is dropped because the client has gone.
struct CountOutcome<'a> {
    app: &'a App,
    outcome: Outcome,
}

impl Drop for CountOutcome<'_> {
    fn drop(&mut self) {
        self.app.stats.count(self.outcome);
    }
}

/// One of the instances that the app and the host may have alive, for as long as it lives.
struct InstanceSlot {
    app: Arc<App>,
    _of_host: OwnedSemaphorePermit,
}

impl InstanceSlot {
    /// A slot, if both have one left. The app's own limit counts what earlier versions of it still run.
    fn take(app: &Arc<App>, host: &Arc<Semaphore>) -> Option<Self> {
        let of_host = host.clone().try_acquire_owned().ok()?;
        app.stats.instance_starts(app.limits.instances).then(|| InstanceSlot { app: app.clone(), _of_host: of_host })
    }
}

impl Drop for InstanceSlot {
    fn drop(&mut self) {
        self.app.stats.instance_ended();
    }
}
