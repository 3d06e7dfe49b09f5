//! One loaded model as its callers see it: a signature, and an `infer` to await.

mod division;
mod options;
mod run;
mod tokenising;

use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use division::REQUEST_ROWS_MAX;
use headland_nn_core::{Device, Executor, NnError, OutputSelection, Signature};
use headland_package::{ModelName, ModelVersion, Sha256Digest};
use headland_text::TextEncoder;
pub use options::{
    BatchOptions, DEFAULT_CELLS_MAX_CPU, DEFAULT_CELLS_MAX_GPU, DEFAULT_DELAY_MAX, DEFAULT_QUEUE_MAX, DEFAULT_ROWS_MAX,
    ModelOptions,
};

use crate::call::{Answer, Cached, Call, Timing};
use crate::policy::Policy;
use crate::queue::Queue;
use crate::responses::{self, Responses};
use crate::stats::ModelStats;
use crate::worker::Shared;

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
        self.runs_alone().is_none().then(|| self.shared.queue.policy())
    }

    /// Why every request runs alone, where that is so.
    pub fn runs_alone(&self) -> Option<&str> {
        self.single.as_deref().or_else(|| self.shared.gave_up())
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
mod tests;
