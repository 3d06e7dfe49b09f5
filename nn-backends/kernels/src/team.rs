//! [`Team`]: the threads that compute a product, or a decoder's step, together.
//!
//! A model has dozens to hundreds of products, each of some hundred microseconds, so that waking a sleeping thread for each
//! would cost more than it brings: helpers look for work for a moment before they sleep. Each thread begins with a share of
//! its own, item after item, for neighbouring items are neighbours in memory, which is asked for well ahead. Nobody waits for
//! a helper that has not begun: who is done with a share goes on with another's, and on a busy machine the caller may do all.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, JoinHandle, Thread};

/// How often a helper looks for work before it sleeps: some ten microseconds up to a hundred.
const LOOKS: u32 = 2_000;
/// How often the caller looks whether helpers are done before it lets others run.
const LOOKS_AT_END: u32 = 2_000;

/// Items for each thread: enough that one which comes late finds some left, few enough that taking them is cheap.
const ITEMS_PER_THREAD: usize = 8;

/// What a helper does with an item; the second argument is the thread's number.
type Work<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// A thread's items: from `next` on, up to `end`. Each in a cache line of its own, as two threads rarely take of one.
#[derive(Default)]
#[repr(align(64))]
struct Share {
    next: AtomicUsize,
    end: AtomicUsize,
}

/// Threads that take items of the same work.
pub struct Team {
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
    /// Of the current work, one for each thread.
    shares: Vec<Share>,
    /// Helpers that may be at the current work.
    inside: AtomicUsize,
    asleep: AtomicUsize,
    panicked: AtomicBool,
    ends: AtomicBool,
}

impl Team {
    /// The caller's own thread and no other.
    pub fn alone() -> Self {
        Team { shared: Arc::new(Shared::of_threads(1)), helpers: Vec::new() }
    }

    /// A team of so many threads, the caller's own included. They are called `name`.
    ///
    /// # Errors
    /// When the system starts no more threads.
    pub fn new(threads: usize, name: &str) -> io::Result<Self> {
        let mut team = Team { shared: Arc::new(Shared::of_threads(threads.max(1))), helpers: Vec::new() };
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

    /// Into how many items work is best divided.
    pub fn items(&self) -> usize {
        if self.helpers.is_empty() { 1 } else { self.threads() * ITEMS_PER_THREAD }
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
        let threads = shared.shares.len();
        for (thread, share) in shared.shares.iter().enumerate() {
            share.next.store(items * thread / threads, SeqCst);
            share.end.store(items * (thread + 1) / threads, SeqCst);
        }
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
    fn of_threads(threads: usize) -> Self {
        Shared {
            epoch: AtomicU64::new(0),
            open: AtomicBool::new(false),
            work: AtomicPtr::new(std::ptr::null_mut()),
            shares: (0..threads).map(|_| Share::default()).collect(),
            inside: AtomicUsize::new(0),
            asleep: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            ends: AtomicBool::new(false),
        }
    }

    fn take_items(&self, work: &Work, thread: usize) {
        // Its own share first.
        let (before, from_own) = self.shares.split_at(thread);
        for share in from_own.iter().chain(before) {
            let end = share.end.load(SeqCst);
            loop {
                let item = share.next.fetch_add(1, SeqCst);
                if item >= end {
                    break;
                }
                work(item, thread);
            }
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
