//! A model that is loaded here: its queue, the threads that own its executors, and the answers it remembers.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use headland_nn_core::{Device, Executor, NnError, Signature};
use headland_text::TextEncoder;

use super::{Distant, ModelOptions};
use crate::call::{Answer, Cached, Call, Timing};
use crate::policy::Policy;
use crate::queue::Queue;
use crate::responses::{self, Responses};
use crate::worker::Shared;

/// A loaded model. Dropping it closes the queue; waiting requests are still answered.
pub(super) struct Here {
    pub label: Arc<str>,
    pub signature: Signature,
    pub device: Device,
    pub memory_bytes: u64,
    pub text: Option<Arc<TextEncoder>>,
    pub queue_max: usize,
    pub shared: Arc<Shared>,
    /// Why requests run alone, where they do.
    single: Option<String>,
    pub executor: Option<String>,
    pub responses: Option<Responses>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Disconnected once every thread has ended.
    ended: Mutex<mpsc::Receiver<Infallible>>,
}

impl Here {
    pub fn start(
        label: Arc<str>,
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
        let queue = Queue::new(options.queue_max, policy, executors.len());
        let shared = Arc::new(Shared::new(label.clone(), queue, layout, executors));
        let (alive, ended) = mpsc::channel();
        let here = Here {
            label,
            signature,
            device,
            memory_bytes,
            text: text.map(Arc::new),
            queue_max: options.queue_max,
            shared,
            single,
            executor,
            responses: (options.cache_bytes_max > 0).then(|| Responses::new(options.cache_bytes_max)),
            threads: Mutex::default(),
            ended: Mutex::new(ended),
        };
        for slot in 0..here.shared.executors() {
            let thread = here.shared.spawn(slot, (alive.clone(), options.held.clone())).map_err(|error| {
                NnError::runtime(format!("cannot start a thread for model `{}`: {error}", here.label))
            })?;
            here.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(here)
    }

    /// Why every request runs alone, where that is so.
    pub fn runs_alone(&self) -> Option<&str> {
        self.single.as_deref().or_else(|| self.shared.gave_up())
    }

    /// Out of the cache, or by running the model.
    pub async fn answer(&self, call: Call, arrived: Instant) -> Result<Answer, NnError> {
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

    /// The same; what there is too much of here is asked for elsewhere. Where that does not help, who asked is told how it
    /// is here.
    pub async fn answer_or_spill(&self, call: Call, spill: &dyn Distant) -> Result<Answer, NnError> {
        let again = call.clone();
        match self.answer(call, Instant::now()).await {
            Err(busy @ NnError::Overloaded { .. }) => match spill.infer(again).await {
                Err(NnError::Overloaded { .. } | NnError::Unreachable { .. }) => Err(busy),
                there => there,
            },
            here => here,
        }
    }

    pub fn close(&self) {
        self.shared.queue.close();
    }

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

impl Drop for Here {
    fn drop(&mut self) {
        self.close();
    }
}
