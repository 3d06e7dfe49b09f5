//! The queue's own decisions in simulated time: requests come at random, runs cost what they cost, nobody waits for real.
//!
//! Shows what no single decision can: that goodput does not collapse past the capacity, that those who are let in are
//! answered in time, that a flood leaves the others alone, and that a lone caller pays nothing for batching.

use super::*;
use crate::DEFAULT_CELLS_MAX_CPU;
use headland_nn_core::Padding;

const MS: Duration = Duration::from_millis(1);
const US: Duration = Duration::from_micros(1);

/// A machine: what a run takes for itself, and for each cell, on each of some executors.
#[derive(Clone, Copy)]
struct Machine {
    fixed: Duration,
    cell: Duration,
    executors: usize,
    /// For how much of the time other work takes the cores, and runs take twice as long.
    disturbed: f64,
}

impl Machine {
    /// MiniLM in f32 on two cores, one text of 13 tokens a request: 32 texts on each take 100 ms.
    const MINILM: Machine =
        Machine { fixed: Duration::from_millis(2), cell: Duration::from_nanos(235_000), executors: 2, disturbed: 0.0 };

    /// Requests a second of `cells` each that it can answer, at its largest batches.
    fn capacity(&self, policy: &Policy, cells: usize) -> f64 {
        let rows = policy.rows_max.min(policy.cells_max / cells).max(1);
        let run = (self.fixed + self.cell * (rows * cells) as u32).mul_f64(1.0 + self.disturbed);
        (rows * self.executors) as f64 / run.as_secs_f64()
    }
}

/// Requests of one caller: how many a second, of how many cells, waiting for how long.
#[derive(Clone, Copy)]
struct Stream {
    name: &'static str,
    rate: f64,
    cells: usize,
    deadline: Duration,
}

/// What became of a stream's requests.
#[derive(Clone, Debug, Default)]
struct Outcome {
    sent: usize,
    refused: usize,
    late: usize,
    /// Times from arrival to answer, of those that were let in and answered.
    answered: Vec<Duration>,
}

impl Outcome {
    fn goodput(&self) -> usize {
        self.answered.len()
    }

    fn percentile(&self, share: f64) -> Duration {
        let mut sorted = self.answered.clone();
        sorted.sort_unstable();
        sorted.get((sorted.len() as f64 * share) as usize).copied().unwrap_or_default()
    }
}

/// SplitMix64: the same seed gives the same run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Time to the next of `rate` events a second.
    fn gap(&mut self, rate: f64) -> Duration {
        Duration::from_secs_f64(-(1.0 - self.next()).ln() / rate)
    }
}

/// A job of a stream, with the receiver that keeps it wanted.
struct Waiting {
    stream: usize,
    arrived: Instant,
    deadline: Instant,
    answer: oneshot::Receiver<Result<Done, NnError>>,
}

struct Simulation<'a> {
    start: Instant,
    state: State,
    policy: &'a Policy,
    machine: Machine,
    streams: &'a [Stream],
    outcomes: Vec<Outcome>,
    waiting: Vec<Waiting>,
    /// For each executor what it runs, and until when.
    runs: Vec<Option<(Instant, Vec<Job>)>>,
    dice: Dice,
}

/// Plays `streams` for `length` against one queue.
fn play(streams: &[Stream], policy: &Policy, machine: Machine, length: Duration, seed: u64) -> Vec<Outcome> {
    let start = Instant::now();
    let queue = Queue::new(256, policy.clone(), machine.executors);
    let mut simulation = Simulation {
        start,
        state: queue.state.into_inner().unwrap(),
        policy,
        machine,
        streams,
        outcomes: vec![Outcome::default(); streams.len()],
        waiting: Vec::new(),
        runs: (0..machine.executors).map(|_| None).collect(),
        dice: Dice(seed),
    };
    let mut next: Vec<Instant> = Vec::new();
    for stream in streams {
        next.push(start + simulation.dice.gap(stream.rate));
    }
    let mut now = start;
    while now < start + length {
        let wake = simulation.start_runs(now);
        let ends = simulation.runs.iter().flatten().map(|(end, _)| *end);
        let (stream, arrival) = next.iter().copied().enumerate().min_by_key(|(_, at)| *at).unwrap();
        now = ends.chain(wake).chain([arrival]).min().unwrap();
        simulation.end_runs(now);
        if now == arrival {
            simulation.arrive(stream, now);
            next[stream] = now + simulation.dice.gap(streams[stream].rate);
        }
    }
    simulation.outcomes
}

impl Simulation<'_> {
    fn arrive(&mut self, stream: usize, now: Instant) {
        let Stream { name, cells, deadline, .. } = self.streams[stream];
        let caller = Caller { name: name.into(), weight: 1 };
        let (reply, answer) = oneshot::channel();
        let extents = Extents { rows: 1, length: cells };
        let work = Work { inputs: vec![], wanted: OutputSelection::All, extents, cells, kind: Some(0), sized: true };
        let job = Job { work, arrived: now, deadline: Some(now + deadline), priority: 0, reply };
        self.outcomes[stream].sent += 1;
        let jobs = vec![job];
        match self.state.admit(&jobs, Size { cells, parts: 1 }, &caller, 256, self.policy) {
            Err(_) => self.outcomes[stream].refused += 1,
            Ok(put_out) => {
                drop(put_out);
                self.state.enter(jobs, &caller);
                self.waiting.push(Waiting { stream, arrived: now, deadline: now + deadline, answer });
            }
        }
    }

    /// Gives every idle executor what the policy has for it; when it wants to be asked again.
    fn start_runs(&mut self, now: Instant) -> Option<Instant> {
        while let Some(slot) = self.runs.iter().position(Option::is_none) {
            let cells = self.state.jobs.iter().map(|queued| queued.job.work.cells).sum();
            assert_eq!((self.state.waiting.requests, self.state.waiting.cells), (self.state.jobs.len(), cells));
            let decision = self.state.decide(self.policy, now);
            let batch = self.state.take(&decision);
            if batch.run.is_empty() {
                return decision.wake_at;
            }
            let cells: usize = batch.run.iter().map(|job| job.work.cells).sum();
            // Runs vary by a fifth, and others take the cores for 300 ms at a time.
            let slice = (now - self.start).as_millis() / 300;
            let disturbed = Dice(slice as u64).next() < self.machine.disturbed;
            let factor = if disturbed { 2.0 } else { 1.0 } * (0.9 + 0.2 * self.dice.next());
            let took = (self.machine.fixed + self.machine.cell * cells as u32).mul_f64(factor);
            self.state.running[slot] = Some(now + took);
            self.runs[slot] = Some((now + took, batch.run));
            self.state.cost.observe(cells, took);
        }
        None
    }

    fn end_runs(&mut self, now: Instant) {
        for slot in 0..self.runs.len() {
            if self.runs[slot].as_ref().is_some_and(|(end, _)| *end <= now) {
                self.state.running[slot] = None;
                for job in self.runs[slot].take().into_iter().flat_map(|(_, jobs)| jobs) {
                    let _ = job.reply.send(Ok(Done { outputs: vec![], started: now, ended: now }));
                }
            }
        }
        let outcomes = &mut self.outcomes;
        self.waiting.retain_mut(|waiting| {
            let outcome = &mut outcomes[waiting.stream];
            match waiting.answer.try_recv() {
                Ok(_) if now <= waiting.deadline => outcome.answered.push(now - waiting.arrived),
                Err(oneshot::error::TryRecvError::Empty) if now <= waiting.deadline => return true,
                _ => outcome.late += 1,
            }
            false
        });
    }
}

fn minilm() -> Policy {
    Policy {
        rows_max: 64,
        cells_max: DEFAULT_CELLS_MAX_CPU,
        delay_max: 2 * MS,
        padding: Padding::Skipped,
        ..Policy::single()
    }
}

fn at(load: f64, policy: &Policy) -> Stream {
    let rate = load * Machine::MINILM.capacity(policy, 13);
    Stream { name: "native", rate, cells: 13, deadline: 500 * MS }
}

#[test]
fn past_the_capacity_goodput_holds_and_those_let_in_are_answered_in_time() {
    for seed in 1..=5 {
        let policy = minilm();
        let mut peak = 0;
        for load in [0.5, 0.9, 1.0, 1.5, 2.0, 4.0] {
            let outcome = &play(&[at(load, &policy)], &policy, Machine::MINILM, 20_000 * MS, seed)[0];
            peak = peak.max(outcome.goodput());
            let share = outcome.goodput() as f64 / peak as f64;
            assert!(load <= 1.0 || share > 0.95, "seed {seed}: {share} of the peak at {load} times the capacity");
            let lost = outcome.late as f64 / outcome.sent as f64;
            assert!(lost < 0.01, "seed {seed}: at {load} times the capacity {lost} were let in and answered late");
            assert!(outcome.percentile(0.99) <= 500 * MS);
            assert!(load >= 0.9 || outcome.refused == 0, "seed {seed}: {} refused at {load}", outcome.refused);
        }
    }
}

#[test]
fn goodput_holds_where_other_work_takes_the_cores_at_times() {
    let machine = Machine { disturbed: 0.4, ..Machine::MINILM };
    let policy = minilm();
    for seed in 1..=5 {
        let goodput = |load: f64| {
            let stream = Stream { rate: load * machine.capacity(&policy, 13), ..at(1.0, &policy) };
            play(&[stream], &policy, machine, 20_000 * MS, seed)[0].goodput()
        };
        let peak = goodput(0.9).max(goodput(1.0));
        for load in [1.25, 1.5, 2.0, 4.0] {
            let share = goodput(load) as f64 / peak as f64;
            assert!(share > 0.9, "seed {seed}: {share} of the peak at {load} times the capacity");
        }
    }
}

#[test]
fn a_lone_caller_is_served_as_if_there_were_no_batching() {
    // It sends its next request when it has the last one's answer: 20 a second is far below what it could.
    let policy = minilm();
    let stream = Stream { rate: 20.0, ..at(1.0, &policy) };
    let outcome = &play(&[stream], &policy, Machine::MINILM, 60_000 * MS, 7)[0];
    let run = Machine::MINILM.fixed + Machine::MINILM.cell * 13;
    assert!(outcome.percentile(0.5) <= run.mul_f64(1.11), "{:?}", outcome.percentile(0.5));
}

#[test]
fn a_flood_of_one_app_leaves_the_others_their_speed() {
    let policy = minilm();
    let quiet = Stream { name: "quiet", rate: 40.0, ..at(1.0, &policy) };
    let flood = Stream { name: "flood", ..at(6.0, &policy) };
    for seed in 1..=3 {
        let both = play(&[quiet, flood], &policy, Machine::MINILM, 20_000 * MS, seed);
        assert_eq!((both[0].refused, both[0].late), (0, 0), "seed {seed}");
        assert!(both[0].goodput() + 20 > both[0].sent, "all but those on their way at the end are answered");
        // It waits for the run under way and shares the next: two full runs, and not the flood's queue.
        let two_runs = (Machine::MINILM.fixed + Machine::MINILM.cell * policy.cells_max as u32).mul_f64(2.2);
        assert!(both[0].percentile(0.99) < two_runs, "seed {seed}: {:?}", both[0].percentile(0.99));
        assert!(both[1].refused > 0);
    }
}

#[test]
fn waiting_for_others_pays_where_runs_cost_more_than_rows() {
    // Weights that have to be read for every run, whatever its rows: 1.4 ms, and 20 us a row.
    let machine = Machine { fixed: 1_400 * US, cell: 20 * US, executors: 1, disturbed: 0.0 };
    let batched = Policy { rows_max: 64, delay_max: 2 * MS, ..Policy::single() };
    let stream = Stream { name: "native", rate: 4_000.0, cells: 1, deadline: 100 * MS };
    let together = &play(&[stream], &batched, machine, 5_000 * MS, 3)[0];
    let alone = &play(&[stream], &Policy::single(), machine, 5_000 * MS, 3)[0];
    let ratio = together.goodput() as f64 / alone.goodput() as f64;
    assert!(ratio > 5.0 && together.refused == 0, "{ratio} times as many answered, {} refused", together.refused);
}
