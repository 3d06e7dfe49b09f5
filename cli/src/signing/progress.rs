//! How far hashing has come, on one line of a terminal. Elsewhere, and for what is quick, nothing.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use headland_trust::Contents as _;
use headland_trust::contents::Folder;

use crate::client::size;

/// How often the line is drawn; a model that takes less shows none.
const DRAW_EVERY: Duration = Duration::from_millis(250);

/// A line that is drawn until this is dropped.
pub struct Progress {
    stop: Option<mpsc::Sender<()>>,
    painter: Option<JoinHandle<()>>,
}

impl Progress {
    /// Watches what is read of `folder`, if somebody looks.
    pub fn watch(folder: Folder) -> (Folder, Self) {
        if !std::io::stderr().is_terminal() {
            return (folder, Progress { stop: None, painter: None });
        }
        let total = bytes_of(&folder, &folder.paths());
        let read = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = mpsc::channel();
        let counter = read.clone();
        let painter = std::thread::spawn(move || paint(total, &counter, &stopped));
        (folder.counting(read), Progress { stop: Some(stop), painter: Some(painter) })
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(painter) = self.painter.take() {
            let _ = painter.join();
        }
    }
}

fn paint(total: u64, read: &AtomicU64, stopped: &mpsc::Receiver<()>) {
    let started = Instant::now();
    let mut drawn = false;
    let mut err = std::io::stderr();
    while stopped.recv_timeout(DRAW_EVERY) == Err(RecvTimeoutError::Timeout) {
        let line = line(read.load(Ordering::Relaxed).min(total), total, started.elapsed());
        let _ = write!(err, "\r\x1b[K{line}").and_then(|()| err.flush());
        drawn = true;
    }
    if drawn {
        let _ = write!(err, "\r\x1b[K").and_then(|()| err.flush());
    }
}

fn line(read: u64, total: u64, elapsed: Duration) -> String {
    let rate = read as f64 / elapsed.as_secs_f64().max(0.001);
    let left = if rate > 0.0 { ((total - read) as f64 / rate).ceil() as u64 } else { 0 };
    format!("hashing {} of {}, {}/s, {left} s left", size(read), size(total), size(rate as u64))
}

/// The size of these files together.
pub fn bytes_of(folder: &Folder, paths: &[String]) -> u64 {
    paths.iter().filter_map(|path| folder.size(path)).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_says_how_far_how_fast_and_how_long() {
        let half = line(1 << 30, 2 << 30, Duration::from_secs(2));
        assert_eq!(half, "hashing 1.0 GiB of 2.0 GiB, 512.0 MiB/s, 2 s left");
        assert!(line(0, 5, Duration::ZERO).ends_with("0 s left"));
    }
}
