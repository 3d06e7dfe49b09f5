//! [`Team`]: the threads that compute a step together.
//!
//! A step has hundreds of products, each of some hundred microseconds, so that waking a sleeping thread for each would cost
//! more than it brings: helpers look for work for a moment before they sleep. Nobody waits for a helper that has not begun:
//! whoever is there takes the next item, and on a busy machine the caller may do all of them.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, JoinHandle, Thread};

/// How often a helper looks for work before it sleeps: some ten microseconds up to a hundred.
const LOOKS: u32 = 2_000;
/// How often the caller looks whether helpers are done before it lets others run.
const LOOKS_AT_END: u32 = 2_000;

/// What a helper does with an item; the second argument is the thread's number.
type Work<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// Threads that take items of the same work.
pub(crate) struct Team {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
}

struct Shared {
    /// Counts the works, so that helpers see a new one.
    epoch: AtomicU64,
    /// Whether the current work takes helpers.
    open: AtomicBool,
    /// A `&Work` of the caller's, valid while `open` or while somebody is `inside`.
    work: AtomicPtr<&'static Work<'static>>,
    items: AtomicUsize,
    next: AtomicUsize,
    /// Helpers that may be at the current work.
    inside: AtomicUsize,
    asleep: AtomicUsize,
    panicked: AtomicBool,
    ends: AtomicBool,
}

impl Team {
    /// A team of so many threads, the caller's own included. They are called `name`.
    pub fn new(threads: usize, name: &str) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            epoch: AtomicU64::new(0),
            open: AtomicBool::new(false),
            work: AtomicPtr::new(std::ptr::null_mut()),
            items: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            inside: AtomicUsize::new(0),
            asleep: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            ends: AtomicBool::new(false),
        });
        let mut team = Team { shared, helpers: Vec::new() };
        for index in 1..threads {
            let shared = team.shared.clone();
            team.helpers.push(thread::Builder::new().name(name.to_owned()).spawn(move || shared.help(index))?);
        }
        Ok(team)
    }

    /// Threads there are, the caller's included.
    pub fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Calls `work` once for each of `items`, each in one of the threads, and returns when all are done.
    ///
    /// # Panics
    /// When one of the calls does; the others are done.
    pub fn run(&mut self, items: usize, work: &Work) {
        if items < 2 || self.helpers.is_empty() {
            return (0..items).for_each(|item| work(item, 0));
        }
        let shared = &*self.shared;
        // SAFETY: only its lifetime changes. It is used by helpers that are inside an open work, and this function closes the
        // work and waits until nobody is inside, panic or not, before it returns.
        let work: &'static Work<'static> = unsafe { std::mem::transmute::<&Work, &'static Work<'static>>(work) };
        shared.items.store(items, SeqCst);
        shared.next.store(0, SeqCst);
        shared.work.store((&raw const work).cast_mut(), SeqCst);
        shared.open.store(true, SeqCst);
        shared.epoch.fetch_add(1, SeqCst);
        if shared.asleep.load(SeqCst) > 0 {
            self.helpers.iter().map(JoinHandle::thread).for_each(Thread::unpark);
        }
        let own = catch_unwind(AssertUnwindSafe(|| shared.take_items(work, 0)));
        shared.open.store(false, SeqCst);
        let mut looks = 0;
        while shared.inside.load(SeqCst) > 0 {
            looks += 1;
            if looks > LOOKS_AT_END {
                thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
        if let Err(panic) = own {
            std::panic::resume_unwind(panic);
        }
        assert!(!shared.panicked.swap(false, SeqCst), "a helper panicked");
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.ends.store(true, SeqCst);
        self.shared.epoch.fetch_add(1, SeqCst);
        for helper in self.helpers.drain(..) {
            helper.thread().unpark();
            // A helper's panic was told when it happened.
            let _ = helper.join();
        }
    }
}

impl Shared {
    fn take_items(&self, work: &Work, thread: usize) {
        let items = self.items.load(SeqCst);
        loop {
            let item = self.next.fetch_add(1, SeqCst);
            if item >= items {
                return;
            }
            work(item, thread);
        }
    }

    fn help(&self, thread: usize) {
        let mut seen = 0;
        loop {
            self.wait_for_more_than(seen);
            seen = self.epoch.load(SeqCst);
            if self.ends.load(SeqCst) {
                return;
            }
            self.inside.fetch_add(1, SeqCst);
            // Whoever closes a work looks at `inside` afterwards, and this looks at `open` after it is inside: one of the two
            // sees the other.
            if self.open.load(SeqCst) {
                // SAFETY: the work is open and this is inside, so that its caller waits.
                let work = unsafe { *self.work.load(SeqCst) };
                if catch_unwind(AssertUnwindSafe(|| self.take_items(work, thread))).is_err() {
                    self.panicked.store(true, SeqCst);
                }
            }
            self.inside.fetch_sub(1, SeqCst);
        }
    }

    fn wait_for_more_than(&self, seen: u64) {
        for _ in 0..LOOKS {
            if self.epoch.load(SeqCst) != seen {
                return;
            }
            std::hint::spin_loop();
        }
        self.asleep.fetch_add(1, SeqCst);
        while self.epoch.load(SeqCst) == seen {
            thread::park();
        }
        self.asleep.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_done_once_before_it_returns() {
        for threads in [1, 2, 4] {
            let mut team = Team::new(threads, "test").unwrap();
            for round in 0..2_000 {
                let items = round % 9;
                let done: Vec<AtomicUsize> = (0..items).map(|_| AtomicUsize::new(0)).collect();
                team.run(items, &|item, thread| {
                    assert!(thread < threads);
                    done[item].fetch_add(1, SeqCst);
                });
                assert!(done.iter().all(|done| done.load(SeqCst) == 1), "round {round}");
            }
        }
    }

    #[test]
    fn a_panic_is_the_callers_and_the_team_goes_on() {
        let mut team = Team::new(2, "test").unwrap();
        for bad in 0..8 {
            let panics = catch_unwind(AssertUnwindSafe(|| team.run(8, &|item, _| assert_ne!(item, bad))));
            assert!(panics.is_err());
        }
        team.run(8, &|_, _| {});
    }
}
