//! Log lines on their way to standard error. Those of the access log are gathered, and written many at a time by a
//! thread of its own: a line then costs a request neither a system call nor a wait for whoever else is writing.
//!
//! All others do not wait, and take what was gathered before them along.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

/// How long a line waits for company.
const GATHER: Duration = Duration::from_millis(10);
/// Bytes gathered at the most; whoever comes then writes them out itself, and waits for the reader as it always did.
const GATHERED_BYTES_MAX: usize = 256 << 10;

/// Where lines are gathered. Clones share one place.
#[derive(Clone, Default)]
pub struct Gathered(Arc<Shared>);

#[derive(Default)]
struct Shared {
    lines: Mutex<Vec<u8>>,
    /// Told when there is something to write where there was nothing.
    some: Condvar,
}

/// Writes what is left when it goes.
pub struct Flush(Gathered);

impl Gathered {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start() -> io::Result<(Self, Flush)> {
        let gathered = Gathered::default();
        let writer = gathered.clone();
        std::thread::Builder::new().name("log".into()).spawn(move || writer.write_for_ever())?;
        Ok((gathered.clone(), Flush(gathered)))
    }

    fn write_for_ever(&self) {
        loop {
            let lines = self.lock();
            let lines = self.0.some.wait_while(lines, |lines| lines.is_empty()).unwrap_or_else(PoisonError::into_inner);
            let room = |lines: &mut Vec<u8>| lines.len() < GATHERED_BYTES_MAX;
            drop(self.0.some.wait_timeout_while(lines, GATHER, room));
            self.flush();
        }
    }

    /// Writes what there is. The order of lines holds: standard error is taken before they are.
    fn flush(&self) {
        let mut error = io::stderr().lock();
        let lines = std::mem::take(&mut *self.lock());
        // A log that nobody takes is no reason to stop.
        let _ = error.write_all(&lines);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        self.0.flush();
    }
}

/// One line.
pub struct Line<'a> {
    gathered: &'a Gathered,
    at_once: bool,
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut lines = self.gathered.lock();
        let was_empty = lines.is_empty();
        lines.extend_from_slice(line);
        let flush = self.at_once || lines.len() > GATHERED_BYTES_MAX;
        drop(lines);
        if flush {
            self.gathered.flush();
        } else if was_empty {
            self.gathered.0.some.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Gathered {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { gathered: self, at_once: true }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line<'a> {
        Line { gathered: self, at_once: meta.target() != "access" }
    }
}
