//! The head of a guest's response, on its way from the guest to whoever waits for it.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::sync::oneshot;
use wasmtime_wasi_http::WasiBody;

/// What a guest answers with: a response, or the name of a `wasi:http` error code.
pub(crate) type Head = Result<http::Response<WasiBody>, String>;

/// Passes the head on and notes that it has gone out.
pub(crate) struct HeadSender {
    head: oneshot::Sender<Head>,
    sent: Arc<AtomicBool>,
}

impl HeadSender {
    pub fn new(head: oneshot::Sender<Head>, sent: Arc<AtomicBool>) -> Self {
        HeadSender { head, sent }
    }

    pub fn send(self, head: Result<http::Response<WasiBody>, impl Debug>) {
        self.sent.store(true, Relaxed);
        // Nobody listens when the client has gone; the guest is about to be stopped then.
        let _ = self.head.send(head.map_err(|code| format!("{code:?}")));
    }
}
