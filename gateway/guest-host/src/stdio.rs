//! A guest's stdout and stderr: whole lines into the structured log, with the app and the request they belong to.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// A longer line is logged in pieces.
const LINE_BYTES_MAX: usize = 8 << 10;
/// What one request may log on each stream; the rest is dropped, and said to be.
const REQUEST_BYTES_MAX: usize = 256 << 10;
/// Lines likewise: each becomes a record of its own.
const REQUEST_LINES_MAX: usize = 1_000;
/// What a guest may write in one call.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// Which stream a line came from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// One of an instance's two streams. Clones write to the same one.
#[derive(Clone)]
pub(crate) struct LogStream(Arc<Mutex<Lines>>);

struct Lines {
    stream: Stream,
    app: Arc<str>,
    request_id: Arc<str>,
    partial: Vec<u8>,
    budget: usize,
    lines: usize,
}

impl LogStream {
    pub fn new(stream: Stream, app: Arc<str>, request_id: Arc<str>) -> Self {
        let lines = Lines { stream, app, request_id, partial: Vec::new(), budget: REQUEST_BYTES_MAX, lines: 0 };
        LogStream(Arc::new(Mutex::new(lines)))
    }

    /// What is written from now on belongs to another request of the same instance.
    pub fn begin(&self, request_id: Arc<str>) {
        let mut lines = self.lock();
        lines.flush();
        lines.request_id = request_id;
        (lines.budget, lines.lines) = (REQUEST_BYTES_MAX, 0);
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn write(&mut self, bytes: &[u8]) {
        if self.budget == 0 {
            return;
        }
        let taken = &bytes[..bytes.len().min(self.budget)];
        self.budget -= taken.len();
        for piece in taken.split_inclusive(|&byte| byte == b'\n') {
            for piece in piece.chunks(LINE_BYTES_MAX) {
                if self.partial.len() + piece.len() > LINE_BYTES_MAX {
                    self.flush();
                }
                self.partial.extend_from_slice(piece);
            }
            if piece.ends_with(b"\n") {
                self.flush();
            }
            if self.lines >= REQUEST_LINES_MAX {
                self.budget = 0;
                break;
            }
        }
        if self.budget == 0 {
            self.flush();
            tracing::warn!(
                target: "guest",
                app = &*self.app,
                request_id = &*self.request_id,
                "this request has logged all it may; the rest of its {} is dropped", self.name()
            );
        }
    }

    fn flush(&mut self) {
        let line = String::from_utf8_lossy(&self.partial);
        let line = line.trim_end_matches(['\n', '\r']);
        if !line.is_empty() {
            self.lines += 1;
            // Quoted, so that a guest cannot forge lines of its own in the host's log.
            tracing::info!(
                target: "guest",
                app = &*self.app,
                request_id = &*self.request_id,
                stream = self.name(),
                line = ?line
            );
        }
        self.partial.clear();
    }

    fn name(&self) -> &'static str {
        match self.stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.flush();
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.lock().write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

impl AsyncWrite for LogStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.lock().write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
