//! How many executors a model gets, and how many threads their session has: measured where nobody says.
//!
//! Executors of one thread each make the most of the cores as long as they do not get in each other's way, which is what
//! is measured first. Only if they do is a session that spreads one run over all cores tried too: loading a second one
//! takes as long as loading the model.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use headland_nn_core::{Device, LoadOptions, NnError};

use crate::load::OnnxBackend;
use crate::session::SharedSession;

/// How long each measurement runs at least, unless three runs take longer.
const MEASURE: Duration = Duration::from_millis(10);
const RUNS_MIN: u32 = 3;

/// A run that takes longer than this on one thread is not for measuring: its caller is waiting for every core there is.
const LONG_RUN: Duration = Duration::from_millis(250);

/// Spreading one run over all cores never got more than this share of what as many runs side by side can do at best.
const SPREAD_AT_MOST: f64 = 0.75;

/// How much more one run at a time on all cores must get done than runs side by side, for what was measured to be no chance:
/// on a machine that is busy with other things, runs side by side look worse than they are.
const CLEARLY: f64 = 1.5;

/// What was chosen.
pub(crate) struct Chosen {
    pub session: Arc<SharedSession>,
    pub instances: usize,
    /// For people.
    pub description: String,
}

/// Makes the session by `options` and what suits the machine. `sample` runs a small input.
pub(crate) fn choose(
    backend: &OnnxBackend,
    options: &LoadOptions,
    make: impl Fn(usize) -> Result<SharedSession, NnError>,
    sample: impl Fn(&SharedSession) -> Result<(), NnError> + Sync,
) -> Result<Chosen, NnError> {
    let cores = backend.cores();
    let fixed = |instances: usize, threads: usize| {
        let description = format!("{} as was asked for", describe(instances, threads));
        Ok(Chosen { session: Arc::new(make(threads)?), instances, description })
    };
    match (options.instances.map(NonZeroUsize::get), backend.options().intra_threads.map(NonZeroUsize::get)) {
        (Some(instances), Some(threads)) => fixed(instances, threads),
        // A session's threads serve all its callers, each of whom is one more.
        (Some(instances), None) => fixed(instances, (cores + 1).saturating_sub(instances).max(1)),
        (None, Some(threads)) => fixed((cores / threads).max(1), threads),
        (None, None) if options.device != Device::Cpu || cores == 1 => fixed(1, 1),
        (None, None) => measured(cores, make, sample),
    }
}

fn measured(
    cores: usize,
    make: impl Fn(usize) -> Result<SharedSession, NnError>,
    sample: impl Fn(&SharedSession) -> Result<(), NnError> + Sync,
) -> Result<Chosen, NnError> {
    let chosen = |session: SharedSession, instances: usize, threads: usize, why: String| {
        Ok(Chosen { session: Arc::new(session), instances, description: describe(instances, threads) + &why })
    };
    let single = make(1)?;
    let begun = Instant::now();
    if sample(&single).is_err() {
        return chosen(make(cores)?, 1, cores, "; a run of zeros fails, so nothing was measured".to_owned());
    }
    if begun.elapsed() > LONG_RUN {
        return chosen(make(cores)?, 1, cores, "; runs are long".to_owned());
    }
    let alone = rate(&single, 1, &sample);
    let side_by_side = rate(&single, cores, &sample);
    if side_by_side >= alone * cores as f64 * SPREAD_AT_MOST {
        let why = format!("; measured {:.2} times one", side_by_side / alone);
        return chosen(single, cores, 1, why);
    }
    let spread = make(cores)?;
    if sample(&spread).is_err() {
        return chosen(single, cores, 1, String::new());
    }
    let spread_rate = rate(&spread, 1, &sample);
    let why = |ratio: f64| format!("; measured {ratio:.2} times the other way");
    match spread_rate > side_by_side * CLEARLY {
        true => chosen(spread, 1, cores, why(spread_rate / side_by_side)),
        false => chosen(single, cores, 1, why(side_by_side / spread_rate)),
    }
}

/// Runs a second that `callers` at once make when nothing else is in their way: by each one's quickest run, since a busy
/// machine only ever makes a run slower.
fn rate(session: &SharedSession, callers: usize, sample: impl Fn(&SharedSession) -> Result<(), NnError> + Sync) -> f64 {
    let begun = Instant::now();
    let caller = || {
        let (mut runs, mut quickest) = (0, f64::INFINITY);
        while runs < RUNS_MIN || begun.elapsed() < MEASURE {
            let begun = Instant::now();
            // What failed took its time too, and a sample that ran once hardly fails.
            let _ = sample(session);
            quickest = quickest.min(begun.elapsed().as_secs_f64());
            runs += 1;
        }
        1.0 / quickest.max(f64::MIN_POSITIVE)
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..callers).map(|_| scope.spawn(caller)).collect();
        caller() + others.into_iter().map(|other| other.join().unwrap_or(0.0)).sum::<f64>()
    })
}

fn describe(instances: usize, threads: usize) -> String {
    let plural = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    format!("{} at once on a session of {}", plural(instances, "run"), plural(threads, "thread"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_is_told_in_words() {
        assert_eq!(describe(2, 1), "2 runs at once on a session of 1 thread");
        assert_eq!(describe(1, 8), "1 run at once on a session of 8 threads");
    }
}
