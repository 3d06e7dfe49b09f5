//! The thread that owns an executor: takes batches from the queue, runs them, answers the callers.

use std::any::Any;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use headland_nn_core::{Executor, NnError};

use crate::queue::{Done, Job, Queue};
use crate::stats::ModelStats;

/// Held by every thread of a model to its end: nothing is ever sent, and the receiver sees when the last one is gone. With
/// it, what the model's owner wants held for as long.
pub(crate) type Alive = (mpsc::Sender<Infallible>, Option<Arc<dyn Any + Send + Sync>>);

/// Starts the thread `name`; it ends when the queue is closed and empty, and drops `alive` after the executor.
pub(crate) fn spawn(
    name: &Arc<str>,
    executor: Box<dyn Executor>,
    queue: Arc<Queue>,
    stats: Arc<ModelStats>,
    alive: Alive,
) -> std::io::Result<JoinHandle<()>> {
    let model = name.clone();
    // Linux shows 15 bytes of a thread's name: the model's is worth more than a prefix.
    thread::Builder::new().name(model.to_string()).spawn(move || {
        serve(&model, executor, &queue, &stats);
        drop(alive);
    })
}

fn serve(model: &Arc<str>, mut executor: Box<dyn Executor>, queue: &Queue, stats: &ModelStats) {
    while let Some(batch) = queue.next_batch() {
        for job in batch.expired {
            // A caller that has gone meanwhile is no loss.
            let _ = job.reply.send(Err(NnError::DeadlineExceeded { model: model.clone() }));
        }
        for job in batch.run {
            run_one(model, executor.as_mut(), job, stats);
        }
    }
}

fn run_one(model: &str, executor: &mut dyn Executor, job: Job, stats: &ModelStats) {
    let started = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| executor.run(&job.inputs, &job.wanted)));
    let ended = Instant::now();
    stats.executed(ended - started);
    let result = match result {
        Ok(result) => result.map(|outputs| Done { outputs, started, ended }),
        Err(_) => {
            tracing::error!(model, "the backend panicked; the request fails, the model stays loaded");
            Err(NnError::runtime("the backend panicked"))
        }
    };
    let _ = job.reply.send(result);
}
