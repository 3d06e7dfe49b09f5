//! The engine's thread: takes requests, decides a step, computes it, tells what came of it, and begins again.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use headland_nn_core::NnError;
use tokio::sync::mpsc::Sender;

use super::outbox::Outbox;
use super::sequence::Sequence;
use super::{EngineOptions, Shared};
use crate::constraint::Held;
use crate::detokenize::Decode;
use crate::flows::Flows;
use crate::model::{LanguageModel, Piece};
use crate::pages::{PageHash, Pages};
use crate::request::{Delta, Request};
use crate::sampling::Sampler;
use crate::schedule::{Limits, Running, SequenceId, Step, View, Waiting, decide};
use crate::stop::StopWatch;

/// How often answers that have ended and are not taken are looked after, while nothing else happens.
const LOOK_AFTER_OUTBOXES: Duration = Duration::from_millis(20);

/// Of those of one app that wait, how many a decision is told of: it lets in a few at most, the first ones first.
const WAITING_LOOKED_AT: usize = 4;

/// A request that was taken.
pub(super) struct Submission {
    pub request: Request,
    pub tokens_max: usize,
    pub stops: StopWatch,
    pub constraint: Option<Held>,
    pub sender: Sender<Delta>,
}

pub(super) struct Runner {
    /// What errors and the log call the model.
    name: Arc<str>,
    model: Box<dyn LanguageModel>,
    decode: Arc<dyn Decode>,
    options: EngineOptions,
    limits: Limits,
    shared: Arc<Shared>,
    submissions: mpsc::Receiver<Submission>,
    /// Whether no more can come.
    closed: bool,
    pages: Pages,
    flows: Flows,
    waiting: BTreeMap<SequenceId, Sequence>,
    running: BTreeMap<SequenceId, Sequence>,
    /// Of answers that have ended and are not all taken.
    outboxes: Vec<Outbox>,
    logits: Vec<f32>,
    next: u64,
}

impl Runner {
    pub fn new(
        name: Arc<str>,
        model: Box<dyn LanguageModel>,
        decode: Arc<dyn Decode>,
        options: EngineOptions,
        shared: Arc<Shared>,
        submissions: mpsc::Receiver<Submission>,
    ) -> Self {
        let shape = model.shape();
        let limits = Limits {
            page_tokens: shape.page_tokens,
            step_tokens_max: options.step_tokens_max.max(1),
            prompt_tokens_beside_answers_max: options.prompt_tokens_beside_answers_max.max(1),
            running_max: options.running_max.max(1),
        };
        let pages = Pages::new(shape.pages, shape.page_tokens);
        Runner {
            name,
            model,
            decode,
            options,
            limits,
            shared,
            submissions,
            closed: false,
            pages,
            flows: Flows::default(),
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
            outboxes: Vec::new(),
            logits: Vec::new(),
            next: 0,
        }
    }

    /// Runs until nothing is left and no more can come.
    pub fn run(mut self) {
        loop {
            self.take_submissions();
            if self.shared.stops.load(Relaxed) {
                let error = NnError::ShuttingDown { model: self.name.clone() };
                return self.fail_all(&error);
            }
            self.outboxes.retain_mut(|outbox| !outbox.flush());
            self.leave_those_who_are_gone();
            self.publish();
            if self.waiting.is_empty() && self.running.is_empty() {
                if self.closed && self.outboxes.is_empty() {
                    return;
                }
                continue;
            }
            let step = self.decide();
            self.apply(&step);
            self.compute(&step);
            self.publish();
        }
    }

    /// Shows what has memory: whenever that may have changed, or an engine with nothing left to do would show it for ever.
    fn publish(&self) {
        self.shared.running.store(self.running.len(), Relaxed);
        self.shared.pages_used.store(self.pages.count() - self.pages.available(), Relaxed);
    }

    /// Takes what has come; waits for it while there is nothing to do.
    fn take_submissions(&mut self) {
        let mut idle = self.waiting.is_empty() && self.running.is_empty();
        while !self.closed || idle {
            let taken = match (idle, self.outboxes.is_empty()) {
                (false, _) => self.submissions.try_recv(),
                (true, true) => self.submissions.recv().map_err(|_| mpsc::TryRecvError::Disconnected),
                (true, false) => self.submissions.recv_timeout(LOOK_AFTER_OUTBOXES).map_err(|error| match error {
                    mpsc::RecvTimeoutError::Timeout => mpsc::TryRecvError::Empty,
                    mpsc::RecvTimeoutError::Disconnected => mpsc::TryRecvError::Disconnected,
                }),
            };
            match taken {
                Ok(submission) => {
                    self.enter(submission);
                    idle = false;
                }
                Err(mpsc::TryRecvError::Empty) => return,
                Err(mpsc::TryRecvError::Disconnected) => {
                    self.closed = true;
                    // A closed channel waits for nobody: those who read slowly are waited for here.
                    if idle && !self.outboxes.is_empty() {
                        std::thread::park_timeout(LOOK_AFTER_OUTBOXES);
                    }
                    return;
                }
            }
        }
    }

    fn enter(&mut self, submission: Submission) {
        let Submission { request, tokens_max, stops, constraint, sender } = submission;
        let id = SequenceId(self.next);
        self.next += 1;
        let flow = self.flows.enter(&request.app, request.weight);
        let root = PageHash::root(&request.app);
        // Of no use to whoever would foretell it, and another one each time.
        let entropy = self.next ^ std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), self.next);
        let sampler = Sampler::new(request.sampling, &request.prompt, entropy);
        let outbox = Outbox::new(sender);
        let Request { prompt, ignores_end, .. } = request;
        let sequence =
            Sequence::new(id, flow, prompt, tokens_max, root, sampler, constraint, stops, ignores_end, outbox);
        self.waiting.insert(id, sequence);
    }

    /// Nobody computes for a reader that is gone.
    fn leave_those_who_are_gone(&mut self) {
        let gone = |sequences: &BTreeMap<SequenceId, Sequence>| -> Vec<SequenceId> {
            sequences.iter().filter(|(_, sequence)| sequence.outbox.is_abandoned()).map(|(id, _)| *id).collect()
        };
        for id in gone(&self.waiting) {
            if let Some(sequence) = self.waiting.remove(&id) {
                self.shared.waiting.fetch_sub(1, Relaxed);
                self.flows.leave(sequence.flow);
            }
        }
        for id in gone(&self.running) {
            self.leave(id);
        }
    }

    /// Takes a sequence that runs out, and gives its memory back.
    fn leave(&mut self, id: SequenceId) {
        let Some(mut sequence) = self.running.remove(&id) else { return };
        sequence.put_back(&mut self.pages);
        self.flows.leave(sequence.flow);
        if let Some(began) = sequence.began {
            let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            let before = self.shared.answer_us.load(Relaxed);
            let now = if before == 0 { took } else { before / 8 * 7 + took / 8 };
            self.shared.answer_us.store(now, Relaxed);
        }
        if !sequence.outbox.flush() {
            self.outboxes.push(sequence.outbox);
        }
    }

    fn fail_all(&mut self, error: &NnError) {
        let waiting = std::mem::take(&mut self.waiting);
        self.shared.waiting.fetch_sub(waiting.len(), Relaxed);
        for mut sequence in waiting.into_values() {
            sequence.fail(error.clone());
            self.flows.leave(sequence.flow);
        }
        for id in self.running.keys().copied().collect::<Vec<_>>() {
            self.fail(id, error.clone());
        }
    }

    fn fail(&mut self, id: SequenceId, error: NnError) {
        if let Some(sequence) = self.running.get_mut(&id) {
            sequence.fail(error);
        }
        self.leave(id);
    }

    fn decide(&mut self) -> Step {
        let page_tokens = self.limits.page_tokens;
        let of = |sequence: &Sequence| Running {
            id: sequence.id,
            flow: sequence.flow,
            tokens: sequence.tokens.len(),
            computed: sequence.computed,
            pages: sequence.pages.len(),
            pages_alone: self.pages.alone(&sequence.pages),
            next_page: sequence.chain.get(sequence.computed / page_tokens).copied(),
        };
        let running: Vec<Running> = self.running.values().map(of).collect();
        let mut looked_at = vec![0; self.flows.states().len()];
        let mut waiting = Vec::new();
        for sequence in self.waiting.values_mut() {
            looked_at[sequence.flow] += 1;
            if looked_at[sequence.flow] > WAITING_LOOKED_AT {
                continue;
            }
            let shareable = sequence.shareable(page_tokens);
            let (cached, shareable) = (self.pages.cached(shareable), shareable.len());
            waiting.push(Waiting {
                id: sequence.id,
                flow: sequence.flow,
                tokens: sequence.tokens.len(),
                cached_pages: cached.pages,
                cached_idle: cached.idle,
                next_page: sequence.chain.get(cached.pages).copied(),
                takes_next: cached.pages < shareable,
            });
        }
        let view = View {
            running: &running,
            waiting: &waiting,
            flows: self.flows.states(),
            pages_available: self.pages.available(),
        };
        decide(&view, &self.limits)
    }

    /// Moves memory as it was decided.
    fn apply(&mut self, step: &Step) {
        for id in &step.put_back {
            if let Some(mut sequence) = self.running.remove(id) {
                sequence.put_back(&mut self.pages);
                self.waiting.insert(*id, sequence);
                self.shared.waiting.fetch_add(1, Relaxed);
                self.shared.put_back.fetch_add(1, Relaxed);
            }
        }
        for id in &step.admitted {
            if let Some(mut sequence) = self.waiting.remove(id) {
                self.shared.waiting.fetch_sub(1, Relaxed);
                let first = sequence.began.is_none();
                sequence.admit(&mut self.pages);
                if first {
                    self.shared.cached_tokens.fetch_add(sequence.cached_tokens as u64, Relaxed);
                }
                self.running.insert(*id, sequence);
            }
        }
        for part in &step.parts {
            if let Some(sequence) = self.running.get_mut(&part.id)
                && let Some(pages) = self.pages.allocate(part.new_pages)
            {
                sequence.add_pages(pages);
            }
        }
    }

    /// Computes the step, and goes on with every answer in it.
    fn compute(&mut self, step: &Step) {
        let Runner { model, running, logits, .. } = self;
        let pieces: Vec<Piece> = step
            .parts
            .iter()
            .filter_map(|part| {
                let sequence = running.get(&part.id)?;
                let end = sequence.computed + part.tokens;
                let tokens = sequence.tokens.get(sequence.computed..end)?;
                let whole = end == sequence.tokens.len();
                Some(Piece { tokens, first_position: sequence.computed, pages: &sequence.page_numbers, logits: whole })
            })
            .collect();
        let began = Instant::now();
        let computed = catch_unwind(AssertUnwindSafe(|| model.step(&pieces, logits))).unwrap_or_else(|_| {
            tracing::error!(model = &*self.name, "the model panicked; what it was at fails, the model stays loaded");
            Err(NnError::runtime("the model panicked"))
        });
        self.shared.steps.fetch_add(1, Relaxed);
        let busy_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.shared.busy_us.fetch_add(busy_us, Relaxed);
        if let Err(error) = computed {
            // Nobody can tell whose tokens it was.
            step.parts.iter().for_each(|part| self.fail(part.id, error.clone()));
            return;
        }
        let mut logits = std::mem::take(&mut self.logits);
        let mut rows = logits.chunks_exact_mut(self.model.shape().vocabulary);
        for part in &step.parts {
            let Some(sequence) = self.running.get_mut(&part.id) else { continue };
            let of_prompt = part.tokens.min(sequence.prompt.saturating_sub(sequence.computed));
            self.shared.prompt_tokens.fetch_add(of_prompt as u64, Relaxed);
            self.flows.serve(sequence.flow, part.tokens);
            sequence.computed(part.tokens, &mut self.pages);
            if sequence.computed < sequence.tokens.len() {
                continue;
            }
            let Some(row) = rows.next() else { continue };
            let end_tokens = &self.options.end_tokens;
            let pushed = sequence.choose(row, end_tokens).and_then(|chosen| {
                self.shared.answer_tokens.fetch_add(1, Relaxed);
                sequence.push(chosen, end_tokens, &*self.decode)
            });
            let ended = pushed.unwrap_or_else(|error| {
                sequence.fail(error);
                true
            });
            if ended {
                self.leave(part.id);
            }
        }
        self.logits = logits;
    }
}
