//! One model as its callers see it: a signature, and an `infer` to await. It is loaded here or runs elsewhere; callers cannot
//! tell, but by time. A language model besides tells its answers piece by piece, to whoever asks for a [`Generator`].

mod division;
mod elsewhere;
mod generating;
mod here;
mod options;
mod run;
mod tokenising;

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

pub use division::REQUEST_ROWS_MAX;
pub use elsewhere::{Described, Distant, DistantPieces, Pending, Routed};
pub use generating::{Chunked, Generation, Generator, INLINE_PROMPT_BYTES_MAX, Pieces};
use headland_chat::Tokens;
use headland_generation::Engine;
use headland_nn_core::{Device, Executor, NnError, OutputSelection, Signature};
use headland_package::{ModelName, ModelVersion, Sha256Digest};
use headland_text::TextEncoder;
pub use options::{
    BatchOptions, DEFAULT_CELLS_MAX_CPU, DEFAULT_CELLS_MAX_GPU, DEFAULT_DELAY_MAX, DEFAULT_QUEUE_MAX, DEFAULT_ROWS_MAX,
    ModelOptions,
};

use crate::call::{Answer, Call};
use crate::policy::Policy;
use crate::stats::ModelStats;
use elsewhere::Elsewhere;
use here::Here;

/// Who a model is.
#[derive(Clone, Debug)]
pub struct ModelInfo {
    /// Its name.
    pub name: ModelName,
    /// Its version.
    pub version: ModelVersion,
    /// Digest of its package.
    pub digest: Sha256Digest,
    /// Short name of the backend that runs it, here or elsewhere.
    pub backend: Cow<'static, str>,
}

/// As people write it: `name:version`.
impl fmt::Display for ModelInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.version)
    }
}

/// A model: here, a queue in front of the threads that own its executors; elsewhere, the way there.
///
/// Dropping it closes the queue; waiting requests are still answered.
pub struct Model {
    info: ModelInfo,
    started: Instant,
    /// Milliseconds from `started` to when it was last looked up.
    last_asked_ms: AtomicU64,
    place: Place,
    /// Who else runs it, for what is too much for this gateway.
    spill: RwLock<Option<Arc<dyn Distant>>>,
}

/// Where it runs.
enum Place {
    Here(Box<Here>),
    /// Here, token by token.
    Generating(Arc<Generator>),
    Elsewhere(Box<Elsewhere>),
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
        let here = Here::start(info.name.to_arc(), executors, text, options)?;
        Ok(Model::at(info, Place::Here(Box::new(here))))
    }

    /// A language model: `engine` runs it on `device`, `tokens` is its tokenizer, and `described` how it runs, for people.
    pub fn generating(
        info: ModelInfo,
        engine: Engine,
        tokens: Arc<Tokens>,
        device: Device,
        described: Option<String>,
    ) -> Self {
        let generator = Generator::new(info.name.to_arc(), engine, tokens, device, described);
        Model::at(info, Place::Generating(Arc::new(generator)))
    }

    fn at(info: ModelInfo, place: Place) -> Self {
        let (started, last_asked_ms) = (Instant::now(), AtomicU64::new(0));
        Model { info, started, last_asked_ms, place, spill: RwLock::default() }
    }

    /// Who the model is.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// What its graph takes and gives.
    pub fn signature(&self) -> &Signature {
        match &self.place {
            Place::Here(here) => &here.signature,
            Place::Generating(generator) => &generator.signature,
            Place::Elsewhere(elsewhere) => &elsewhere.described.signature,
        }
    }

    /// What it runs on, of the machine it runs on.
    pub fn device(&self) -> Device {
        match &self.place {
            Place::Here(here) => here.device,
            Place::Generating(generator) => generator.device,
            Place::Elsewhere(elsewhere) => elsewhere.described.device,
        }
    }

    /// Memory of this machine's device it takes while idle, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        match &self.place {
            Place::Here(here) => here.memory_bytes,
            Place::Generating(generator) => generator.memory_bytes(),
            Place::Elsewhere(_) => 0,
        }
    }

    /// The most tokens of one text that reach it, if it takes text in place of its graph's inputs.
    pub fn tokens_max(&self) -> Option<usize> {
        match &self.place {
            Place::Here(here) => here.text.as_ref().map(|text| text.max_sequence_length()),
            Place::Generating(_) => None,
            Place::Elsewhere(elsewhere) => elsewhere.described.tokens_max,
        }
    }

    /// What it has done so far, for this gateway.
    pub fn stats(&self) -> &ModelStats {
        match &self.place {
            Place::Here(here) => &here.shared.stats,
            Place::Generating(generator) => &generator.stats,
            Place::Elsewhere(elsewhere) => &elsewhere.stats,
        }
    }

    /// Time its executors were busy, or its engine, in microseconds.
    pub fn busy_us(&self) -> u64 {
        match &self.place {
            Place::Generating(generator) => generator.engine().stats().busy_us,
            Place::Here(_) | Place::Elsewhere(_) => self.stats().busy_us(),
        }
    }

    /// Whether it is loaded here.
    pub fn is_here(&self) -> bool {
        !matches!(self.place, Place::Elsewhere(_))
    }

    /// What answers token by token, of a language model that is loaded here.
    pub fn generator(&self) -> Option<&Arc<Generator>> {
        match &self.place {
            Place::Generating(generator) => Some(generator),
            Place::Here(_) | Place::Elsewhere(_) => None,
        }
    }

    /// Whether it is a language model, here or elsewhere: it says so by what it takes and gives.
    pub fn generates(&self) -> bool {
        self.generator().is_some() || generating::is_signature(self.signature())
    }

    fn here(&self) -> Option<&Here> {
        match &self.place {
            Place::Here(here) => Some(here),
            Place::Generating(_) | Place::Elsewhere(_) => None,
        }
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

    /// Requests waiting here right now.
    pub fn pending(&self) -> usize {
        match &self.place {
            Place::Here(here) => here.shared.queue.len(),
            Place::Generating(generator) => generator.engine().stats().waiting,
            Place::Elsewhere(_) => 0,
        }
    }

    /// The selection of the outputs called `names`; all of them when there are none.
    ///
    /// # Errors
    /// [`NnError::InvalidInput`] naming the outputs there are.
    pub fn select<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<OutputSelection, NnError> {
        let wanted: Vec<usize> =
            names.into_iter().map(|name| self.signature().output_index(name)).collect::<Result<_, _>>()?;
        Ok(if wanted.is_empty() { OutputSelection::All } else { OutputSelection::Only(wanted) })
    }

    /// How requests are put together here; `None` with the reason in [`Self::runs_alone`].
    pub fn policy(&self) -> Option<&Policy> {
        let here = self.here()?;
        here.runs_alone().is_none().then(|| here.shared.queue.policy())
    }

    /// Why no requests share a run here, where that is so.
    pub fn runs_alone(&self) -> Option<&str> {
        match &self.place {
            Place::Here(here) => here.runs_alone(),
            Place::Generating(_) => Some("answers come token by token, and share every step"),
            Place::Elsewhere(_) => Some("it runs elsewhere, and is batched there"),
        }
    }

    /// Number of executors here.
    pub fn executors(&self) -> usize {
        match &self.place {
            Place::Here(here) => here.shared.executors(),
            Place::Generating(_) => 1,
            Place::Elsewhere(_) => 0,
        }
    }

    /// How the backend runs it, for people, where that was a choice.
    pub fn described(&self) -> Option<&str> {
        match &self.place {
            Place::Here(here) => here.executor.as_deref(),
            Place::Generating(generator) => generator.described.as_deref(),
            Place::Elsewhere(_) => None,
        }
    }

    /// Whether answers are remembered here.
    pub fn remembers(&self) -> bool {
        self.here().is_some_and(|here| here.responses.is_some())
    }

    /// Runs one request: tokenises text if there is some, checks the tensors, waits its turn, answers.
    ///
    /// Dropping the future takes the request out of the queue, if it has not started. What is too much for this gateway goes
    /// where the model runs besides, if it does.
    ///
    /// # Errors
    /// Every [`NnError`] but `DeviceUnavailable` and `BadModel`, if the model is here; elsewhere, these too.
    pub async fn infer(&self, call: Call) -> Result<Answer, NnError> {
        let spill = self.spill.read().unwrap_or_else(PoisonError::into_inner).clone();
        self.counted(call, spill).await
    }

    /// Answers piece by piece, if it is a language model, and the request says `"stream": true` among its parameters;
    /// otherwise nothing has happened.
    ///
    /// # Errors
    /// As [`Self::infer`].
    pub async fn stream(&self, call: &Call) -> Result<Option<Pieces>, NnError> {
        match &self.place {
            Place::Elsewhere(elsewhere) if self.generates() && generating::asks_for_pieces(&call.inputs) => {
                elsewhere.stream(call.clone()).await.map(Some)
            }
            Place::Generating(generator) => generator.stream(call).await,
            Place::Here(_) | Place::Elsewhere(_) => Ok(None),
        }
    }

    /// As [`Self::stream`], without passing it on: for requests that were passed on to here.
    ///
    /// # Errors
    /// As [`Self::infer`].
    pub async fn stream_here(&self, call: &Call) -> Result<Option<Pieces>, NnError> {
        let Place::Generating(generator) = &self.place else { return Ok(None) };
        let pieces = generator.stream(call).await?;
        if pieces.is_some() {
            self.stats().passed_on();
        }
        Ok(pieces)
    }

    /// As [`Self::infer`], without passing it on: for requests that were passed on to here.
    ///
    /// # Errors
    /// As [`Self::infer`], and [`NnError::Unreachable`] for a model that is not here.
    pub async fn infer_here(&self, call: Call) -> Result<Answer, NnError> {
        match self.is_here() {
            true => {
                self.stats().passed_on();
                self.counted(call, None).await
            }
            false => Err(NnError::unreachable(self.info.name.as_str(), "it is not loaded here")),
        }
    }

    async fn counted(&self, call: Call, spill: Option<Arc<dyn Distant>>) -> Result<Answer, NnError> {
        let stats = self.stats();
        let canceled = CountCanceled(Some(stats));
        let result = self.run(call, spill).await;
        canceled.disarm();
        match &result {
            Ok(answer) => stats.succeeded(&answer.timing),
            Err(error) => stats.failed(error),
        }
        result
    }

    /// As [`Self::infer`], for a request that nobody made: it counts as no request, and says nothing of what is asked for. What its
    /// run took is counted.
    ///
    /// # Errors
    /// As [`Self::infer`].
    pub async fn warm_up(&self, call: Call) -> Result<Answer, NnError> {
        self.run(call, None).await
    }

    async fn run(&self, call: Call, spill: Option<Arc<dyn Distant>>) -> Result<Answer, NnError> {
        match (&self.place, spill) {
            (Place::Elsewhere(elsewhere), _) => elsewhere.distant.infer(call).await,
            (Place::Generating(generator), _) => generator.infer(call).await,
            (Place::Here(here), None) => here.answer(call, Instant::now()).await,
            (Place::Here(here), Some(spill)) => here.answer_or_spill(call, &*spill).await,
        }
    }

    /// Says who takes what is too much for this gateway, if anybody does.
    pub(crate) fn spill_to(&self, routed: Option<&Routed>) {
        let distant = routed.and_then(|routed| match &routed.model().place {
            Place::Elsewhere(elsewhere) => Some(elsewhere.distant.clone()),
            Place::Here(_) | Place::Generating(_) => None,
        });
        *self.spill.write().unwrap_or_else(PoisonError::into_inner) = distant;
    }

    /// Refuses new requests. Those that wait are still answered.
    pub fn close(&self) {
        match &self.place {
            Place::Here(here) => here.close(),
            Place::Generating(generator) => generator.engine().close(),
            Place::Elsewhere(_) => {}
        }
    }

    /// Closes and waits, for at most `max`, until every waiting request is answered and the executors are dropped: whether
    /// it came to that. Blocks.
    pub fn drain(&self, max: Duration) -> bool {
        match &self.place {
            Place::Here(here) => here.drain(max),
            Place::Generating(generator) => generator.engine().drain(max),
            Place::Elsewhere(_) => true,
        }
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
