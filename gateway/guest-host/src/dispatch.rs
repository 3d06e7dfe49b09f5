//! One request through one guest instance: a fresh one, unless the route reuses them.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use headland_package::ByteSize;
use http::header::{CONTENT_LENGTH, HOST, HeaderValue};
use http_body::Body;
use tokio::sync::oneshot;
use wasmtime::{PoolConcurrencyLimitError, format_err};
use wasmtime_wasi_http::WasiBody;

use crate::app::{App, AppRoute};
use crate::body::{GuestBody, LimitedBody};
use crate::error::GuestError;
use crate::head::{Head, HeadSender};
use crate::instance::{GuestRequest, Instance, InstanceSlot, Pre, store};
use crate::stats::Outcome;

/// What the host knows of a request beside the request itself.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// Its id, for logs.
    pub request_id: Arc<str>,
}

type Running = Pin<Box<dyn Future<Output = Result<(), GuestError>> + Send>>;

impl AppRoute {
    /// Runs the guest on `request`. The future ends when the response's head is there; its body streams from then on.
    ///
    /// The instance is taken at once: what the future keeps of the request is the guest's. Dropping it, or the body before
    /// its end, stops the guest.
    ///
    /// # Errors
    /// [`GuestError`]; the host is well after each of them.
    pub fn handle<B>(
        self: &Arc<Self>,
        request: http::Request<B>,
        context: RequestContext,
    ) -> impl Future<Output = Result<http::Response<GuestBody>, GuestError>> + Send + use<B>
    where
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: std::fmt::Display,
    {
        let count = CountOutcome { app: self.app.clone(), outcome: Outcome::Canceled };
        let begun = self.begin(request, context);
        async move {
            // As a whole: it is dropped with this future, whenever that is.
            let mut count = count;
            let result = match begun {
                Ok(begun) => begun.response().await,
                Err(error) => Err(error),
            };
            count.outcome = Outcome::of(&result);
            result
        }
    }

    /// Makes an instance as a request would, and drops it. For warming up, and for measuring what an instance costs.
    ///
    /// # Errors
    /// When the component does not start, or the pool is full.
    pub async fn instantiate(&self) -> wasmtime::Result<()> {
        let deadline = self.deadline();
        let mut store = store(self, "warm-up".into(), deadline);
        match tokio::time::timeout_at(deadline.into(), self.pre.try_out(&mut store)).await {
            Ok(tried) => tried,
            Err(_) => Err(format_err!("it took longer than its deadline of {} ms", self.app.limits.deadline_ms)),
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.app.limits.deadline_ms)
    }

    /// An instance that waits for its next request, or the slot for a new one.
    fn instance(&self, request_id: &Arc<str>, deadline: Instant) -> Option<Instance> {
        let idle = self.engine.idle();
        if let Some(mut instance) = self.reuse.and_then(|route| idle.take(route)) {
            instance.store.data_mut().begin(request_id.clone(), deadline);
            return Some(instance);
        }
        loop {
            if let Some(slot) = InstanceSlot::take(&self.app, &self.instances) {
                return Some(Instance::new(self, slot, request_id.clone(), deadline));
            }
            if !idle.evict() {
                return None;
            }
        }
    }

    fn begin<B>(self: &Arc<Self>, mut request: http::Request<B>, context: RequestContext) -> Result<Begun, GuestError>
    where
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: std::fmt::Display,
    {
        let limits = self.app.limits;
        if request.body().size_hint().lower() > limits.body.0 {
            return Err(GuestError::BodyTooLarge { limit: limits.body });
        }
        let deadline = self.deadline();
        let instance = self.instance(&context.request_id, deadline).ok_or(GuestError::Overloaded)?;
        if !request.headers().contains_key(HOST) && request.uri().authority().is_none() {
            // HTTP/1.0 has no Host, and wasi:http cannot do without an authority.
            request.headers_mut().insert(HOST, HeaderValue::from_static("localhost"));
        }
        let (parts, body) = request.into_parts();
        let (body, exceeded) = LimitedBody::new(body, limits.body.0);
        let (head, response) = oneshot::channel();
        let failed = Arc::new(AtomicBool::new(false));
        let head_sent = Arc::new(AtomicBool::new(false));
        let head = HeadSender::new(head, head_sent.clone());
        let mut run = Run { route: self.clone(), instance, deadline, context, failed: failed.clone(), head_sent };
        let request = http::Request::from_parts(parts, body);
        let (body_max, turns_after_head) = (limits.body, self.pre.turns_after_head());
        let guest: Running = match &self.pre {
            Pre::P2(_) => match run.instance.request_p2(request, head) {
                Ok(request) => Box::pin(run.until_its_end(request)),
                Err(error) => return Err(run.what_went_wrong(&error)),
            },
            Pre::P3(_) => {
                let request = run.instance.request_p3(request, head);
                Box::pin(run.until_its_end(request))
            }
        };
        Ok(Begun { guest, response, turns_after_head, failed, exceeded, body_max })
    }
}

/// A guest that has its request, and what tells of its answer.
struct Begun {
    guest: Running,
    response: oneshot::Receiver<Head>,
    turns_after_head: usize,
    failed: Arc<AtomicBool>,
    exceeded: Arc<AtomicBool>,
    body_max: ByteSize,
}

impl Begun {
    async fn response(self) -> Result<http::Response<GuestBody>, GuestError> {
        let Begun { guest, response, turns_after_head, failed, exceeded, body_max } = self;
        let response = first_of(guest, response, turns_after_head).await.map(|(head, task)| {
            let content_length = content_length(&head);
            head.map(|body| GuestBody::new(body, task, failed, content_length))
        });
        // What the guest made of a body it could not read is beside the point; dropping its response stops it.
        if exceeded.load(Relaxed) { Err(GuestError::BodyTooLarge { limit: body_max }) } else { response }
    }
}

/// A guest's whole run, within its deadline: starts on the connection's task, and moves to one of its own when the
/// response outlives its head.
struct Run {
    route: Arc<AppRoute>,
    instance: Instance,
    deadline: Instant,
    context: RequestContext,
    failed: Arc<AtomicBool>,
    head_sent: Arc<AtomicBool>,
}

impl Run {
    async fn until_its_end(mut self, request: impl GuestRequest) -> Result<(), GuestError> {
        let serving = self.instance.serve(&self.route, request);
        let result = tokio::time::timeout_at(self.deadline.into(), serving).await;
        self.instance.store.data_mut().abort_unfinished_bodies();
        let error = match result {
            Ok(Ok(())) => {
                if let Some(route) = self.route.reuse {
                    self.route.engine.idle().give(route, self.instance);
                }
                return Ok(());
            }
            Ok(Err(error)) => self.what_went_wrong(&error),
            Err(_) => self.too_late(),
        };
        // Before the store goes, and with it the guest's end of the body.
        self.failed.store(true, Relaxed);
        if self.head_sent.load(Relaxed) {
            self.route.app.stats.count_cut_off();
        }
        Err(error)
    }

    fn what_went_wrong(&self, error: &wasmtime::Error) -> GuestError {
        let (app, refused) = (&self.route.app, self.instance.store.data().memory.refused);
        tracing::warn!(
            target: "guest",
            app = &*app.name,
            request_id = &*self.context.request_id,
            memory_limit = refused,
            error = ?format!("{error:#}"),
            "guest failed"
        );
        if refused {
            GuestError::MemoryLimit { limit: app.limits.memory }
        } else if self.instance.started() {
            GuestError::Trapped
        } else if error.is::<PoolConcurrencyLimitError>() {
            // Components of many core modules can fill the pool before its slots are all taken.
            GuestError::Overloaded
        } else {
            GuestError::Internal
        }
    }

    fn too_late(&self) -> GuestError {
        let deadline_ms = self.route.app.limits.deadline_ms;
        tracing::warn!(
            target: "guest",
            app = &*self.route.app.name,
            request_id = &*self.context.request_id,
            deadline_ms,
            "guest stopped at its deadline"
        );
        GuestError::DeadlineExceeded { deadline_ms }
    }
}

type Started = (http::Response<WasiBody>, Option<tokio::task::AbortHandle>);

/// Runs the guest on the calling task until the response's head is there, and for some turns more, and the rest of it, if
/// any, on a task of its own: most guests are done by then, and cost no task at all.
async fn first_of(
    mut guest: Running,
    mut response: oneshot::Receiver<Head>,
    turns_after_head: usize,
) -> Result<Started, GuestError> {
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
                for _ in 0..turns_after_head {
                    let turn = poll_fn(|cx| Poll::Ready(guest.as_mut().poll(cx)));
                    if turn.await.is_ready() {
                        // How it ended, its body tells.
                        return Ok((head, None));
                    }
                }
                let rest = tokio::spawn(guest);
                Ok((head, Some(rest.abort_handle())))
            }
            // Dropped without one; how the guest ends says why.
            Err(_) => Err(guest.await.err().unwrap_or(GuestError::NoResponse)),
        },
    }
}

fn answered(head: Head) -> Result<http::Response<WasiBody>, GuestError> {
    head.map_err(|code| GuestError::ErrorCode { code })
}

fn content_length<B>(head: &http::Response<B>) -> Option<u64> {
    head.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Counts how a request ended, also when its future is dropped because the client has gone.
struct CountOutcome {
    app: Arc<App>,
    outcome: Outcome,
}

impl Drop for CountOutcome {
    fn drop(&mut self) {
        self.app.stats.count(self.outcome);
    }
}
