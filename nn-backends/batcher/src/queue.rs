//! A model's bounded queue: callers put jobs in without waiting, executor threads take batches out.
//!
//! Everything is decided elsewhere, purely: who is let in (`admission.rs`), whose turn it is (`policy.rs`). Here is the
//! state they decide over, and the lock around it.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use headland_nn_core::{NamedTensor, NnError, OutputSelection};
use tokio::sync::oneshot;

use crate::admission::{self, Backlog, Size};
use crate::assemble::Extents;
use crate::flows::{Caller, Flows, Waiting};
use crate::policy::{self, Cost, Decision, Pending, Policy, Traffic, World};

/// A predicted run up to this long is done where the caller is, when an executor is idle and nobody waits: handing it to
/// another thread and back costs as much. Longer ones would keep the caller's thread from its other tasks.
pub const INLINE_RUN_MAX: Duration = Duration::from_micros(200);

/// What a worker sends back: the outputs, and when the batch started and ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub outputs: Vec<NamedTensor>,
    pub started: Instant,
    pub ended: Instant,
}

/// What a request brings to a run.
pub(crate) struct Work {
    pub inputs: Vec<NamedTensor>,
    pub wanted: OutputSelection,
    pub extents: Extents,
    /// What running it takes: rows times length, less the padding that the executor leaves out.
    pub cells: usize,
    /// Equal kinds may share a run; `None` runs alone.
    pub kind: Option<u64>,
    /// Whether `cells` is its size. Of a request whose inputs disagree nothing is known.
    pub sized: bool,
}

/// One waiting request, or one part of one.
pub(crate) struct Job {
    pub work: Work,
    pub arrived: Instant,
    pub deadline: Option<Instant>,
    pub priority: u8,
    pub reply: oneshot::Sender<Result<Done, NnError>>,
}

/// What left the queue: jobs to run together, jobs whose time ran out, and jobs whose time will not do.
#[derive(Default)]
pub(crate) struct Batch {
    pub run: Vec<Job>,
    pub expired: Vec<Job>,
    pub late: Vec<Job>,
    /// What the run is expected to take.
    pub predicted: Duration,
}

#[derive(Debug)]
pub(crate) enum Refused {
    /// Too many wait already.
    Full {
        wait: Duration,
    },
    /// It would be answered after its deadline.
    Late {
        wait: Duration,
    },
    Closed,
}

pub(crate) struct Queue {
    state: Mutex<State>,
    arrival: Condvar,
    queue_max: usize,
    policy: Policy,
}

struct Queued {
    job: Job,
    flow: usize,
}

struct State {
    jobs: VecDeque<Queued>,
    /// All of them together.
    waiting: Waiting,
    flows: Flows,
    traffic: Traffic,
    cost: Cost,
    /// For each executor when its run is expected to end; `None` while it is idle.
    running: Vec<Option<Instant>>,
    /// Executor threads that may have to be woken.
    asleep: usize,
    open: bool,
}

impl Queue {
    pub fn new(queue_max: usize, policy: Policy, executors: usize) -> Self {
        let state = State {
            jobs: VecDeque::new(),
            waiting: Waiting::default(),
            flows: Flows::default(),
            traffic: Traffic::default(),
            cost: Cost::default(),
            running: vec![None; executors],
            asleep: 0,
            open: true,
        };
        Queue { state: Mutex::new(state), arrival: Condvar::new(), queue_max, policy }
    }

    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Lets the first jobs of a request of this `size` in, all or none. What comes back is a job that had to go for them,
    /// still to be answered.
    pub fn push(&self, jobs: Vec<Job>, size: Size, caller: &Caller) -> Result<Option<Job>, Refused> {
        let mut state = self.lock();
        let evicted = state.admit(&jobs, size, caller, self.queue_max, &self.policy)?;
        state.enter(jobs, caller);
        self.wake(state);
        Ok(evicted.map(|queued| queued.job))
    }

    /// Lets a further job of a request in that was let in.
    pub fn push_next(&self, job: Job, caller: &Caller) -> Result<(), Refused> {
        let mut state = self.lock();
        if !state.open {
            return Err(Refused::Closed);
        }
        state.enter(vec![job], caller);
        self.wake(state);
        Ok(())
    }

    /// Refuses a request that would be refused whatever its size: then its size need not be found out.
    pub fn may_admit(&self, deadline: Option<Instant>, caller: &Caller) -> Result<(), Refused> {
        let mut state = self.lock();
        if !state.open {
            return Err(Refused::Closed);
        }
        let flow = state.flows.enter(caller);
        state.in_time(flow, Size::LEAST, Instant::now(), deadline, &self.policy).map(|_| ())
    }

    /// An executor for `work` to run on at once, on its caller's thread: it is the caller's until
    /// [`Self::idle`]. Only for what is surely short: its size is known, and no larger than what was measured.
    pub fn take_inline(&self, work: &Work, deadline: Option<Instant>, caller: &Caller) -> Option<usize> {
        if !work.sized {
            return None;
        }
        let mut state = self.lock();
        let now = Instant::now();
        let run = state.cost.estimate().filter(|_| work.cells <= state.cost.cells_max())?.run(work.cells);
        let in_time = deadline.is_none_or(|deadline| deadline.saturating_duration_since(now) > run);
        if !(state.open && state.jobs.is_empty() && run <= INLINE_RUN_MAX && in_time) {
            return None;
        }
        let slot = state.running.iter().position(Option::is_none)?;
        *state.running.get_mut(slot)? = Some(now.checked_add(run)?);
        state.traffic.arrived(now);
        let flow = state.flows.enter(caller);
        state.flows.served(flow, work.cells);
        Some(slot)
    }

    /// Notes that the executor at `slot` has nothing to do.
    pub fn idle(&self, slot: usize) {
        let mut state = self.lock();
        if let Some(running) = state.running.get_mut(slot) {
            *running = None;
        }
        // Whoever came meanwhile found no idle executor, and its own thread may wait to end.
        if !state.jobs.is_empty() || !state.open {
            self.wake(state);
        }
    }

    /// Takes in what a run of `cells` took. Only what succeeded teaches: a refusal takes no time at all.
    pub fn ran(&self, cells: usize, took: Duration) {
        self.lock().cost.observe(cells, took);
    }

    /// Waits for the next batch for the executor at `slot`; `None` once the queue is closed and empty.
    pub fn next_batch(&self, slot: usize) -> Option<Batch> {
        // Whatever it ran last is over.
        let mut mine = true;
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            // Somebody may be running on it inline: then there is nothing to decide before that is over.
            if mine {
                mine = false;
                if let Some(running) = state.running.get_mut(slot) {
                    *running = None;
                }
            }
            if state.running.get(slot).is_some_and(Option::is_some) {
                state = self.sleep(state, None);
                continue;
            }
            let decision = state.decide(&self.policy, now);
            let batch = state.take(&decision);
            if !(batch.run.is_empty() && batch.expired.is_empty() && batch.late.is_empty()) {
                if let Some(running) = state.running.get_mut(slot) {
                    *running = Some(now.checked_add(batch.predicted).unwrap_or(now));
                }
                // What is left may be for another executor that sleeps.
                if !state.jobs.is_empty() {
                    self.arrival.notify_one();
                }
                return Some(batch);
            }
            if !state.open && state.jobs.is_empty() {
                return None;
            }
            state = self.sleep(state, decision.wake_at.map(|at| at.saturating_duration_since(now)));
        }
    }

    /// Waits until something may be to be done, or for so long.
    fn sleep<'s>(&'s self, mut state: MutexGuard<'s, State>, wait: Option<Duration>) -> MutexGuard<'s, State> {
        state.asleep += 1;
        let mut state = match wait {
            Some(wait) => self.arrival.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
            None => self.arrival.wait(state).unwrap_or_else(PoisonError::into_inner),
        };
        state.asleep -= 1;
        state
    }

    /// Wakes all that sleep: one alone may find its executor lent to a caller. Where all are at work that is a system call
    /// saved.
    fn wake(&self, state: MutexGuard<'_, State>) {
        let asleep = state.asleep > 0;
        drop(state);
        if asleep {
            self.arrival.notify_all();
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

    /// Nothing under this lock panics but by a defect of ours, and every change of state is whole before the next call out:
    /// a poisoned one is still sound.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Decides on the jobs of one request. One that waits may have to go for it: it comes back.
    fn admit(
        &mut self,
        jobs: &[Job],
        size: Size,
        caller: &Caller,
        queue_max: usize,
        policy: &Policy,
    ) -> Result<Option<Queued>, Refused> {
        if !self.open {
            return Err(Refused::Closed);
        }
        let Some(first) = jobs.first() else { return Ok(None) };
        let flow = self.flows.enter(caller);
        let backlog = self.in_time(flow, size, first.arrived, first.deadline, policy)?;
        self.traffic.arrived(first.arrived);
        if self.jobs.len() < queue_max {
            return Ok(None);
        }
        // Places held by callers who have gone are free places.
        self.forget_abandoned();
        if self.jobs.len() < queue_max {
            return Ok(None);
        }
        // A flow that has less than its share of the places gets one of the greediest flow's: its latest.
        let due = queue_max as f64 * self.flows.share(flow);
        let full = || Refused::Full { wait: backlog.running };
        let greediest = self.flows.greediest().filter(|&greediest| greediest != flow).ok_or_else(full)?;
        if (self.flows.waiting(flow).requests as f64) + 1.0 > due {
            return Err(full());
        }
        let latest = self.jobs.iter().rposition(|queued| queued.flow == greediest).ok_or_else(full)?;
        Ok(self.remove(latest))
    }

    /// What a request of this size that can be answered in time finds before it.
    fn in_time(
        &mut self,
        flow: usize,
        size: Size,
        now: Instant,
        deadline: Option<Instant>,
        policy: &Policy,
    ) -> Result<Backlog, Refused> {
        let backlog = self.backlog(flow, now);
        let left = deadline.map(|deadline| deadline.saturating_duration_since(now));
        admission::admit(&backlog, size, left, policy, self.cost.estimate()).map_err(|wait| Refused::Late { wait })?;
        Ok(backlog)
    }

    fn enter(&mut self, jobs: Vec<Job>, caller: &Caller) {
        let flow = self.flows.enter(caller);
        for job in jobs {
            self.flows.waiting(flow).add(job.work.extents.rows, job.work.cells);
            self.waiting.add(job.work.extents.rows, job.work.cells);
            self.jobs.push_back(Queued { job, flow });
        }
    }

    fn backlog(&mut self, flow: usize, now: Instant) -> Backlog {
        let (all, own) = (self.waiting, *self.flows.waiting(flow));
        let left = self.running.iter().flatten().map(|until| until.saturating_duration_since(now));
        Backlog {
            rows: all.rows,
            cells: all.cells,
            requests: all.requests,
            own_rows: own.rows,
            own_cells: own.cells,
            own_requests: own.requests,
            share: self.flows.share(flow),
            running: left.sum(),
            executors: self.running.len(),
            idle: self.running.iter().filter(|running| running.is_none()).count(),
        }
    }

    fn decide(&self, policy: &Policy, now: Instant) -> Decision {
        let pending: Vec<Pending> = self.jobs.iter().map(Queued::pending).collect();
        let world = World {
            now,
            idle: self.running.iter().filter(|running| running.is_none()).count().max(1),
            // A closed queue fills no batch further: what is there runs now.
            gap: if self.open { self.traffic.gap() } else { None },
            last_arrival: self.traffic.last(),
            cost: self.cost.estimate(),
        };
        policy::decide(&pending, self.flows.states(), policy, &world)
    }

    /// Removes what the decision names, and counts what runs as served.
    fn take(&mut self, decision: &Decision) -> Batch {
        for &position in &decision.run {
            let queued = &self.jobs[position];
            self.flows.served(queued.flow, queued.job.work.cells);
        }
        let mut batch = Batch::default();
        let cells = decision.run.iter().map(|&position| self.jobs[position].job.work.cells).sum();
        batch.predicted = self.cost.estimate().map(|cost| cost.run(cells)).unwrap_or_default();
        let mut gone: Vec<(usize, Fate)> = Vec::new();
        let mut note = |positions: &[usize], fate: fn(usize) -> Fate| {
            gone.extend(positions.iter().enumerate().map(|(place, &position)| (position, fate(place))));
        };
        note(&decision.run, Fate::Runs);
        note(&decision.expired, |_| Fate::Expired);
        note(&decision.late, |_| Fate::Late);
        note(&decision.abandoned, |_| Fate::Abandoned);
        gone.sort_unstable();
        let mut run: Vec<Option<Job>> = (0..decision.run.len()).map(|_| None).collect();
        // From the back: the positions of those before stay what they are.
        for (position, fate) in gone.into_iter().rev() {
            let Some(Queued { job, .. }) = self.remove(position) else { continue };
            match fate {
                Fate::Runs(place) => run[place] = Some(job),
                Fate::Expired => batch.expired.push(job),
                Fate::Late => batch.late.push(job),
                Fate::Abandoned => {}
            }
        }
        batch.run = run.into_iter().flatten().collect();
        batch
    }

    fn remove(&mut self, position: usize) -> Option<Queued> {
        let queued = self.jobs.remove(position)?;
        self.flows.waiting(queued.flow).remove(queued.job.work.extents.rows, queued.job.work.cells);
        self.waiting.remove(queued.job.work.extents.rows, queued.job.work.cells);
        Some(queued)
    }

    fn forget_abandoned(&mut self) {
        for position in (0..self.jobs.len()).rev() {
            if self.jobs[position].job.reply.is_closed() {
                self.remove(position);
            }
        }
    }
}

/// What becomes of a job that leaves the queue.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// It runs, at this place of its batch.
    Runs(usize),
    Expired,
    Late,
    Abandoned,
}

impl Queued {
    fn pending(&self) -> Pending {
        let Job { work, arrived, deadline, priority, reply } = &self.job;
        Pending {
            arrived: *arrived,
            deadline: *deadline,
            abandoned: reply.is_closed(),
            rows: work.extents.rows,
            length: work.extents.length,
            cells: work.cells,
            kind: work.kind,
            flow: self.flow,
            priority: *priority,
        }
    }
}

#[cfg(test)]
mod simulation;
