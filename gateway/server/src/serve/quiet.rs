//! A connection that wakes itself. hyper does so for each body that its own task takes: whoever reads it wakes whoever wrote it, and
//! they are one. tokio would put the task at the end of its queue and wake another thread to look for work, for nothing, with
//! every request that has a body; here the connection is polled once more instead.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Polls in a row. A connection that still wants more goes back to the queue, behind others.
const POLLS_MAX: usize = 2;

/// Nobody polls it: a wake is its task's.
const RESTS: u8 = 0;
/// It is being polled.
const POLLED: u8 = 1;
/// It is being polled, and has been woken since that began.
const WOKEN: u8 = 2;

/// A future whose wakes during its own poll are kept from the scheduler.
pub(super) struct Quiet<F> {
    inner: F,
    wakes: Arc<Wakes>,
    waker: Waker,
}

struct Wakes {
    state: AtomicU8,
    task: AtomicWaker,
}

impl<F: Future + Unpin> Quiet<F> {
    pub fn new(inner: F) -> Self {
        let wakes = Arc::new(Wakes { state: AtomicU8::new(RESTS), task: AtomicWaker::new() });
        Quiet { inner, waker: wakes.clone().into(), wakes }
    }
}

impl<F: Future + Unpin> Future for Quiet<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Quiet { inner, wakes, waker } = &mut *self;
        // Before it rests: a wake from then on finds whom to wake.
        wakes.task.register(context.waker());
        for _ in 0..POLLS_MAX {
            wakes.state.swap(POLLED, AcqRel);
            if let Poll::Ready(output) = Pin::new(&mut *inner).poll(&mut Context::from_waker(waker)) {
                return Poll::Ready(output);
            }
            if wakes.state.compare_exchange(POLLED, RESTS, AcqRel, Acquire).is_ok() {
                return Poll::Pending;
            }
        }
        wakes.state.swap(RESTS, AcqRel);
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let noted = |state| (state != RESTS).then_some(WOKEN);
        // Whoever polls takes what was written before this along.
        if self.state.fetch_update(AcqRel, Acquire, noted).is_err() {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::Relaxed;
    use std::task::ready;

    use tokio::sync::mpsc;

    use super::*;

    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl Wake for Counting {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// Polls it once; how often the scheduler was woken by it, and what came of it.
    fn poll_once<F: Future + Unpin>(quiet: &mut Quiet<F>) -> (usize, Poll<F::Output>) {
        let scheduler = Arc::new(Counting::default());
        let polled = Pin::new(quiet).poll(&mut Context::from_waker(&scheduler.clone().into()));
        (scheduler.0.load(Relaxed), polled)
    }

    /// A future that wakes itself so many times, one for each poll.
    fn restless(times: usize) -> impl Future<Output = ()> {
        let mut left = times;
        std::future::poll_fn(move |context| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        })
    }

    #[test]
    fn a_wake_of_its_own_is_no_work_for_the_scheduler_and_many_are() {
        assert_eq!(poll_once(&mut Quiet::new(restless(1))), (0, Poll::Ready(())));
        let mut quiet = Quiet::new(restless(3));
        assert_eq!(poll_once(&mut quiet), (1, Poll::Pending), "others have their turn");
        assert_eq!(poll_once(&mut quiet), (0, Poll::Ready(())));
    }

    #[test]
    fn a_wake_while_it_rests_is_the_schedulers() {
        let (send, mut receive) = mpsc::unbounded_channel();
        let receiving = std::pin::pin!(receive.recv());
        let mut quiet = Quiet::new(receiving);
        let scheduler = Arc::new(Counting::default());
        let waker = scheduler.clone().into();
        assert_eq!(Pin::new(&mut quiet).poll(&mut Context::from_waker(&waker)), Poll::Pending);
        send.send(7).unwrap();
        assert_eq!(scheduler.0.load(Relaxed), 1);
        assert_eq!(poll_once(&mut quiet), (0, Poll::Ready(Some(7))));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_wake_of_another_thread_is_lost() {
        const MESSAGES: usize = 20_000;
        let (send, mut receive) = mpsc::channel(1);
        let (answer, mut answers) = mpsc::channel(1);
        let echo = std::future::poll_fn(move |context| {
            while ready!(receive.poll_recv(context)).is_some() {
                answer.try_send(()).unwrap();
            }
            Poll::Ready(())
        });
        let echo = tokio::spawn(Quiet::new(echo));
        for _ in 0..MESSAGES {
            send.send(()).await.unwrap();
            answers.recv().await.unwrap();
        }
        drop(send);
        echo.await.unwrap();
    }
}
