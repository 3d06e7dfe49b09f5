//! Which of several backends runs a model, by measurement; and what 8-bit weights lose, likewise.
//!
//! Both ask executors the same few texts. A contest is held when a model is first loaded on a machine; its result is kept,
//! so that later loads build one backend only.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use headland_nn_core::{Backend, Executor, LoadOptions, ModelFiles, NamedTensor, NnError, OutputSelection, Precision};
use headland_package::Sha256Digest;
use headland_text::TextEncoder;

/// Texts from a few tokens to some forty, as requests are.
const TEXTS: [&str; 8] = [
    "How do I change the password of my account?",
    "The ship left the harbour at dawn and reached the island before the storm.",
    "red running shoes, size 42",
    "In 1969 two people walked on the Moon for the first time; a third waited for them in orbit.",
    "Store in a cool, dry place away from direct sunlight and consume within three days of opening, unless the label on the \
     back of the package says otherwise for your country.",
    "error: connection reset by peer",
    "Wie komme ich am schnellsten zum Bahnhof?",
    "She said that she would come, but nobody believed her until she stood at the door with two suitcases and a cat.",
];

/// Runs of each size that count; the quickest is taken, since nothing makes a run quicker than it is.
const RUNS: usize = 3;

/// Results kept; the oldest keys in their order go first.
const RESULTS_MAX: usize = 4096;

/// A loaded model before it has its threads.
pub(super) struct Contestant {
    pub backend: Arc<dyn Backend>,
    pub executors: Vec<Box<dyn Executor>>,
}

/// What 8-bit weights lose: the cosine between a text's embedding with them and with full ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Loss {
    pub least: f32,
    pub mean: f32,
}

/// The quickest of `backends`, loaded. What a backend cannot load is left out, unless none can.
pub(super) fn quickest(
    backends: Vec<Arc<dyn Backend>>,
    files: &ModelFiles,
    options: &LoadOptions,
    text: &TextEncoder,
) -> Result<Contestant, NnError> {
    let (mut best, mut first_error) = (None::<(Duration, Contestant)>, None);
    for backend in backends {
        let executors = match backend.load(files, options) {
            Ok(executors) => executors,
            Err(error) => {
                tracing::debug!(model = files.label(), backend = backend.name(), %error, "not in the contest");
                first_error.get_or_insert(error);
                continue;
            }
        };
        let mut contestant = Contestant { backend, executors };
        let time = match contestant.time(text) {
            Ok(time) => time,
            Err(error) => {
                tracing::warn!(model = files.label(), backend = contestant.backend.name(), %error, "loads it and cannot run it");
                first_error.get_or_insert(error);
                continue;
            }
        };
        tracing::info!(model = files.label(), backend = contestant.backend.name(), ?time, "measured");
        if best.as_ref().is_none_or(|(least, _)| time < *least) {
            best = Some((time, contestant));
        }
    }
    best.map(|(_, contestant)| contestant)
        .ok_or_else(|| first_error.unwrap_or_else(|| NnError::bad_model("no backend can load it")))
}

impl Contestant {
    /// The geometric mean of what one text takes alone, and what many take all executors together.
    fn time(&mut self, text: &TextEncoder) -> Result<Duration, NnError> {
        let side_by_side = self.executors.len().max(1) as f64;
        let Some(executor) = self.executors.first_mut() else { return Ok(Duration::MAX) };
        let alone = quickest_run(executor.as_mut(), text, &TEXTS[..1])?;
        let many = quickest_run(executor.as_mut(), text, &TEXTS)?.as_secs_f64() / side_by_side;
        Ok(Duration::from_secs_f64((alone.as_secs_f64() * many).sqrt()))
    }
}

fn quickest_run(executor: &mut dyn Executor, text: &TextEncoder, texts: &[&str]) -> Result<Duration, NnError> {
    let inputs = text.encode(texts)?.inputs(executor.signature())?;
    let mut least = Duration::MAX;
    // The first one finds caches cold.
    for _ in 0..=RUNS {
        let started = Instant::now();
        run(executor, &inputs)?;
        least = least.min(started.elapsed());
    }
    Ok(least)
}

fn run(executor: &mut dyn Executor, inputs: &[NamedTensor]) -> Result<Vec<NamedTensor>, NnError> {
    executor.run(inputs, &OutputSelection::Only(vec![0]))
}

/// What `executor`, whose weights have 8 bits, loses against the same model in full.
pub(super) fn loss(
    backend: &dyn Backend,
    executor: &mut dyn Executor,
    files: &ModelFiles,
    options: &LoadOptions,
    text: &TextEncoder,
) -> Result<Loss, NnError> {
    let full = LoadOptions { precision: Precision::Full, ..LoadOptions::one_on(options.device) };
    let mut full = backend.load(files, &full)?;
    let full = full.first_mut().ok_or_else(|| NnError::bad_model("a model needs an executor"))?;
    let inputs = text.encode(&TEXTS)?.inputs(executor.signature())?;
    let (exact, lossy) = (run(full.as_mut(), &inputs)?, run(executor, &inputs)?);
    let (Some(exact), Some(lossy)) = (exact.first(), lossy.first()) else {
        return Err(NnError::bad_model("a model needs an output"));
    };
    let (exact, lossy) = (exact.tensor.to_slice::<f32>()?, lossy.tensor.to_slice::<f32>()?);
    if exact.is_empty() || exact.len() != lossy.len() {
        return Err(NnError::bad_model("with 8-bit weights it gives another output than with full ones"));
    }
    let width = (exact.len() / TEXTS.len()).max(1);
    let cosines: Vec<f32> = exact.chunks(width).zip(lossy.chunks(width)).map(|(a, b)| cosine(a, b)).collect();
    let mean = cosines.iter().sum::<f32>() / cosines.len().max(1) as f32;
    Ok(Loss { least: cosines.into_iter().fold(1.0, f32::min), mean })
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let cosine = (dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f64::MIN_POSITIVE)) as f32;
    // What is no number is as far off as can be.
    if cosine.is_finite() { cosine } else { -1.0 }
}

/// Results of earlier contests, in a file.
pub struct Results {
    path: Option<PathBuf>,
    known: Mutex<BTreeMap<String, String>>,
}

impl Results {
    /// Results in `path`, or only in memory. A file that cannot be read holds none.
    pub fn open(path: Option<PathBuf>) -> Self {
        let read = |path: &PathBuf| serde_json::from_slice(&std::fs::read(path).ok()?).ok();
        let known = path.as_ref().and_then(read).unwrap_or_default();
        Results { path, known: Mutex::new(known) }
    }

    /// The name of the backend that won.
    pub(super) fn winner(&self, key: &str) -> Option<String> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Keeps a result. What cannot be written is measured again at the next start.
    pub(super) fn keep(&self, key: String, winner: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(key, winner.to_owned());
        while known.len() > RESULTS_MAX {
            known.pop_first();
        }
        let Some(path) = &self.path else { return };
        let written = || -> std::io::Result<()> {
            let beside = path.with_extension("tmp");
            std::fs::write(&beside, serde_json::to_vec_pretty(&*known)?)?;
            std::fs::rename(&beside, path)
        };
        if let Err(error) = written() {
            tracing::warn!(path = %path.display(), %error, "which backend is quicker cannot be remembered");
        }
    }
}

/// What a result holds for: these bytes, in these numbers, by this program, on as many cores.
pub(super) fn key(digest: &Sha256Digest, options: &LoadOptions) -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let instances = options.instances.map_or(0, std::num::NonZeroUsize::get);
    let precision = match options.precision {
        Precision::Full => "full",
        Precision::Int8 => "int8",
    };
    format!(
        "{digest} {} {precision} instances={instances} cores={cores} headland={}",
        options.device,
        env!("CARGO_PKG_VERSION")
    )
}

#[cfg(test)]
mod tests;
