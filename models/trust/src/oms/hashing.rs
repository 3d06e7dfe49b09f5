//! Hashing many pieces on all cores, and stopping at the first that is wrong.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Threads at most: beyond this, memory and disks are the limit.
const THREADS_MAX: usize = 16;

/// Calls `work` for each item, on several threads. On failure, answers with that of the first item in order, whichever
/// thread met it, so that the same model is always refused for the same reason.
pub(super) fn for_each<T: Sync, E: Send>(items: &[T], work: impl Fn(&T) -> Result<(), E> + Sync) -> Result<(), E> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX).min(items.len());
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<(usize, E)>> = Mutex::new(None);
    let worker = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return };
            if let Err(error) = work(item) {
                // Nothing after this one need be looked at; what is before is in other threads' hands already.
                next.store(items.len(), Ordering::Relaxed);
                let mut first = failed.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                if first.as_ref().is_none_or(|(earliest, _)| index < *earliest) {
                    *first = Some((index, error));
                }
                return;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(worker);
        }
        worker();
    });
    let failed = failed.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    failed.map_or(Ok(()), |(_, error)| Err(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_visited_once() {
        let visited: Vec<AtomicUsize> = (0..1000).map(|_| AtomicUsize::new(0)).collect();
        let visit = |count: &AtomicUsize| {
            count.fetch_add(1, Ordering::Relaxed);
            Ok::<(), ()>(())
        };
        assert_eq!(for_each(&visited, visit), Ok(()));
        assert!(visited.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        assert_eq!(for_each(&[], visit), Ok(()));
    }

    #[test]
    fn the_first_failure_in_order_is_the_answer_however_threads_run() {
        let items: Vec<usize> = (0..100).collect();
        for _ in 0..200 {
            assert_eq!(for_each(&items, |&item| if item >= 7 { Err(item) } else { Ok(()) }), Err(7));
        }
    }
}
