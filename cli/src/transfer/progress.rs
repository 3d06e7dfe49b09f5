//! How far a transfer is: a bar on a terminal, plain lines elsewhere, all on standard error.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::client::size;

/// How often a plain line says how far it is.
const LINE_EVERY: Duration = Duration::from_secs(5);
const BAR: &str = "{prefix} [{bar:30}] {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";

/// The progress of one command, counted by all its threads.
pub struct Progress {
    bar: ProgressBar,
    /// When the last plain line was written; none on a terminal.
    lines: Option<Mutex<Instant>>,
    verb: &'static str,
}

impl Progress {
    /// Begins with `total` bytes to do. `verb` is what happens to them, such as `sent`.
    pub fn new(verb: &'static str, total: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total), target).with_prefix(verb);
        if let Ok(style) = ProgressStyle::with_template(BAR) {
            bar.set_style(style.progress_chars("=> "));
        }
        Progress { bar, lines: (!terminal).then(|| Mutex::new(Instant::now())), verb }
    }

    /// Says something that stays.
    pub fn say(&self, line: &str) {
        match &self.lines {
            Some(_) => eprintln!("{line}"),
            None => self.bar.println(line),
        }
    }

    /// The progress of one file.
    pub fn file(&self) -> FileProgress<'_> {
        FileProgress { progress: self, position: 0, resumed: false }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn line(&self) {
        let Some(last) = &self.lines else { return };
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() < LINE_EVERY {
            return;
        }
        *last = Instant::now();
        let (done, total) = (self.bar.position(), self.bar.length().unwrap_or(0));
        let rate = self.bar.per_sec() as u64;
        let left = self.bar.eta().as_secs();
        eprintln!("{} {} of {}, {}/s, {left} s left", self.verb, size(done), size(total), size(rate));
    }
}

/// How much of one file is done. It may fall back when the other side has less than was sent.
pub struct FileProgress<'a> {
    progress: &'a Progress,
    position: u64,
    resumed: bool,
}

impl FileProgress<'_> {
    /// Sets how much is done. What was there from the beginning does not count as speed.
    pub fn at(&mut self, position: u64) {
        let bar = &self.progress.bar;
        if position >= self.position {
            bar.inc(position - self.position);
        } else {
            bar.dec(self.position - position);
        }
        if !self.resumed && position > 0 {
            bar.reset_eta();
        }
        self.resumed = true;
        self.position = position;
    }

    /// Adds what was just done.
    pub fn add(&mut self, bytes: u64) {
        self.resumed = true;
        self.position += bytes;
        self.progress.bar.inc(bytes);
        self.progress.line();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_add_up_and_may_fall_back() {
        let progress = Progress::new("sent", 100);
        let (mut one, mut other) = (progress.file(), progress.file());
        one.at(40);
        one.add(20);
        other.add(10);
        assert_eq!(progress.bar.position(), 70);
        one.at(50);
        assert_eq!(progress.bar.position(), 60);
    }
}
