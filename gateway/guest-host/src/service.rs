//! A request through a guest of `wasi:http` 0.3: its `handle` is a task of the component model, which can go on after its
//! response is out, and bodies are streams that only move while the store's event loop runs.
//!
//! Everything a request does happens within one run of that loop, one request at a time: the deadline is a timeout around
//! the run, and dropping it stops the guest wherever it is. The run ends when the response's body has been handed over and
//! no task is left, so an instance that waits for its next request has nothing to do.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::HOST;
use http::uri::{Authority, Scheme};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::sync::{mpsc, oneshot};
use wasmtime::Store;
use wasmtime_wasi_http::p3::Request;
use wasmtime_wasi_http::p3::bindings::Service;
use wasmtime_wasi_http::{Error, FieldMap, WasiBody, WasiHttpHooks};

use crate::body::LimitedBody;
use crate::head::HeadSender;
use crate::state::GuestState;

/// Frames of a response that wait for the client while the guest goes on.
const FRAMES_AHEAD: usize = 1;

/// A request, and the way for the head of its answer.
pub(crate) struct RequestP3 {
    request: Request,
    head: HeadSender,
}

impl RequestP3 {
    pub fn new<B>(hooks: &mut dyn WasiHttpHooks, request: http::Request<LimitedBody<B>>, head: HeadSender) -> Self
    where
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: std::fmt::Display,
    {
        RequestP3 { request: to_guest(hooks, request), head }
    }
}

/// Runs the guest on a request until it is done with it.
pub(crate) async fn serve(store: &mut Store<GuestState>, guest: &Service, request: RequestP3) -> wasmtime::Result<()> {
    let RequestP3 { request, head } = request;
    store
        .run_concurrent(async |accessor| {
            match guest.handle(accessor, request).await? {
                Ok(response) => {
                    let (sent, outcome) = oneshot::channel();
                    let told = async { outcome.await.unwrap_or(Err(Error::ConnectionTerminated)) };
                    let response = accessor.with(|store| response.into_http(store, told))?;
                    let (parts, body) = response.into_parts();
                    let (frames, received) = mpsc::channel(FRAMES_AHEAD);
                    let whole = Arc::new(AtomicBool::new(false));
                    let handed_over = HandedOver { frames: received, whole: whole.clone() };
                    head.send(Ok::<_, Error>(http::Response::from_parts(parts, handed_over.boxed_unsync())));
                    if hand_over(body, frames, &whole).await {
                        // A guest that does not want to know has dropped the other end.
                        let _ = sent.send(Ok(()));
                    }
                }
                Err(code) => head.send(Err(code)),
            }
            poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
            Ok(())
        })
        .await?
}

/// The request as a guest sees it, with the authority that HTTP/1.1 has in a header.
fn to_guest<B>(hooks: &mut dyn WasiHttpHooks, request: http::Request<LimitedBody<B>>) -> Request
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: std::fmt::Display,
{
    let (parts, body) = request.into_parts();
    let host = || Authority::try_from(parts.headers.get(HOST)?.as_bytes()).ok();
    let authority = parts.uri.authority().cloned().or_else(host);
    let path = parts.uri.path_and_query().cloned();
    let headers = FieldMap::new_immutable(hooks, parts.headers);
    Request::new(parts.method, Some(Scheme::HTTP), authority, path, headers, None, body).0
}

/// Moves a body out of the guest, as fast as the client takes it. Says whether it came to its end.
async fn hand_over(mut body: WasiBody, frames: mpsc::Sender<Frame<Bytes>>, whole: &AtomicBool) -> bool {
    loop {
        match body.frame().await {
            Some(Ok(frame)) => {
                if frames.send(frame).await.is_err() {
                    return false;
                }
            }
            Some(Err(_)) => return false,
            None => {
                // Before the channel closes, which is when it is looked at.
                whole.store(true, Relaxed);
                return true;
            }
        }
    }
}

/// A response's body on the client's side. It ends only where the guest ended it: whatever stops the run drops the other
/// end of the channel, and breaks it off.
struct HandedOver {
    frames: mpsc::Receiver<Frame<Bytes>>,
    whole: Arc<AtomicBool>,
}

impl Body for HandedOver {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Poll::Ready(match ready!(self.frames.poll_recv(cx)) {
            Some(frame) => Some(Ok(frame)),
            None if self.whole.load(Relaxed) => None,
            None => Some(Err(Error::ConnectionTerminated)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_closed() && self.frames.is_empty() && self.whole.load(Relaxed)
    }
}
