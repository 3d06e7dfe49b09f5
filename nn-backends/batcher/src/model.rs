//! One loaded model as its callers see it: a signature, and an `infer` to await.

use std::any::Any;
use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use headland_nn_core::{Device, Executor, NamedTensor, NnError, OutputSelection, Signature, Tensor};
use headland_package::{ModelName, ModelVersion, Sha256Digest};
use headland_text::{Encoded, TEXT_INPUT, TextEncoder};
use tokio::sync::{Semaphore, oneshot};

use crate::policy::Policy;
use crate::queue::{Done, Job, Queue, Refused};
use crate::stats::ModelStats;
use crate::worker;

/// Requests that may wait for one model, unless its owner says otherwise.
pub const DEFAULT_QUEUE_MAX: usize = 256;
/// Text longer than this is tokenised on a blocking thread, so that it delays nobody else's request.
pub const INLINE_TEXT_BYTES_MAX: usize = 16 << 10;
/// Such texts tokenised at one time, over all models; further ones wait within their deadlines.
pub const LONG_TEXTS_AT_ONCE_MAX: usize = 4;

static LONG_TEXTS: Semaphore = Semaphore::const_new(LONG_TEXTS_AT_ONCE_MAX);

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
    pub policy: Policy,
    /// Dropped when the model's last executor is: how whoever counts memory learns that it is free again.
    pub held: Option<Arc<dyn Any + Send + Sync>>,
}

impl Default for ModelOptions {
    fn default() -> Self {
        ModelOptions { queue_max: DEFAULT_QUEUE_MAX, policy: Policy::SINGLE, held: None }
    }
}

/// A request to a model.
#[derive(Debug, Default)]
pub struct Call {
    /// The graph's inputs, or one tensor named `text` in their place.
    pub inputs: Vec<NamedTensor>,
    /// The outputs to return. [`OutputSelection::All`] means the first output alone when the input is text: who sends
    /// text wants the answer, not each token's intermediate vectors.
    pub wanted: OutputSelection,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
}

/// A model's answer.
#[derive(Debug)]
pub struct Answer {
    /// The wanted outputs, in the wanted order.
    pub outputs: Vec<NamedTensor>,
    /// What tokenising the text came to, when there was text.
    pub text: Option<TextUsage>,
    /// Where the time went.
    pub timing: Timing,
}

/// What tokenising came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextUsage {
    /// Tokens of all texts, special ones included, padding not.
    pub tokens: usize,
    /// Positions of the texts that were cut to the model's longest sequence.
    pub truncated: Vec<usize>,
    /// The model's longest sequence, in tokens.
    pub max_sequence_length: usize,
}

/// Where a request's time went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    /// Making the input tensors.
    pub input: Duration,
    /// Waiting in the queue.
    pub queue: Duration,
    /// In the executor.
    pub infer: Duration,
    /// From call to answer.
    pub total: Duration,
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
    queue: Arc<Queue>,
    stats: Arc<ModelStats>,
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
        let queue = Arc::new(Queue::new(options.queue_max, options.policy));
        let stats = Arc::new(ModelStats::default());
        let label = info.name.to_arc();
        let (alive, ended) = mpsc::channel();
        let model = Model {
            info,
            label: label.clone(),
            signature,
            device,
            memory_bytes,
            text: text.map(Arc::new),
            queue_max: options.queue_max,
            started: Instant::now(),
            last_asked_ms: AtomicU64::new(0),
            queue: queue.clone(),
            stats: stats.clone(),
            threads: Mutex::default(),
            ended: Mutex::new(ended),
        };
        for executor in executors {
            let thread =
                worker::spawn(&label, executor, queue.clone(), stats.clone(), (alive.clone(), options.held.clone()))
                    .map_err(|error| NnError::runtime(format!("cannot start a thread for model `{label}`: {error}")))?;
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
        &self.stats
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
        self.queue.len()
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

    /// Runs one request: tokenises text if there is some, checks the tensors, waits its turn, answers.
    ///
    /// Dropping the future takes the request out of the queue, if it has not started.
    ///
    /// # Errors
    /// Every [`NnError`] but `DeviceUnavailable` and `BadModel`.
    pub async fn infer(&self, call: Call) -> Result<Answer, NnError> {
        let arrived = Instant::now();
        let canceled = CountCanceled(Some(&self.stats));
        let result = self.run(call, arrived).await;
        canceled.disarm();
        match &result {
            Ok(answer) => self.stats.succeeded(&answer.timing),
            Err(error) => self.stats.failed(error),
        }
        result
    }

    async fn run(&self, call: Call, arrived: Instant) -> Result<Answer, NnError> {
        let Call { inputs, mut wanted, deadline } = call;
        let (inputs, text) = match self.text_encoder_for(&inputs) {
            None => (inputs, None),
            Some((encoder, text)) => {
                if inputs.len() > 1 {
                    return Err(NnError::invalid(format!(
                        "input `{TEXT_INPUT}` stands alone: send it, or the graph's own inputs, not both"
                    )));
                }
                if wanted == OutputSelection::All {
                    wanted = OutputSelection::Only(vec![0]);
                }
                let max_sequence_length = encoder.max_sequence_length();
                let encoded = self.within(deadline, encode(encoder, text)).await??;
                let usage =
                    TextUsage { tokens: encoded.tokens, truncated: encoded.truncated.clone(), max_sequence_length };
                (encoded.into_inputs(&self.signature), Some(usage))
            }
        };
        self.signature.check_inputs(&inputs)?;
        let queued = Instant::now();
        let done = self.enqueue(inputs, wanted, queued, deadline).await?;
        let timing = Timing {
            input: queued - arrived,
            queue: done.started.saturating_duration_since(queued),
            infer: done.ended - done.started,
            total: arrived.elapsed(),
        };
        Ok(Answer { outputs: done.outputs, text, timing })
    }

    /// The encoder and the text, when the request brings a `text` tensor that is not an input of the graph itself.
    fn text_encoder_for(&self, inputs: &[NamedTensor]) -> Option<(&Arc<TextEncoder>, Tensor)> {
        let encoder = self.text.as_ref()?;
        let text = inputs.iter().find(|input| &*input.name == TEXT_INPUT)?;
        Some((encoder, text.tensor.clone()))
    }

    async fn enqueue(
        &self,
        inputs: Vec<NamedTensor>,
        wanted: OutputSelection,
        arrived: Instant,
        deadline: Option<Instant>,
    ) -> Result<Done, NnError> {
        let (reply, answer) = oneshot::channel();
        let model = || self.label.clone();
        self.queue.push(Job { inputs, wanted, arrived, deadline, reply }).map_err(|refused| match refused {
            Refused::Full => NnError::Overloaded { model: model(), queue_max: self.queue_max },
            Refused::Closed => NnError::ShuttingDown { model: model() },
        })?;
        let answer = self.within(deadline, answer).await?;
        answer.unwrap_or_else(|_| Err(NnError::ShuttingDown { model: model() }))
    }

    async fn within<T>(&self, deadline: Option<Instant>, work: impl Future<Output = T>) -> Result<T, NnError> {
        let Some(deadline) = deadline else { return Ok(work.await) };
        let late = |_| NnError::DeadlineExceeded { model: self.label.clone() };
        tokio::time::timeout_at(deadline.into(), work).await.map_err(late)
    }

    /// Refuses new requests. Those that wait are still answered.
    pub fn close(&self) {
        self.queue.close();
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
