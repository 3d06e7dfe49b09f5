//! One model as its callers see it: a signature, and an `infer` to await. It is loaded here or runs elsewhere; callers cannot
//! tell, but by time.

mod division;
mod elsewhere;
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
pub use elsewhere::{Described, Distant, Routed};
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
            Place::Elsewhere(elsewhere) => &elsewhere.described.signature,
        }
    }

    /// What it runs on, of the machine it runs on.
    pub fn device(&self) -> Device {
        match &self.place {
            Place::Here(here) => here.device,
            Place::Elsewhere(elsewhere) => elsewhere.described.device,
        }
    }

    /// Memory of this machine's device it takes while idle, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.here().map_or(0, |here| here.memory_bytes)
    }

    /// The most tokens of one text that reach it, if it takes text.
    pub fn tokens_max(&self) -> Option<usize> {
        match &self.place {
            Place::Here(here) => here.text.as_ref().map(|text| text.max_sequence_length()),
            Place::Elsewhere(elsewhere) => elsewhere.described.tokens_max,
        }
    }

    /// What it has done so far, for this gateway.
    pub fn stats(&self) -> &ModelStats {
        match &self.place {
            Place::Here(here) => &here.shared.stats,
            Place::Elsewhere(elsewhere) => &elsewhere.stats,
        }
    }

    /// Whether it is loaded here.
    pub fn is_here(&self) -> bool {
        self.here().is_some()
    }

    fn here(&self) -> Option<&Here> {
        match &self.place {
            Place::Here(here) => Some(here),
            Place::Elsewhere(_) => None,
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
        self.here().map_or(0, |here| here.shared.queue.len())
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
            Place::Elsewhere(_) => Some("it runs elsewhere, and is batched there"),
        }
    }

    /// Number of executors here.
    pub fn executors(&self) -> usize {
        self.here().map_or(0, |here| here.shared.executors())
    }

    /// How the backend runs it, for people, where that was a choice.
    pub fn described(&self) -> Option<&str> {
        self.here().and_then(|here| here.executor.as_deref())
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

    /// The same, without passing it on: for requests that were passed on to here.
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
        let result = match (&self.place, spill) {
            (Place::Elsewhere(elsewhere), _) => elsewhere.distant.infer(call).await,
            (Place::Here(here), None) => here.answer(call, Instant::now()).await,
            (Place::Here(here), Some(spill)) => here.answer_or_spill(call, &*spill).await,
        };
        canceled.disarm();
        match &result {
            Ok(answer) => stats.succeeded(&answer.timing),
            Err(error) => stats.failed(error),
        }
        result
    }

    /// Says who takes what is too much for this gateway, if anybody does.
    pub(crate) fn spill_to(&self, routed: Option<&Routed>) {
        let distant = routed.and_then(|routed| match &routed.model().place {
            Place::Elsewhere(elsewhere) => Some(elsewhere.distant.clone()),
            Place::Here(_) => None,
        });
        *self.spill.write().unwrap_or_else(PoisonError::into_inner) = distant;
    }

    /// Refuses new requests. Those that wait are still answered.
    pub fn close(&self) {
        if let Some(here) = self.here() {
            here.close();
        }
    }

    /// Closes and waits, for at most `max`, until every waiting request is answered and the executors are dropped: whether
    /// it came to that. Blocks.
    pub fn drain(&self, max: Duration) -> bool {
        self.here().is_none_or(|here| here.drain(max))
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
