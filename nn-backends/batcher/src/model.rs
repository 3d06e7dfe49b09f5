//! One loaded model as its callers see it: a signature, and an `infer` to await.

use std::any::Any;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use headland_nn_core::{
    BatchAxes, Batching, Busy, Device, Executor, NamedTensor, NnError, OutputSelection, Padding, Signature, Tensor,
};
use headland_package::{ModelName, ModelVersion, Sha256Digest};
use headland_text::{Encoded, TEXT_INPUT, TextEncoder};
use tokio::sync::{Semaphore, oneshot};

use crate::admission::Size;
use crate::assemble::{Extents, Layout};
use crate::call::{Answer, Cached, Call, Inputs, TextUsage, Timing};
use crate::flows::Caller;
use crate::parts;
use crate::policy::Policy;
use crate::queue::{Done, Job, Queue, Refused, Work};
use crate::responses::{self, Responses};
use crate::stats::ModelStats;
use crate::worker::Shared;

/// Requests that may wait for one model, unless its owner says otherwise.
pub const DEFAULT_QUEUE_MAX: usize = 256;

/// Rows in one run, unless the model's package says otherwise.
pub const DEFAULT_ROWS_MAX: usize = 64;

/// Cells in one run of a model with a length axis: enough for the matrix products to be at their best on a processor, few
/// enough that nobody waits long behind it. A GPU takes more.
pub const DEFAULT_CELLS_MAX_CPU: usize = 512;
/// The same on a GPU.
pub const DEFAULT_CELLS_MAX_GPU: usize = 16_384;

/// The longest a request waits for others, unless the package says otherwise. It only ever waits when others are coming.
pub const DEFAULT_DELAY_MAX: Duration = Duration::from_millis(2);

/// Text longer than this is tokenised on a blocking thread, so that it delays nobody else's request.
pub const INLINE_TEXT_BYTES_MAX: usize = 16 << 10;

/// Such texts tokenised at one time, over all models; further ones wait within their deadlines.
pub const LONG_TEXTS_AT_ONCE_MAX: usize = 4;

static LONG_TEXTS: Semaphore = Semaphore::const_new(LONG_TEXTS_AT_ONCE_MAX);

/// Rows of one request that is run in parts.
pub const REQUEST_ROWS_MAX: usize = 1 << 16;

/// Parts of one request in the queue at a time, for each executor: one that runs, and one that is next.
const PARTS_PER_EXECUTOR: usize = 2;

/// A request on its way into the queue.
enum Division {
    /// As one piece of work.
    Whole(Work),
    /// Some rows at a time.
    Parts { plan: Vec<Vec<usize>>, cells: usize, source: Source, wanted: OutputSelection },
}

/// What the parts are made of.
enum Source {
    Texts(Encoded),
    Tensors(Vec<NamedTensor>),
}

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

/// Who a model is.
#[derive(Clone, Debug)]
pub struct ModelInfo {
    /// Its name.
    pub name: ModelName,
    /// Its version.
    pub version: ModelVersion,
    /// Digest of its package.
    pub digest: Sha256Digest,
    /// Short name of the backend that runs it.
    pub backend: &'static str,
}

/// As people write it: `name:version`.
impl fmt::Display for ModelInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.version)
    }
}

/// How a model is served.
#[derive(Clone)]
pub struct ModelOptions {
    /// Requests that may wait.
    pub queue_max: usize,
    /// How they are put together.
    pub batching: BatchOptions,
    /// Memory for answers that are remembered, in bytes; 0 remembers none.
    pub cache_bytes_max: u64,
    /// What else is worth knowing of how it runs, for people.
    pub remark: Option<String>,
    /// Dropped when the model's last executor is: how whoever counts memory learns that it is free again.
    pub held: Option<Arc<dyn Any + Send + Sync>>,
}

impl Default for ModelOptions {
    fn default() -> Self {
        ModelOptions {
            queue_max: DEFAULT_QUEUE_MAX,
            batching: BatchOptions::default(),
            cache_bytes_max: 0,
            remark: None,
            held: None,
        }
    }
}

/// What a model's package says of batching; what it leaves out is decided here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchOptions {
    /// Every request is to run alone.
    pub off: bool,
    /// The axes. The executor's own word counts where there are none.
    pub axes: Option<BatchAxes>,
    /// The most rows in one run.
    pub rows_max: Option<usize>,
    /// The most cells (tokens) in one run.
    pub cells_max: Option<usize>,
    /// Numbers of rows that run best.
    pub preferred: Vec<usize>,
    /// The longest a request may wait for others.
    pub delay_max: Option<Duration>,
}

impl BatchOptions {
    /// The policy and the layout for an executor; or why requests run alone.
    fn resolve(&self, executor: &dyn Executor) -> Result<Result<(Policy, Layout), String>, NnError> {
        if self.off {
            return Ok(Err("its package says so".to_owned()));
        }
        let axes = match (&self.axes, executor.batching()) {
            (Some(axes), _) => axes.clone(),
            (None, Batching::Axes(axes)) => axes,
            (None, Batching::Single { why }) => return Ok(Err(why.into_owned())),
        };
        let (padding, has_length) = (axes.padding, axes.inputs.iter().any(|input| input.length.is_some()));
        let layout = Layout::new(executor.signature(), axes);
        let layout =
            layout.map_err(|problem| NnError::bad_model(format!("its batch axes cannot be used: {problem}")))?;
        let cells_max = match (has_length, executor.device()) {
            (false, _) => usize::MAX,
            (true, Device::Cpu) => DEFAULT_CELLS_MAX_CPU,
            (true, Device::Cuda(_)) => DEFAULT_CELLS_MAX_GPU,
        };
        let policy = Policy {
            rows_max: self.rows_max.unwrap_or(DEFAULT_ROWS_MAX).max(1),
            cells_max: self.cells_max.unwrap_or(cells_max).max(1),
            preferred: self.preferred.clone(),
            delay_max: self.delay_max.unwrap_or(DEFAULT_DELAY_MAX),
            padding: if has_length { padding } else { Padding::Skipped },
        };
        Ok(Ok((policy, layout)))
    }
}

/// A loaded model: a queue in front of the threads that own its executors.
///
/// Dropping it closes the queue; waiting requests are still answered.
pub struct Model {
    info: ModelInfo,
    label: Arc<str>,
    signature: Signature,
    device: Device,
    memory_bytes: u64,
    text: Option<Arc<TextEncoder>>,
    queue_max: usize,
    started: Instant,
    /// Milliseconds from `started` to when it was last looked up.
    last_asked_ms: AtomicU64,
    shared: Arc<Shared>,
    /// Why requests run alone, where they do.
    single: Option<String>,
    executor: Option<String>,
    responses: Option<Responses>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Disconnected once every thread has ended.
    ended: Mutex<mpsc::Receiver<Infallible>>,
}

impl Model {
    /// Gives each executor its thread. They must all be of one model; `text` is its tokenizer, if it has one.
    ///
    /// # Errors
    /// When there is no executor, or the system will not start a thread.
    pub fn start(
        info: ModelInfo,
        executors: Vec<Box<dyn Executor>>,
        text: Option<TextEncoder>,
        options: ModelOptions,
    ) -> Result<Self, NnError> {
        let Some(first) = executors.first() else { return Err(NnError::bad_model("a model needs an executor")) };
        let (signature, device) = (first.signature().clone(), first.device());
        let memory_bytes = executors.iter().map(|executor| executor.memory_bytes()).sum();
        let (policy, layout, single) = match options.batching.resolve(&**first)? {
            Ok((policy, layout)) => (policy, Some(layout), None),
            Err(why) => (Policy::single(), None, Some(why)),
        };
        let executor: Vec<String> = first.describe().into_iter().chain(options.remark).collect();
        let executor = (!executor.is_empty()).then(|| executor.join("; "));
        let label = info.name.to_arc();
        let queue = Queue::new(options.queue_max, policy, executors.len());
        let shared = Arc::new(Shared::new(label.clone(), queue, layout, executors));
        let (alive, ended) = mpsc::channel();
        let model = Model {
            info,
            label,
            signature,
            device,
            memory_bytes,
            text: text.map(Arc::new),
            queue_max: options.queue_max,
            started: Instant::now(),
            last_asked_ms: AtomicU64::new(0),
            shared,
            single,
            executor,
            responses: (options.cache_bytes_max > 0).then(|| Responses::new(options.cache_bytes_max)),
            threads: Mutex::default(),
            ended: Mutex::new(ended),
        };
        for slot in 0..model.shared.executors() {
            let thread = model.shared.spawn(slot, (alive.clone(), options.held.clone())).map_err(|error| {
                NnError::runtime(format!("cannot start a thread for model `{}`: {error}", model.label))
            })?;
            model.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(model)
    }

    /// Who the model is.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// What its graph takes and gives.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Where it runs.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Device memory it takes while idle, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Its tokenizer, if it takes text.
    pub fn text(&self) -> Option<&TextEncoder> {
        self.text.as_deref()
    }

    /// What it has done so far.
    pub fn stats(&self) -> &ModelStats {
        &self.shared.stats
    }

    /// Notes that somebody asked for it.
    pub(crate) fn touch(&self) {
        let now = self.started.elapsed().as_millis();
        self.last_asked_ms.fetch_max(u64::try_from(now).unwrap_or(u64::MAX), Relaxed);
    }

    /// How long ago somebody last looked it up.
    pub fn idle(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(self.last_asked_ms.load(Relaxed)))
    }

    /// Requests waiting right now.
    pub fn pending(&self) -> usize {
        self.shared.queue.len()
    }

    /// The selection of the outputs called `names`; all of them when there are none.
    ///
    /// # Errors
    /// [`NnError::InvalidInput`] naming the outputs there are.
    pub fn select<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<OutputSelection, NnError> {
        let wanted: Vec<usize> =
            names.into_iter().map(|name| self.signature.output_index(name)).collect::<Result<_, _>>()?;
        Ok(if wanted.is_empty() { OutputSelection::All } else { OutputSelection::Only(wanted) })
    }

    /// How requests are put together; `None` with the reason in [`Self::runs_alone`].
    pub fn policy(&self) -> Option<&Policy> {
        self.single.is_none().then(|| self.shared.queue.policy())
    }

    /// Why every request runs alone, where that is so.
    pub fn runs_alone(&self) -> Option<&str> {
        self.single.as_deref()
    }

    /// Number of executors.
    pub fn executors(&self) -> usize {
        self.shared.executors()
    }

    /// How the backend runs it, for people, where that was a choice.
    pub fn described(&self) -> Option<&str> {
        self.executor.as_deref()
    }

    /// Whether it remembers answers.
    pub fn remembers(&self) -> bool {
        self.responses.is_some()
    }

    /// Runs one request: tokenises text if there is some, checks the tensors, waits its turn, answers.
    ///
    /// Dropping the future takes the request out of the queue, if it has not started.
    ///
    /// # Errors
    /// Every [`NnError`] but `DeviceUnavailable` and `BadModel`.
    pub async fn infer(&self, call: Call) -> Result<Answer, NnError> {
        let arrived = Instant::now();
        let stats = &self.shared.stats;
        let canceled = CountCanceled(Some(stats));
        let result = self.answer(call, arrived).await;
        canceled.disarm();
        match &result {
            Ok(answer) => stats.succeeded(&answer.timing),
            Err(error) => stats.failed(error),
        }
        result
    }

    /// Out of the cache, or by running the model.
    async fn answer(&self, call: Call, arrived: Instant) -> Result<Answer, NnError> {
        let Some(responses) = &self.responses else { return self.run(call, arrived).await };
        let Some(key) = responses::key(&call.inputs, &call.wanted) else { return self.run(call, arrived).await };
        let known = responses.get(&key);
        self.shared.stats.cached(known.is_some());
        if let Some(known) = known {
            let timing = Timing { total: arrived.elapsed(), ..Timing::default() };
            return Ok(Answer { outputs: known.outputs, text: known.text, timing, cache: Some(Cached::Hit) });
        }
        let answer = self.run(call, arrived).await?;
        responses.put(key, &answer.outputs, answer.text.as_ref());
        Ok(Answer { cache: Some(Cached::Miss), ..answer })
    }

    async fn run(&self, call: Call, arrived: Instant) -> Result<Answer, NnError> {
        let Call { inputs, mut wanted, deadline, caller, priority } = call;
        let inputs = match inputs {
            Inputs::Tensors(tensors) => match self.text_encoder_for(&tensors)? {
                Some((encoder, text)) => Inputs::Encoded(self.within(deadline, encode(encoder, text)).await??),
                None => Inputs::Tensors(tensors),
            },
            encoded => encoded,
        };
        let text = match &inputs {
            Inputs::Encoded(encoded) => {
                if wanted == OutputSelection::All {
                    wanted = OutputSelection::Only(vec![0]);
                }
                Some(self.usage(encoded))
            }
            Inputs::Tensors(tensors) => {
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

    fn usage(&self, encoded: &Encoded) -> TextUsage {
        let max_sequence_length = self.text.as_ref().map_or(0, |encoder| encoder.max_sequence_length());
        TextUsage { tokens: encoded.tokens(), truncated: encoded.truncated(), max_sequence_length }
    }

    /// The request as what is put into the queue: whole, or some of its rows at a time.
    fn divide(&self, inputs: Inputs, wanted: OutputSelection) -> Result<Division, NnError> {
        let divisible = self.shared.layout.as_ref().filter(|layout| !layout.gives_lengths(&wanted));
        let (policy, executors) = (self.shared.queue.policy(), self.shared.executors());
        match (inputs, divisible) {
            (Inputs::Encoded(texts), Some(_)) => {
                let lengths: Vec<usize> = texts.lengths().collect();
                let plan = parts::plan(&lengths, policy, executors);
                if plan.len() == 1 {
                    return Ok(Division::Whole(self.work(texts.inputs(&self.signature)?, wanted)));
                }
                Ok(Division::Parts { cells: texts.tokens(), plan, source: Source::Texts(texts), wanted })
            }
            (Inputs::Encoded(texts), None) => Ok(Division::Whole(self.work(texts.inputs(&self.signature)?, wanted))),
            (Inputs::Tensors(inputs), divisible) => {
                let whole = self.work(inputs, wanted);
                let rows = whole.extents.rows;
                let fits = rows <= policy.rows_max && whole.cells <= policy.cells_max;
                if divisible.is_none() || fits || rows < 2 || whole.kind.is_none() {
                    return Ok(Division::Whole(whole));
                }
                if rows > REQUEST_ROWS_MAX {
                    return Err(NnError::TooLarge(
                        format!("a request of {rows} rows; at most {REQUEST_ROWS_MAX} are taken, so split it").into(),
                    ));
                }
                let plan = parts::plan(&vec![whole.extents.length; rows], policy, executors);
                let wanted = whole.wanted.clone();
                Ok(Division::Parts { cells: whole.cells, plan, source: Source::Tensors(whole.inputs), wanted })
            }
        }
    }

    /// `inputs` with what the queue is to know of their size.
    fn work(&self, inputs: Vec<NamedTensor>, wanted: OutputSelection) -> Work {
        let Some(layout) = &self.shared.layout else {
            // Where nothing is known of axes, every element counts.
            let elements = |input: &NamedTensor| input.tensor.shape().elements().unwrap_or(usize::MAX);
            let cells = inputs.iter().map(elements).fold(0usize, usize::saturating_add);
            return Work { inputs, wanted, extents: Extents { rows: 1, length: 1 }, cells, kind: None, sized: true };
        };
        let (extents, kind) = layout.measure(&inputs, &wanted);
        let cells = layout.cells(&inputs, extents);
        Work { inputs, wanted, extents, cells, kind, sized: kind.is_some() }
    }

    /// One part of a request.
    fn part(&self, source: &Source, rows: &[usize], wanted: &OutputSelection) -> Result<Work, NnError> {
        let inputs = match (source, &self.shared.layout) {
            (Source::Texts(texts), _) => texts.rows(&self.signature, rows)?,
            (Source::Tensors(inputs), Some(layout)) => layout.take_rows(inputs, rows)?,
            (Source::Tensors(_), None) => return Err(NnError::runtime("parts of what has no rows")),
        };
        Ok(self.work(inputs, wanted.clone()))
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
        let full = |retry_after| {
            let reason = Busy::QueueFull { queue_max: self.queue_max };
            NnError::Overloaded { model: self.label.clone(), reason, retry_after }
        };
        match self.shared.queue.push(jobs, size, caller) {
            Ok(None) => Ok(()),
            Ok(Some(put_out)) => {
                let _ = put_out.reply.send(Err(full(Duration::ZERO)));
                Ok(())
            }
            Err(Refused::Full { wait }) => Err(full(wait)),
            Err(Refused::Late { wait }) => Err(NnError::would_be_late(&self.label, wait)),
            Err(Refused::Closed) => Err(NnError::ShuttingDown { model: self.label.clone() }),
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

    /// Refuses new requests. Those that wait are still answered.
    pub fn close(&self) {
        self.shared.queue.close();
    }

    /// Closes and waits, for at most `max`, until every waiting request is answered and the executors are dropped: whether
    /// it came to that. Blocks.
    pub fn drain(&self, max: Duration) -> bool {
        self.close();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(max);
        if ended == Err(mpsc::RecvTimeoutError::Timeout) {
            return false;
        }
        // Joining them waits for nothing any more: it tells how they ended.
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!(model = &*self.label, "an executor thread ended by panic");
            }
        }
        true
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Model({})", self.info)
    }
}

async fn encode(encoder: &Arc<TextEncoder>, text: Tensor) -> Result<Encoded, NnError> {
    if text.data().len() <= INLINE_TEXT_BYTES_MAX {
        return encoder.from_text_tensor(&text);
    }
    let encoder = encoder.clone();
    let permit = LONG_TEXTS.acquire().await.map_err(NnError::runtime)?;
    let work = move || {
        // Given back when the work is done, even if nobody waits for it any more.
        let _permit = permit;
        encoder.from_text_tensor(&text)
    };
    tokio::task::spawn_blocking(work).await.map_err(NnError::runtime)?
}

/// Counts a request as canceled when its future is dropped before it ends.
struct CountCanceled<'a>(Option<&'a ModelStats>);

impl CountCanceled<'_> {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for CountCanceled<'_> {
    fn drop(&mut self) {
        if let Some(stats) = self.0 {
            stats.canceled();
        }
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
