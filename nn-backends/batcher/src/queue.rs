//! A model's bounded queue: callers put jobs in without waiting, executor threads take batches out.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use headland_nn_core::{NamedTensor, NnError, OutputSelection};
use tokio::sync::oneshot;

use crate::policy::{self, Pending, Policy};

/// What a worker sends back: the outputs, and when the batch started and ended.
pub(crate) struct Done {
    pub outputs: Vec<NamedTensor>,
    pub started: Instant,
    pub ended: Instant,
}

/// One waiting request.
pub(crate) struct Job {
    pub inputs: Vec<NamedTensor>,
    pub wanted: OutputSelection,
    pub arrived: Instant,
    pub deadline: Option<Instant>,
    pub reply: oneshot::Sender<Result<Done, NnError>>,
}

/// What left the queue: jobs to run together, and jobs whose time ran out.
pub(crate) struct Batch {
    pub run: Vec<Job>,
    pub expired: Vec<Job>,
}

pub(crate) enum Refused {
    Full,
    Closed,
}

pub(crate) struct Queue {
    state: Mutex<State>,
    arrival: Condvar,
    queue_max: usize,
    policy: Policy,
}

struct State {
    jobs: VecDeque<Job>,
    open: bool,
}

impl Queue {
    pub fn new(queue_max: usize, policy: Policy) -> Self {
        let state = State { jobs: VecDeque::new(), open: true };
        Queue { state: Mutex::new(state), arrival: Condvar::new(), queue_max, policy }
    }

    pub fn push(&self, job: Job) -> Result<(), Refused> {
        let mut state = self.lock();
        if !state.open {
            return Err(Refused::Closed);
        }
        if state.jobs.len() >= self.queue_max {
            // Places held by callers who have gone are free places.
            state.jobs.retain(|job| !job.reply.is_closed());
            if state.jobs.len() >= self.queue_max {
                return Err(Refused::Full);
            }
        }
        state.jobs.push_back(job);
        drop(state);
        self.arrival.notify_one();
        Ok(())
    }

    /// Waits for the next batch; `None` once the queue is closed and empty.
    pub fn next_batch(&self) -> Option<Batch> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let decision = policy::decide(state.jobs.iter().map(Job::pending), &self.policy, now);
            let moved = !decision.run.is_empty() || !decision.expired.is_empty();
            // A closed queue fills no batch further: what is there runs now.
            if !state.open && !moved {
                let run: Vec<Job> = state.jobs.drain(..).filter(|job| !job.reply.is_closed()).collect();
                return (!run.is_empty()).then_some(Batch { run, expired: Vec::new() });
            }
            let batch = state.take(&decision);
            if moved {
                return Some(batch);
            }
            state = match decision.wake_at {
                Some(at) => {
                    let wait = at.saturating_duration_since(now);
                    self.arrival.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.arrival.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    pub fn len(&self) -> usize {
        self.lock().jobs.len()
    }

    /// Refuses new jobs; those that wait still run.
    pub fn close(&self) {
        self.lock().open = false;
        self.arrival.notify_all();
    }

    /// No code that can panic runs under this lock, so a poisoned one is still whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Removes what the decision names. Its positions are ascending and near the front, so this is cheap.
    fn take(&mut self, decision: &policy::Decision) -> Batch {
        let mut batch = Batch { run: Vec::new(), expired: Vec::new() };
        let mut gone: Vec<usize> =
            [&decision.run[..], &decision.expired, &decision.abandoned].into_iter().flatten().copied().collect();
        gone.sort_unstable();
        for position in gone.into_iter().rev() {
            let Some(job) = self.jobs.remove(position) else { continue };
            if decision.run.contains(&position) {
                batch.run.push(job);
            } else if decision.expired.contains(&position) {
                batch.expired.push(job);
            }
        }
        batch.run.reverse();
        batch
    }
}

impl Job {
    fn pending(&self) -> Pending {
        Pending { arrived: self.arrived, deadline: self.deadline, abandoned: self.reply.is_closed() }
    }
}
