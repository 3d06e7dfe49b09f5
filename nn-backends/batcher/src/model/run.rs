//! One request's way: its text tokenised, its tensors checked, its parts into the queue, their answers put together.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headland_nn_core::{Busy, NamedTensor, NnError, OutputSelection, Tensor};
use headland_text::{Encoded, TEXT_INPUT, TextEncoder};
use tokio::sync::oneshot;

use super::division::{Division, Source};
use super::here::Here;
use super::tokenising::encode;
use crate::admission::Size;
use crate::call::{Answer, Call, Inputs, TextUsage, Timing};
use crate::flows::Caller;
use crate::queue::{Done, Job, Refused, Work};

/// Parts of one request in the queue at a time, for each executor: one that runs, and one that is next.
const PARTS_PER_EXECUTOR: usize = 2;

/// What all parts of a request have in common.
struct Ticket {
    arrived: Instant,
    deadline: Option<Instant>,
    priority: u8,
    caller: Caller,
}

impl Ticket {
    fn job(&self, work: Work) -> (Job, oneshot::Receiver<Result<Done, NnError>>) {
        let (reply, answer) = oneshot::channel();
        let Ticket { arrived, deadline, priority, .. } = *self;
        (Job { work, arrived, deadline, priority, reply }, answer)
    }
}

impl Here {
    pub(super) async fn run(&self, call: Call, arrived: Instant) -> Result<Answer, NnError> {
        let Call { inputs, mut wanted, deadline, caller, priority, trace: _ } = call;
        let inputs = match inputs {
            Inputs::Tensors(tensors) => match self.text_encoder_for(&tensors)? {
                Some((encoder, text)) => {
                    // Where many are refused, tokenising them would be most of what they cost.
                    self.shared.queue.may_admit(deadline, &caller).map_err(|refused| self.told(refused))?;
                    Source::Texts(self.within(deadline, encode(encoder, text, &caller)).await??)
                }
                None => Source::Tensors(tensors),
            },
            Inputs::Tokens(lists) => Source::Texts(self.text_encoder()?.from_token_ids(&lists)?),
        };
        let text = match &inputs {
            Source::Texts(encoded) => {
                if wanted == OutputSelection::All {
                    wanted = OutputSelection::Only(vec![0]);
                }
                Some(self.usage(encoded))
            }
            Source::Tensors(tensors) => {
                self.signature.check_inputs(tensors)?;
                None
            }
        };
        let division = self.divide(inputs, wanted)?;
        let queued = Instant::now();
        let ticket = Ticket { arrived: queued, deadline, priority, caller };
        let Done { outputs, started, ended } = match division {
            Division::Whole(work) => self.run_whole(work, &ticket).await?,
            Division::Parts { plan, cells, source, wanted } => {
                self.run_parts(plan, cells, &source, &wanted, &ticket).await?
            }
        };
        let timing = Timing {
            input: queued - arrived,
            queue: started.saturating_duration_since(queued),
            infer: ended.saturating_duration_since(started),
            total: arrived.elapsed(),
        };
        Ok(Answer { outputs, text, timing, cache: None })
    }

    /// The encoder and the text, when the request brings a `text` tensor that is not an input of the graph itself.
    fn text_encoder_for(&self, inputs: &[NamedTensor]) -> Result<Option<(&Arc<TextEncoder>, Tensor)>, NnError> {
        let Some(encoder) = &self.text else { return Ok(None) };
        let Some(text) = inputs.iter().find(|input| &*input.name == TEXT_INPUT) else { return Ok(None) };
        if inputs.len() > 1 {
            return Err(NnError::invalid(format!(
                "input `{TEXT_INPUT}` stands alone: send it, or the graph's own inputs, not both"
            )));
        }
        Ok(Some((encoder, text.tensor.clone())))
    }

    fn text_encoder(&self) -> Result<&TextEncoder, NnError> {
        self.text.as_deref().ok_or_else(|| NnError::invalid("the model has no tokenizer, so it takes tensors alone"))
    }

    fn usage(&self, encoded: &Encoded) -> TextUsage {
        let max_sequence_length = self.text.as_ref().map_or(0, |encoder| encoder.max_sequence_length());
        TextUsage { tokens: encoded.tokens(), truncated: encoded.truncated(), max_sequence_length }
    }

    /// Runs a request that is one piece of work.
    async fn run_whole(&self, work: Work, ticket: &Ticket) -> Result<Done, NnError> {
        if let Some(done) = self.shared.run_inline(&work, ticket.deadline, &ticket.caller) {
            return done;
        }
        let size = Size { cells: work.cells, parts: 1 };
        let (job, answer) = ticket.job(work);
        self.enqueue(vec![job], size, &ticket.caller)?;
        self.receive(answer, ticket.deadline).await
    }

    /// Runs a request part by part and puts their outputs together. Few parts are in the queue at a time: the next one is
    /// made when one is answered.
    async fn run_parts(
        &self,
        plan: Vec<Vec<usize>>,
        cells: usize,
        source: &Source,
        wanted: &OutputSelection,
        ticket: &Ticket,
    ) -> Result<Done, NnError> {
        let layout = self.shared.layout.as_ref().ok_or_else(|| NnError::runtime("parts of what has no rows"))?;
        let rows = plan.iter().map(Vec::len).sum();
        let size = Size { cells, parts: plan.len() };
        let mut plan = plan.into_iter();
        let (mut jobs, mut waiting) = (Vec::new(), VecDeque::new());
        for rows in plan.by_ref().take(PARTS_PER_EXECUTOR * self.shared.executors()) {
            let (job, answer) = ticket.job(self.part(source, &rows, wanted)?);
            jobs.push(job);
            waiting.push_back((rows, answer));
        }
        self.enqueue(jobs, size, &ticket.caller)?;
        let (mut done, mut span) = (Vec::new(), None::<(Instant, Instant)>);
        // The first failure drops the answers that are still to come, and so takes their parts out of the queue.
        while let Some((rows, answer)) = waiting.pop_front() {
            let part = self.receive(answer, ticket.deadline).await?;
            let (started, ended) = span.unwrap_or((part.started, part.ended));
            span = Some((started.min(part.started), ended.max(part.ended)));
            done.push((rows, part.outputs));
            if let Some(rows) = plan.next() {
                let (job, answer) = ticket.job(self.part(source, &rows, wanted)?);
                let shutting_down = |_| NnError::ShuttingDown { model: self.label.clone() };
                self.shared.queue.push_next(job, &ticket.caller).map_err(shutting_down)?;
                waiting.push_back((rows, answer));
            }
        }
        let (started, ended) = span.unwrap_or((ticket.arrived, ticket.arrived));
        Ok(Done { outputs: layout.gather(&done, rows)?, started, ended })
    }

    fn enqueue(&self, jobs: Vec<Job>, size: Size, caller: &Caller) -> Result<(), NnError> {
        let put_out = self.shared.queue.push(jobs, size, caller).map_err(|refused| self.told(refused))?;
        if let Some(put_out) = put_out {
            let _ = put_out.reply.send(Err(self.told(Refused::Full { wait: Duration::ZERO })));
        }
        Ok(())
    }

    /// What its caller is told.
    fn told(&self, refused: Refused) -> NnError {
        match refused {
            Refused::Full { wait } => {
                let reason = Busy::QueueFull { queue_max: self.queue_max };
                NnError::Overloaded { model: self.label.clone(), reason, retry_after: wait }
            }
            Refused::Late { wait } => NnError::would_be_late(&self.label, wait),
            Refused::Closed => NnError::ShuttingDown { model: self.label.clone() },
        }
    }

    async fn receive(
        &self,
        answer: oneshot::Receiver<Result<Done, NnError>>,
        deadline: Option<Instant>,
    ) -> Result<Done, NnError> {
        let answer = self.within(deadline, answer).await?;
        answer.unwrap_or_else(|_| Err(NnError::ShuttingDown { model: self.label.clone() }))
    }

    async fn within<T>(&self, deadline: Option<Instant>, work: impl Future<Output = T>) -> Result<T, NnError> {
        let Some(deadline) = deadline else { return Ok(work.await) };
        let late = |_| NnError::DeadlineExceeded { model: self.label.clone() };
        tokio::time::timeout_at(deadline.into(), work).await.map_err(late)
    }
}
