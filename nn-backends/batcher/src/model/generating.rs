//! A language model that is loaded here: its engine and its tokenizer.
//!
//! Requests come as OpenAI's bodies ([`Generator::ask`], then [`Generator::begin`]), or as the tensors that guests, the Open
//! Inference Protocol and other PoPs send (`tensors`). Either way the engine answers token by token, and
//! who goes away before the end gives the memory back.

mod chunked;
mod pieces;
mod tensors;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use headland_chat::Tokens;
use headland_completions::{AskError, Asked, Completion};
use headland_generation::{Answer, Delta, Engine, Refused, Request};
use headland_nn_core::{Busy, Device, NnError, Signature};

use super::tokenising::on_a_thread;
use crate::call::Timing;
use crate::flows::Caller;
use crate::stats::ModelStats;
pub use chunked::Chunked;
pub(super) use pieces::DistantAnswer;
pub use pieces::Pieces;
use tensors::signature;
pub(super) use tensors::{asks_for_pieces, is_signature};

/// A body longer than this is tokenised on a blocking thread, so that it delays nobody else's request; forms that answers are
/// to have are always compiled there.
pub const INLINE_PROMPT_BYTES_MAX: usize = 16 << 10;

/// A loaded language model. Dropping it lets the answers under way end.
pub struct Generator {
    pub(super) label: Arc<str>,
    pub(super) engine: Engine,
    pub(super) tokens: Arc<Tokens>,
    pub(super) signature: Signature,
    pub(super) device: Device,
    pub(super) described: Option<String>,
    pub(super) stats: ModelStats,
}

/// The answers to one request while they come. Dropping it ends them.
pub struct Generation {
    generator: Arc<Generator>,
    /// Those that have ended are `None`.
    answers: Vec<Option<Answer>>,
    /// Who is asked first, so that all are told alike.
    turn: usize,
    deadline: Option<Instant>,
    began: Instant,
    told: bool,
    /// Whether it is to be counted among the model's requests, and has not been.
    counts: bool,
}

impl Generator {
    pub(super) fn new(
        label: Arc<str>,
        engine: Engine,
        tokens: Arc<Tokens>,
        device: Device,
        described: Option<String>,
    ) -> Self {
        Generator { label, engine, tokens, signature: signature(), device, described, stats: ModelStats::default() }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The tokenizer, and the chat template with it.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Memory of weights, keys and values, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        let shape = self.engine.shape();
        shape.weights_bytes.saturating_add(shape.page_bytes.saturating_mul(u64::from(shape.pages)))
    }

    /// Tokenises what `completion` brings, whose body had so many bytes: long ones when it is `caller`'s turn, until `deadline`.
    ///
    /// # Errors
    /// Every [`AskError`].
    pub async fn ask(
        &self,
        completion: Arc<Completion>,
        bytes: usize,
        caller: &Caller,
        deadline: Option<Instant>,
    ) -> Result<Asked, AskError> {
        let context_max = self.engine.context_max();
        if bytes <= INLINE_PROMPT_BYTES_MAX && !completion.is_held_to_a_form() {
            return completion.ask(&self.tokens, context_max);
        }
        let tokens = self.tokens.clone();
        let asked = on_a_thread(caller, move || completion.ask(&tokens, context_max));
        let Some(deadline) = deadline else { return asked.await? };
        let late = |_| NnError::DeadlineExceeded { model: self.label.clone() };
        tokio::time::timeout_at(deadline.into(), asked).await.map_err(late)??
    }

    /// Has the engine answer, as part of what `caller` does, until `deadline`.
    ///
    /// # Errors
    /// Every [`Refused`]; no request is answered then.
    pub fn begin(
        self: &Arc<Self>,
        requests: Vec<Request>,
        caller: &Caller,
        deadline: Option<Instant>,
    ) -> Result<Generation, Refused> {
        let begun = self.begin_uncounted(requests, caller, deadline);
        let refused = |refused: &Refused| self.stats.failed(&self.error_of(refused));
        let mut generation = begun.inspect_err(refused)?;
        generation.counts = true;
        Ok(generation)
    }

    /// The same, for whoever counts it.
    pub(super) fn begin_uncounted(
        self: &Arc<Self>,
        requests: Vec<Request>,
        caller: &Caller,
        deadline: Option<Instant>,
    ) -> Result<Generation, Refused> {
        let answers = requests.into_iter().map(|request| {
            let request = Request { app: caller.name.clone(), weight: caller.weight, ..request };
            self.engine.submit(request).map(Some)
        });
        Ok(Generation {
            generator: self.clone(),
            answers: answers.collect::<Result<_, _>>()?,
            turn: 0,
            deadline,
            began: Instant::now(),
            told: false,
            counts: false,
        })
    }

    /// What `refused` is for those who know nothing of engines.
    pub fn error_of(&self, refused: &Refused) -> NnError {
        match refused {
            Refused::QueueFull { queue_max, retry_after } => NnError::Overloaded {
                model: self.label.clone(),
                reason: Busy::QueueFull { queue_max: *queue_max },
                retry_after: *retry_after,
            },
            Refused::ShuttingDown => NnError::ShuttingDown { model: self.label.clone() },
            _ => NnError::invalid(refused.to_string()),
        }
    }
}

impl Generation {
    /// What comes next, and to which answer; `None` after the end of all. The first error ends all.
    pub async fn next(&mut self) -> Option<(usize, Delta)> {
        if self.answers.iter().all(Option::is_none) {
            return None;
        }
        let deadline = self.deadline;
        let next = poll_fn(|context| self.poll(context));
        let (index, delta) = match deadline {
            None => next.await,
            Some(deadline) => tokio::time::timeout_at(deadline.into(), next).await.unwrap_or_else(|_| {
                let late = NnError::DeadlineExceeded { model: self.generator.label.clone() };
                (0, Delta { end: Some(Err(late)), ..Delta::default() })
            }),
        };
        self.note(index, &delta);
        Some((index, delta))
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<(usize, Delta)> {
        let count = self.answers.len();
        for index in (0..count).map(|offset| (self.turn + offset) % count) {
            let Some(answer) = &mut self.answers[index] else { continue };
            let Poll::Ready(delta) = answer.poll_next(context) else { continue };
            self.turn = index + 1;
            let ended = || NnError::runtime("an answer ended without saying so");
            return Poll::Ready((
                index,
                delta.unwrap_or_else(|| Delta { end: Some(Err(ended())), ..Delta::default() }),
            ));
        }
        Poll::Pending
    }

    fn note(&mut self, index: usize, delta: &Delta) {
        if !self.told && !delta.tokens.is_empty() {
            self.told = true;
            self.generator.stats.first_token(self.began.elapsed());
        }
        match &delta.end {
            None => {}
            Some(Ok(_)) => self.answers[index] = None,
            Some(Err(error)) => {
                self.answers.fill_with(|| None);
                if std::mem::take(&mut self.counts) {
                    self.generator.stats.failed(error);
                }
            }
        }
        if self.answers.iter().all(Option::is_none) && std::mem::take(&mut self.counts) {
            self.generator.stats.succeeded(&self.timing());
        }
    }

    /// Who answers.
    pub fn generator(&self) -> &Generator {
        &self.generator
    }

    /// Where its time went.
    pub fn timing(&self) -> Timing {
        let took = self.began.elapsed();
        Timing { infer: took, total: took, ..Timing::default() }
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if self.counts {
            self.generator.stats.canceled();
        }
    }
}
