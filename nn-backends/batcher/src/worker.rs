//! The executors of a model and the threads that run them: takes batches from the queue, runs them, answers the callers.
//! A short run may borrow an idle executor on its caller's own thread.

use std::any::Any;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use headland_nn_core::{Executor, NamedTensor, NnError, OutputSelection, Padding};

use crate::assemble::{Extents, Layout};
use crate::flows::Caller;
use crate::queue::{Batch, Done, Job, Queue, Work};
use crate::stats::ModelStats;

/// Pairs of requests, one after the other, that fail together although each succeeds alone: after so many the model's axes
/// are taken to be wrong, and no more batches are tried.
pub(crate) const FAILED_PAIRS_MAX: u32 = 8;

/// Held by every thread of a model to its end: nothing is ever sent, and the receiver sees when the last one is gone. With
/// it, what the model's owner wants held for as long.
pub(crate) type Alive = (mpsc::Sender<Infallible>, Option<Arc<dyn Any + Send + Sync>>);

/// What the threads of a model, and callers that run inline, share.
pub(crate) struct Shared {
    pub model: Arc<str>,
    pub queue: Queue,
    pub stats: ModelStats,
    /// How requests share a run, where they do.
    pub layout: Option<Layout>,
    failed_pairs: AtomicU32,
    /// Why no batches are tried any more.
    gave_up: OnceLock<String>,
    /// Each thread's executor; gone when the thread is.
    executors: Vec<Mutex<Option<Box<dyn Executor>>>>,
}

impl Shared {
    pub fn new(model: Arc<str>, queue: Queue, layout: Option<Layout>, executors: Vec<Box<dyn Executor>>) -> Self {
        let executors = executors.into_iter().map(|executor| Mutex::new(Some(executor))).collect();
        let (stats, failed_pairs, gave_up) = (ModelStats::default(), AtomicU32::new(0), OnceLock::new());
        Shared { model, queue, stats, layout, failed_pairs, gave_up, executors }
    }

    /// Why no batches are tried any more, if they failed too often.
    pub fn gave_up(&self) -> Option<&str> {
        self.gave_up.get().map(String::as_str)
    }

    pub fn executors(&self) -> usize {
        self.executors.len()
    }

    /// Starts the thread of the executor at `slot`; it ends when the queue is closed and empty, and drops `alive` after the
    /// executor.
    pub fn spawn(self: &Arc<Self>, slot: usize, alive: Alive) -> std::io::Result<JoinHandle<()>> {
        let shared = self.clone();
        // Linux shows 15 bytes of a thread's name: the model's is worth more than a prefix.
        thread::Builder::new().name(self.model.to_string()).spawn(move || {
            while let Some(batch) = shared.queue.next_batch(slot) {
                shared.serve(slot, batch);
            }
            // Waits for a caller that still runs on it.
            if let Some(executor) = shared.executors.get(slot) {
                drop(executor.lock().unwrap_or_else(PoisonError::into_inner).take());
            }
            drop(alive);
        })
    }

    /// Runs `work` on the calling thread, if it is short and an executor is idle.
    pub fn run_inline(&self, work: &Work, deadline: Option<Instant>, caller: &Caller) -> Option<Result<Done, NnError>> {
        let slot = self.queue.take_inline(work, deadline, caller)?;
        let done = match self.executors.get(slot).map(Mutex::try_lock) {
            Some(Ok(mut executor)) => executor.as_deref_mut().map(|executor| self.run_one(executor, work)),
            Some(Err(TryLockError::Poisoned(executor))) => {
                executor.into_inner().as_deref_mut().map(|executor| self.run_one(executor, work))
            }
            Some(Err(TryLockError::WouldBlock)) | None => None,
        };
        self.queue.idle(slot);
        done
    }

    fn serve(&self, slot: usize, batch: Batch) {
        for job in batch.expired {
            // A caller that has gone meanwhile is no loss.
            let _ = job.reply.send(Err(NnError::DeadlineExceeded { model: self.model.clone() }));
        }
        for job in batch.late {
            let _ = job.reply.send(Err(NnError::would_be_late(&self.model, batch.predicted)));
        }
        let jobs = batch.run;
        let Some(executor) = self.executors.get(slot) else { return };
        let mut executor = executor.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(executor) = executor.as_deref_mut() {
            self.run_jobs(executor, jobs);
        }
    }

    /// One run for all. When it fails, each half runs for itself, and so on: what is wrong with one request is no other's
    /// concern, and costs the others few runs more. Whether all succeeded.
    fn run_jobs(&self, executor: &mut dyn Executor, mut jobs: Vec<Job>) -> bool {
        jobs.retain(|job| !job.reply.is_closed());
        if jobs.len() < 2 || self.gave_up().is_some() {
            let mut all = true;
            for job in jobs {
                let result = self.run_one(executor, &job.work);
                all &= result.is_ok();
                let _ = job.reply.send(result);
            }
            return all;
        }
        let Err(error) = self.run_together(executor, &mut jobs) else {
            self.failed_pairs.store(0, Relaxed);
            return true;
        };
        tracing::debug!(model = &*self.model, %error, requests = jobs.len(), "a batch failed; its halves run alone");
        let (size, rest) = (jobs.len(), jobs.split_off(jobs.len() / 2));
        let all = self.run_jobs(executor, jobs) & self.run_jobs(executor, rest);
        if all && size == 2 {
            self.pair_failed(&error);
        }
        all
    }

    fn pair_failed(&self, error: &NnError) {
        let failed = self.failed_pairs.fetch_add(1, Relaxed).saturating_add(1);
        if failed == FAILED_PAIRS_MAX {
            let why = format!("{failed} times two failed together and succeeded alone, the last time with: {error}");
            tracing::warn!(model = &*self.model, "{why}; requests run alone from now on: are the batch axes right?");
            let _ = self.gave_up.set(why);
        }
    }

    fn run_one(&self, executor: &mut dyn Executor, work: &Work) -> Result<Done, NnError> {
        let started = Instant::now();
        let result = self.run(executor, &work.inputs, &work.wanted);
        let ended = Instant::now();
        self.stats.executed(1, work.extents.rows, ended - started);
        let outputs = result?;
        // Only what succeeds teaches what runs cost: a refusal takes no time at all.
        if work.sized {
            self.queue.ran(work.cells, ended - started);
        }
        Ok(Done { outputs, started, ended })
    }

    /// Runs and answers all of `jobs`, or none.
    fn run_together(&self, executor: &mut dyn Executor, jobs: &mut Vec<Job>) -> Result<(), NnError> {
        let extents: Vec<Extents> = jobs.iter().map(|job| job.work.extents).collect();
        let rows = extents.iter().map(|extents| extents.rows).sum();
        let longest = extents.iter().map(|extents| extents.length).max().unwrap_or(1);
        let cells: usize = jobs.iter().map(|job| job.work.cells).sum();
        let started = Instant::now();
        let outputs = self.join_and_run(executor, jobs, &extents);
        let ended = Instant::now();
        self.stats.executed(jobs.len(), rows, ended - started);
        let outputs = outputs?;
        self.stats.padded(cells, (rows * longest).saturating_sub(cells));
        self.queue.ran(self.cells_run(cells, rows * longest), ended - started);
        for (job, outputs) in jobs.drain(..).zip(outputs) {
            let _ = job.reply.send(Ok(Done { outputs, started, ended }));
        }
        Ok(())
    }

    fn cells_run(&self, cells: usize, padded: usize) -> usize {
        match self.queue.policy().padding {
            Padding::Computed => padded,
            Padding::Skipped => cells,
        }
    }

    fn join_and_run(
        &self,
        executor: &mut dyn Executor,
        jobs: &[Job],
        extents: &[Extents],
    ) -> Result<Vec<Vec<NamedTensor>>, NnError> {
        let layout = self.layout.as_ref().ok_or_else(|| NnError::runtime("the model does not batch"))?;
        let requests: Vec<(&[NamedTensor], Extents)> =
            jobs.iter().map(|job| (&*job.work.inputs, job.work.extents)).collect();
        let inputs = layout.join(&requests)?;
        let wanted = jobs.first().map(|job| job.work.wanted.clone()).unwrap_or_default();
        let outputs = self.run(executor, &inputs, &wanted)?;
        layout.part(&outputs, extents)
    }

    fn run(
        &self,
        executor: &mut dyn Executor,
        inputs: &[NamedTensor],
        wanted: &OutputSelection,
    ) -> Result<Vec<NamedTensor>, NnError> {
        catch_unwind(AssertUnwindSafe(|| executor.run(inputs, wanted))).unwrap_or_else(|_| {
            tracing::error!(model = &*self.model, "the backend panicked; the request fails, the model stays loaded");
            Err(NnError::runtime("the backend panicked"))
        })
    }
}
