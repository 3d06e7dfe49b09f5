//! A few threads over a list, ended together by the first failure.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

/// Tells threads that wait or work that another has failed.
#[derive(Default)]
pub struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Stops everyone.
    pub fn stop(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Whether somebody has stopped everyone.
    pub fn is_stopped(&self) -> bool {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, but not after a stop. Returns whether there was one.
    pub fn wait(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if *stopped || left.is_zero() {
                return *stopped;
            }
            stopped = self.changed.wait_timeout(stopped, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Works on all items with at most `threads` threads. The first failure stops the others and is what is returned.
pub fn in_parallel<T: Sync>(
    items: &[T],
    threads: usize,
    stop: &Stop,
    work: impl Fn(&T) -> Result<()> + Sync,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    let worker = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            if stop.is_stopped() {
                return;
            }
            if let Err(error) = work(item) {
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                stop.stop();
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.min(items.len()) {
            scope.spawn(worker);
        }
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use anyhow::bail;

    use super::*;

    #[test]
    fn every_item_is_worked_on_once() {
        let sum = AtomicU64::new(0);
        let items: Vec<u64> = (1..=100).collect();
        let add = |item: &u64| {
            sum.fetch_add(*item, Ordering::Relaxed);
            Ok(())
        };
        in_parallel(&items, 4, &Stop::default(), add).unwrap();
        assert_eq!(sum.into_inner(), 5050);
        in_parallel(&[] as &[u64], 4, &Stop::default(), |_| bail!("never")).unwrap();
    }

    #[test]
    fn the_first_failure_ends_the_others_waiting() {
        let stop = Stop::default();
        let work = |item: &u64| match item {
            0 => bail!("broken"),
            _ if stop.wait(Duration::from_secs(3600)) => bail!("stopped"),
            _ => Ok(()),
        };
        assert_eq!(in_parallel(&[1, 1, 0, 1], 4, &stop, work).unwrap_err().to_string(), "broken");
        assert!(!Stop::default().wait(Duration::from_millis(1)));
    }
}
