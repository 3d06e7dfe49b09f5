//! What a connection is doing, so that one that only takes a place can be let go: the time a client has for its next
//! request's head runs from the end of the request before. One timer for each connection looks now and then; a timer for
//! each request would take its share of a small request's time.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http::Version;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use crate::limits::KEEP_ALIVE_IDLE_MAX;

#[derive(Default)]
pub(super) struct Activity(Mutex<State>);

#[derive(Default)]
struct State {
    under_way: usize,
    /// The end of the last request; none before the first one's head.
    ended: Option<Instant>,
    /// HTTP/2 pings a silent client by itself.
    http2: bool,
}

impl Activity {
    /// A request's head is there.
    pub fn begins(self: &Arc<Self>, version: Version) -> UnderWay {
        let mut state = self.lock();
        state.under_way += 1;
        state.http2 |= version == Version::HTTP_2;
        drop(state);
        UnderWay(self.clone())
    }

    /// Until when the client has time; none when it had its time.
    pub fn patience(&self) -> Option<Instant> {
        let (state, now) = (self.lock(), Instant::now());
        if state.under_way > 0 || state.http2 {
            return Some(now + KEEP_ALIVE_IDLE_MAX);
        }
        state.ended.map(|ended| ended + KEEP_ALIVE_IDLE_MAX).filter(|until| *until > now)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that has begun, until this is dropped.
pub(super) struct UnderWay(Arc<Activity>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.under_way = state.under_way.saturating_sub(1);
        state.ended = Some(Instant::now());
    }
}

/// A response's body, under way until it is dropped.
pub(super) struct Counted {
    inner: Body,
    _under_way: UnderWay,
}

impl Counted {
    pub fn new(inner: Body, under_way: UnderWay) -> Self {
        Counted { inner, _under_way: under_way }
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_has_time_from_the_end_of_its_last_request() {
        let activity = Arc::new(Activity::default());
        assert_eq!(activity.patience(), None);
        let (first, second) = (activity.begins(Version::HTTP_11), activity.begins(Version::HTTP_11));
        drop(first);
        tokio::time::advance(KEEP_ALIVE_IDLE_MAX * 2).await;
        assert!(activity.patience().is_some());
        drop(second);
        assert_eq!(activity.patience(), Some(Instant::now() + KEEP_ALIVE_IDLE_MAX));
        tokio::time::advance(KEEP_ALIVE_IDLE_MAX).await;
        assert_eq!(activity.patience(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn http2_minds_its_silent_clients_itself() {
        let activity = Arc::new(Activity::default());
        drop(activity.begins(Version::HTTP_2));
        tokio::time::advance(KEEP_ALIVE_IDLE_MAX * 2).await;
        assert!(activity.patience().is_some());
    }
}
