//! Bodies at the guest boundary: the request's, counted against the app's limit, and the response's, which tells
//! whether the client stayed to the end.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::AbortHandle;
use wasmtime_wasi_http::{Error, WasiBody};

/// A request body that errors beyond its limit and remembers that it did.
pub(crate) struct LimitedBody<B> {
    inner: B,
    left: u64,
    exceeded: Arc<AtomicBool>,
}

impl<B> LimitedBody<B> {
    pub fn new(inner: B, limit: u64) -> (Self, Arc<AtomicBool>) {
        let exceeded = Arc::new(AtomicBool::new(false));
        (LimitedBody { inner, left: limit, exceeded: exceeded.clone() }, exceeded)
    }
}

impl<B> Body for LimitedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        Poll::Ready(frame.map(|frame| {
            // The client's side broke: the guest needs no more than that.
            let frame = frame.map_err(|error| Error::InternalError(Some(error.to_string())))?;
            let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
            match this.left.checked_sub(bytes) {
                Some(left) => this.left = left,
                None => {
                    this.left = 0;
                    this.exceeded.store(true, Relaxed);
                    return Err(Error::HttpRequestBodySize(None));
                }
            }
            Ok(frame)
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A guest's response body. When it is dropped before its end, the client has gone, and the guest is stopped. When the
/// guest fails before its end, it breaks off instead of ending, so that no client takes a part for the whole.
pub struct GuestBody {
    inner: WasiBody,
    guest: Option<AbortHandle>,
    /// Set by a guest that failed, before its end of the body goes away.
    failed: Arc<AtomicBool>,
    /// Bytes the client still expects, where the head said how many: a server stops reading there.
    left: Option<u64>,
}

impl GuestBody {
    pub(crate) fn new(
        inner: WasiBody,
        guest: Option<AbortHandle>,
        failed: Arc<AtomicBool>,
        content_length: Option<u64>,
    ) -> Self {
        GuestBody { inner, guest, failed, left: content_length }
    }

    fn count(&mut self, bytes: usize) {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(bytes as u64);
            if *left == 0 {
                self.guest = None;
            }
        }
    }
}

/// A response that breaks off: the guest trapped, ran into its deadline, or closed its body unfinished.
#[derive(Debug, thiserror::Error)]
#[error("the app's response broke off")]
pub struct BrokenOff;

impl Body for GuestBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match frame {
            Some(Ok(frame)) => {
                self.count(frame.data_ref().map_or(0, Bytes::len));
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(_)) => Poll::Ready(Some(Err(BrokenOff))),
            // wasmtime ends the body alike whether the guest finished it or fell over.
            None if self.failed.load(Relaxed) => Poll::Ready(Some(Err(BrokenOff))),
            None => {
                // Ended as it should: what the guest still does after it, it may.
                self.guest = None;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream() && !self.failed.load(Relaxed)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for GuestBody {
    fn drop(&mut self) {
        if let Some(guest) = self.guest.take()
            && !self.inner.is_end_stream()
        {
            guest.abort();
        }
    }
}
