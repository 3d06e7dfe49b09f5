//! [`Engine`]: a loaded language model with the thread that runs it.
//!
//! The thread decides a step, computes it, chooses tokens, tells them, and begins again; requests come in between steps.
//! Nothing it does waits for anybody: an answer whose reader is slow collects in its outbox, one whose reader is gone gives
//! its memory back before the next step.

mod outbox;
mod runner;
mod sequence;

use std::any::Any;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use headland_nn_core::NnError;
use tokio::sync::mpsc as answers;

use crate::constraint::Held;
use crate::detokenize::Decode;
use crate::model::{LanguageModel, ModelShape};
use crate::request::{Delta, Refused, Request};
use crate::stop::StopWatch;
use runner::{Runner, Submission};

/// Sequences that have memory at a time, where nothing else is said.
pub const DEFAULT_RUNNING_MAX: usize = 32;
/// Requests that may wait, where nothing else is said.
pub const DEFAULT_QUEUE_MAX: usize = 256;
/// Tokens of a step in which nobody answers, where nothing else is said.
pub const DEFAULT_STEP_TOKENS_MAX: usize = 512;
/// Tokens of prompts in a step beside answers, where nothing else is said: on two cores a model of a billion weights computes
/// as many in about half a second.
pub const DEFAULT_PROMPT_TOKENS_BESIDE_ANSWERS_MAX: usize = 128;
/// Deltas of an answer that its reader has not taken; what comes after them is put together in one.
const DELTAS_MAX: usize = 16;
/// The longest that a client is told to wait before it tries again.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// How an engine serves.
#[derive(Clone)]
pub struct EngineOptions {
    /// Sequences that have memory at a time.
    pub running_max: usize,
    /// Requests that may wait.
    pub queue_max: usize,
    /// Tokens of a step in which nobody answers.
    pub step_tokens_max: usize,
    /// Tokens of prompts in a step in which others answer.
    pub prompt_tokens_beside_answers_max: usize,
    /// Tokens by which the model says that it is done.
    pub end_tokens: Vec<u32>,
    /// What is held for as long as the model has memory.
    pub held: Option<Arc<dyn Any + Send + Sync>>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            running_max: DEFAULT_RUNNING_MAX,
            queue_max: DEFAULT_QUEUE_MAX,
            step_tokens_max: DEFAULT_STEP_TOKENS_MAX,
            prompt_tokens_beside_answers_max: DEFAULT_PROMPT_TOKENS_BESIDE_ANSWERS_MAX,
            end_tokens: Vec::new(),
            held: None,
        }
    }
}

/// A model that answers. Dropping it lets the answers under way end, and no other begin.
pub struct Engine {
    submissions: Mutex<Option<mpsc::Sender<Submission>>>,
    shared: Arc<Shared>,
    shape: ModelShape,
    options: EngineOptions,
    /// Disconnected when the thread has ended.
    alive: Mutex<mpsc::Receiver<Infallible>>,
}

/// What the thread and its callers both see.
#[derive(Default)]
struct Shared {
    /// Requests that were submitted and have no memory yet.
    waiting: AtomicUsize,
    running: AtomicUsize,
    pages_used: AtomicUsize,
    prompt_tokens: AtomicU64,
    cached_tokens: AtomicU64,
    answer_tokens: AtomicU64,
    put_back: AtomicU64,
    steps: AtomicU64,
    /// Time in the model, in microseconds.
    busy_us: AtomicU64,
    /// How long an answer takes from its memory to its end, on average, in microseconds.
    answer_us: AtomicU64,
    /// Answers end here and now.
    stops: AtomicBool,
}

/// What an engine has done and does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Requests that wait for memory.
    pub waiting: usize,
    /// Sequences that have memory.
    pub running: usize,
    /// Pages that sequences hold.
    pub pages_used: usize,
    /// Tokens of prompts that were computed.
    pub prompt_tokens: u64,
    /// Tokens of prompts that had been computed for others.
    pub cached_tokens: u64,
    /// Tokens of answers.
    pub answer_tokens: u64,
    /// Sequences that gave their memory to others, and were computed again.
    pub put_back: u64,
    /// Steps.
    pub steps: u64,
    /// Time in the model, in microseconds.
    pub busy_us: u64,
}

/// An answer while it comes. Dropping it ends it.
pub struct Answer(answers::Receiver<Delta>);

impl Engine {
    /// Starts the thread, called `name`. `decode` makes text of the model's tokens.
    ///
    /// # Errors
    /// When the system will not start a thread.
    pub fn start(
        name: &str,
        model: Box<dyn LanguageModel>,
        decode: Arc<dyn Decode>,
        options: EngineOptions,
    ) -> Result<Self, NnError> {
        let (submissions, taken) = mpsc::channel();
        let (alive_until, alive) = mpsc::channel();
        let (shared, shape) = (Arc::new(Shared::default()), model.shape().clone());
        let runner = Runner::new(name.into(), model, decode, options.clone(), shared.clone(), taken);
        let held = options.held.clone();
        let run = move || {
            runner.run();
            // The model's memory is free now.
            drop((held, alive_until));
        };
        thread::Builder::new().name(name.to_owned()).spawn(run).map_err(NnError::runtime)?;
        let submissions = Mutex::new(Some(submissions));
        Ok(Engine {
            submissions,
            shared,
            shape,
            options: EngineOptions { held: None, ..options },
            alive: Mutex::new(alive),
        })
    }

    /// The model's sizes.
    pub fn shape(&self) -> &ModelShape {
        &self.shape
    }

    /// Sequences that have memory at a time.
    pub fn running_max(&self) -> usize {
        self.options.running_max
    }

    /// Tokens of a prompt and its answer together, as the model and its memory allow.
    pub fn context_max(&self) -> usize {
        self.shape.context_max.min((self.shape.pages as usize).saturating_mul(self.shape.page_tokens))
    }

    /// Takes a request: its answer, to be read.
    ///
    /// # Errors
    /// Every [`Refused`].
    pub fn submit(&self, request: Request) -> Result<Answer, Refused> {
        let tokens_max = self.check(&request)?;
        let stops = StopWatch::new(request.stops.clone())?;
        let waits = self
            .shared
            .waiting
            .fetch_update(Relaxed, Relaxed, |waiting| (waiting < self.options.queue_max).then(|| waiting + 1));
        if waits.is_err() {
            return Err(Refused::QueueFull { queue_max: self.options.queue_max, retry_after: self.retry_after() });
        }
        let (sender, receiver) = answers::channel(DELTAS_MAX);
        let constraint = request.constraint.as_deref().map(Held::begin);
        let submission = Submission { request, tokens_max, stops, constraint, sender };
        let submissions = self.submissions.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = submissions.as_ref().is_some_and(|submissions| submissions.send(submission).is_ok());
        if !sent {
            self.shared.waiting.fetch_sub(1, Relaxed);
            return Err(Refused::ShuttingDown);
        }
        Ok(Answer(receiver))
    }

    /// How many tokens the answer may have.
    fn check(&self, request: &Request) -> Result<usize, Refused> {
        let (prompt, context_max) = (request.prompt.len(), self.context_max());
        if prompt == 0 {
            return Err(Refused::Empty);
        }
        if let Some(token) = request.prompt.iter().find(|token| **token as usize >= self.shape.vocabulary) {
            return Err(Refused::UnknownToken(*token));
        }
        request.sampling.check(self.shape.vocabulary)?;
        match request.tokens_max {
            Some(0) => Err(Refused::NoTokens),
            None if prompt < context_max => Ok(context_max - prompt),
            Some(asked) if prompt.saturating_add(asked) <= context_max => Ok(asked),
            asked => Err(Refused::ContextOverflow { prompt, asked, context_max }),
        }
    }

    /// When those who wait have likely come to their turn.
    fn retry_after(&self) -> Duration {
        let one = Duration::from_micros(self.shared.answer_us.load(Relaxed));
        let rounds = self.options.queue_max as f64 / self.options.running_max.max(1) as f64;
        one.mul_f64(rounds).clamp(Duration::from_secs(1), RETRY_AFTER_MAX)
    }

    /// What it has done and does.
    pub fn stats(&self) -> EngineStats {
        let Shared {
            waiting,
            running,
            pages_used,
            prompt_tokens,
            cached_tokens,
            answer_tokens,
            put_back,
            steps,
            busy_us,
            ..
        } = &*self.shared;
        EngineStats {
            waiting: waiting.load(Relaxed),
            running: running.load(Relaxed),
            pages_used: pages_used.load(Relaxed),
            prompt_tokens: prompt_tokens.load(Relaxed),
            cached_tokens: cached_tokens.load(Relaxed),
            answer_tokens: answer_tokens.load(Relaxed),
            put_back: put_back.load(Relaxed),
            steps: steps.load(Relaxed),
            busy_us: busy_us.load(Relaxed),
        }
    }

    /// Takes no more requests. Those it has are answered.
    pub fn close(&self) {
        self.submissions.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Closes, and waits for at most `max` until all is answered and the model's memory is free; what is not answered by then
    /// ends with an error. Whether all was answered. Blocks.
    pub fn drain(&self, max: Duration) -> bool {
        self.close();
        let alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        let all = matches!(alive.recv_timeout(max), Err(mpsc::RecvTimeoutError::Disconnected));
        if !all {
            self.shared.stops.store(true, Relaxed);
            let _ = alive.recv();
        }
        all
    }
}

impl Answer {
    /// What comes next; `None` after the end.
    pub async fn next(&mut self) -> Option<Delta> {
        self.0.recv().await
    }

    /// The same, for those who wait for several.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Delta>> {
        self.0.poll_recv(context)
    }

    /// The same, blocking the thread.
    pub fn blocking_next(&mut self) -> Option<Delta> {
        self.0.blocking_recv()
    }
}

#[cfg(test)]
mod tests;
