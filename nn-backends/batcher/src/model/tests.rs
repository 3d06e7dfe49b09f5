//! The model's promises, kept with executors that do what a test tells them to.

use std::sync::{Mutex, mpsc};
use std::time::Duration;

use headland_nn_core::{
    BatchAxes, Batching, Busy, DType, Dim, InputAxes, ModelFiles, NamedTensor, OutputAxes, Padding, Tensor, TensorSpec,
};
use headland_text::TEXT_INPUT;
use headland_trust::Verified;

use super::tokenising::{INLINE_TEXT_BYTES_MAX, LONG_TEXTS, LONG_TEXTS_AT_ONCE_MAX};
use super::*;
use crate::call::{Cached, Inputs};
use crate::flows::Caller;
use crate::stats::Failure;
use crate::worker::FAILED_PAIRS_MAX;
use crate::{ModelTable, NotLoaded};

mod elsewhere;
mod generating;

/// Longer than any test may take.
const LONG: Duration = Duration::from_secs(10);

type Script = Box<dyn FnMut(&[NamedTensor]) -> Result<Vec<NamedTensor>, NnError> + Send>;

/// An executor that calls back into the test.
struct FakeExecutor {
    signature: Signature,
    batching: Batching,
    script: Script,
}

impl Executor for FakeExecutor {
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn device(&self) -> Device {
        Device::Cpu
    }
    fn memory_bytes(&self) -> u64 {
        7
    }
    fn batching(&self) -> Batching {
        self.batching.clone()
    }

    fn run(&mut self, inputs: &[NamedTensor], _wanted: &OutputSelection) -> Result<Vec<NamedTensor>, NnError> {
        (self.script)(inputs)
    }
}

fn single() -> Batching {
    Batching::Single { why: "the test runs one at a time".into() }
}

fn signature() -> Signature {
    let spec = |name| TensorSpec::new(name, DType::F32, vec![Dim::Dynamic(None)]);
    Signature { inputs: vec![spec("x")], outputs: vec![spec("y"), spec("z")] }
}

fn model(
    version: &str,
    queue_max: usize,
    script: impl FnMut(&[NamedTensor]) -> Result<Vec<NamedTensor>, NnError> + Send + 'static,
) -> Arc<Model> {
    start(version, queue_max, signature(), None, script)
}

fn start(
    version: &str,
    queue_max: usize,
    signature: Signature,
    text: Option<TextEncoder>,
    script: impl FnMut(&[NamedTensor]) -> Result<Vec<NamedTensor>, NnError> + Send + 'static,
) -> Arc<Model> {
    let executor = FakeExecutor { signature, batching: single(), script: Box::new(script) };
    let options = ModelOptions { queue_max, ..ModelOptions::default() };
    Arc::new(Model::start(info(version), vec![Box::new(executor)], text, options).unwrap())
}

fn info(version: &str) -> ModelInfo {
    ModelInfo {
        name: "fake".parse().unwrap(),
        version: version.parse().unwrap(),
        digest: Sha256Digest::of(version.as_bytes()),
        backend: "fake".into(),
    }
}

fn echo(inputs: &[NamedTensor]) -> Result<Vec<NamedTensor>, NnError> {
    Ok(vec![NamedTensor::new("y", inputs[0].tensor.clone())])
}

fn call(value: f32) -> Call {
    let tensor = Tensor::from_vec([1], vec![value]).unwrap();
    Call { inputs: vec![NamedTensor::new("x", tensor)].into(), ..Call::default() }
}

/// A model whose executor reports each start and waits for leave to go on.
fn stepped(queue_max: usize) -> (Arc<Model>, mpsc::Receiver<f32>, mpsc::Sender<()>) {
    let (started, starts) = mpsc::channel();
    let (leave, leaves) = mpsc::channel();
    let model = model("1", queue_max, move |inputs| {
        started.send(inputs[0].tensor.to_slice::<f32>()?[0]).map_err(NnError::runtime)?;
        leaves.recv_timeout(LONG).map_err(NnError::runtime)?;
        echo(inputs)
    });
    (model, starts, leave)
}

fn spawn(model: &Arc<Model>, call: Call) -> tokio::task::JoinHandle<Result<Answer, NnError>> {
    let model = model.clone();
    tokio::spawn(async move { model.infer(call).await })
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_answer_comes_back_with_its_timing_and_is_counted() {
    let model = model("1", 8, echo);
    let answer = model.infer(call(2.5)).await.unwrap();
    assert_eq!(&*answer.outputs[0].tensor.to_slice::<f32>().unwrap(), &[2.5]);
    assert!(answer.timing.total >= answer.timing.infer);
    assert_eq!((model.stats().success(), model.stats().executions()), (1, 1));
}

#[tokio::test]
async fn wrong_tensors_never_reach_the_executor() {
    let model = model("1", 8, |_| panic!("must not run"));
    let bad = Call::default();
    assert!(matches!(model.infer(bad).await, Err(NnError::InvalidInput(_))));
    assert_eq!((model.stats().executions(), model.stats().failure(Failure::Other)), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_answers_overloaded_without_touching_the_backend() {
    let (model, starts, leave) = stepped(1);
    let running = spawn(&model, call(1.0));
    starts.recv_timeout(LONG).unwrap();
    let waiting = spawn(&model, call(2.0));
    until("the second waits", || model.pending() == 1).await;
    let refused = model.infer(call(3.0)).await.unwrap_err();
    assert!(matches!(refused, NnError::Overloaded { reason: Busy::QueueFull { queue_max: 1 }, .. }), "{refused}");
    leave.send(()).unwrap();
    leave.send(()).unwrap();
    assert!(running.await.unwrap().is_ok() && waiting.await.unwrap().is_ok());
    assert_eq!((model.stats().executions(), model.stats().failure(Failure::Rejected)), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_went_away_is_skipped_and_its_place_is_free() {
    let (model, starts, leave) = stepped(1);
    let running = spawn(&model, call(1.0));
    starts.recv_timeout(LONG).unwrap();
    let gone = spawn(&model, call(2.0));
    until("the second waits", || model.pending() == 1).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    let next = spawn(&model, call(3.0));
    until("the third has the second's place", || model.pending() == 1).await;
    leave.send(()).unwrap();
    assert_eq!(starts.recv_timeout(LONG).unwrap(), 3.0);
    leave.send(()).unwrap();
    assert!(running.await.unwrap().is_ok() && next.await.unwrap().is_ok());
    assert_eq!(model.stats().failure(Failure::Canceled), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_answers_on_time_even_while_the_executor_is_busy() {
    let (model, starts, leave) = stepped(8);
    let running = spawn(&model, call(1.0));
    starts.recv_timeout(LONG).unwrap();
    let late = Call { deadline: Some(Instant::now() + Duration::from_millis(20)), ..call(2.0) };
    assert!(matches!(model.infer(late).await, Err(NnError::DeadlineExceeded { .. })));
    leave.send(()).unwrap();
    assert!(running.await.unwrap().is_ok());
    assert_eq!(model.stats().executions(), 1);
}

#[tokio::test]
async fn a_panicking_backend_fails_one_request_and_serves_the_next() {
    let mut first = true;
    let model =
        model("1", 8, move |inputs| if std::mem::take(&mut first) { panic!("as the test says") } else { echo(inputs) });
    assert!(matches!(model.infer(call(1.0)).await, Err(NnError::Runtime(_))));
    assert!(model.infer(call(2.0)).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_answers_those_who_wait_and_refuses_the_rest() {
    let (model, starts, leave) = stepped(8);
    let calls = [spawn(&model, call(1.0)), spawn(&model, call(2.0))];
    starts.recv_timeout(LONG).unwrap();
    until("the second waits", || model.pending() == 1).await;
    model.close();
    assert!(matches!(model.infer(call(3.0)).await, Err(NnError::ShuttingDown { .. })));
    leave.send(()).unwrap();
    leave.send(()).unwrap();
    let draining = model.clone();
    assert!(tokio::task::spawn_blocking(move || draining.drain(LONG)).await.unwrap());
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_waits_no_longer_than_it_is_told() {
    let (model, starts, leave) = stepped(8);
    let running = spawn(&model, call(1.0));
    starts.recv_timeout(LONG).unwrap();
    assert!(!model.drain(Duration::from_millis(1)), "the executor is still busy");
    leave.send(()).unwrap();
    assert!(model.drain(LONG) && model.drain(LONG));
    assert!(running.await.unwrap().is_ok());
}

/// What a model of texts takes, of which it knows one word.
fn reads_texts() -> (Signature, TextEncoder) {
    let tokenizer = r#"{"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "unk_token": "u", "vocab": {"u": 0}}}"#;
    let files = ModelFiles::new("m", [("tokenizer.json".to_owned(), tokenizer.into())]);
    let inputs = vec![TensorSpec::new("input_ids", DType::I64, vec![Dim::Dynamic(None); 2])];
    (Signature { inputs, ..signature() }, TextEncoder::open(&files).unwrap().unwrap())
}

#[tokio::test]
async fn long_texts_wait_for_their_turn_until_their_deadline() {
    let (signature, text) = reads_texts();
    let model = start("1", 8, signature, Some(text), echo);
    let long = |deadline| {
        let text = Tensor::from_strings([1], &["u ".repeat(INLINE_TEXT_BYTES_MAX)]).unwrap();
        model.infer(Call { inputs: vec![NamedTensor::new(TEXT_INPUT, text)].into(), deadline, ..Call::default() })
    };
    let all = LONG_TEXTS.acquire_many(LONG_TEXTS_AT_ONCE_MAX as u32).await.unwrap();
    let late = long(Some(Instant::now() + Duration::from_millis(5))).await;
    assert!(matches!(late, Err(NnError::DeadlineExceeded { .. })), "{late:?}");
    drop(all);
    assert!(long(None).await.is_ok());
    assert_eq!(LONG_TEXTS.available_permits(), LONG_TEXTS_AT_ONCE_MAX);
}

/// A model of `executors` that batches along the first axis, and what its batches were: rows of each. A row of 13 breaks the
/// batch it is in.
fn batching(executors: usize, options: BatchOptions) -> (Arc<Model>, mpsc::Receiver<usize>, mpsc::Sender<()>) {
    let (started, starts) = mpsc::channel();
    let (leave, leaves) = mpsc::channel::<()>();
    let leaves = Arc::new(Mutex::new(leaves));
    let axes = BatchAxes {
        inputs: vec![InputAxes { batch: 0, length: None, pad: 0.0 }],
        outputs: vec![OutputAxes { batch: 0, length: None }; 2],
        padding: Padding::Computed,
        mask: None,
    };
    let executor = |_| -> Box<dyn Executor> {
        let (started, leaves) = (started.clone(), leaves.clone());
        let script = move |inputs: &[NamedTensor]| {
            let values = inputs[0].tensor.to_slice::<f32>()?.to_vec();
            started.send(values.len()).map_err(NnError::runtime)?;
            leaves.lock().unwrap().recv_timeout(LONG).map_err(NnError::runtime)?;
            if values.contains(&13.0) {
                return Err(NnError::invalid("13 is no good"));
            }
            if values.len() > 1 && values.contains(&77.0) {
                return Err(NnError::invalid("only one 77"));
            }
            echo(inputs)
        };
        let batching = Batching::Axes(axes.clone());
        Box::new(FakeExecutor { signature: signature(), batching, script: Box::new(script) })
    };
    let options = ModelOptions { batching: options, cache_bytes_max: 0, ..ModelOptions::default() };
    let executors = (0..executors).map(executor).collect();
    (Arc::new(Model::start(info("1"), executors, None, options).unwrap()), starts, leave)
}

fn rows(values: &[f32]) -> Call {
    let tensor = Tensor::from_vec([values.len()], values.to_vec()).unwrap();
    Call { inputs: vec![NamedTensor::new("x", tensor)].into(), ..Call::default() }
}

fn values(answer: &Answer) -> Vec<f32> {
    answer.outputs[0].tensor.to_slice::<f32>().unwrap().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_waited_run_together_and_each_gets_its_own() {
    let (model, starts, leave) = batching(1, BatchOptions::default());
    let first = spawn(&model, call(1.0));
    assert_eq!(starts.recv_timeout(LONG).unwrap(), 1);
    let waiting: Vec<_> = [vec![2.0, 3.0], vec![4.0], vec![5.0, 6.0, 7.0]]
        .into_iter()
        .map(|values| (spawn(&model, rows(&values)), values))
        .collect();
    until("three wait", || model.pending() == 3).await;
    leave.send(()).unwrap();
    assert_eq!(starts.recv_timeout(LONG).unwrap(), 6);
    leave.send(()).unwrap();
    assert_eq!(values(&first.await.unwrap().unwrap()), [1.0]);
    for (call, expected) in waiting {
        assert_eq!(values(&call.await.unwrap().unwrap()), expected);
    }
    let counts: Vec<u64> = model.stats().batch_requests().cumulative().take(3).map(|(_, count)| count).collect();
    assert_eq!((model.stats().executions(), counts), (2, vec![1, 1, 2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_request_fails_alone_and_not_those_beside_it() {
    let (model, starts, leave) = batching(1, BatchOptions::default());
    let mut calls = vec![spawn(&model, call(1.0))];
    assert_eq!(starts.recv_timeout(LONG).unwrap(), 1);
    for value in [2.0, 13.0, 4.0] {
        calls.push(spawn(&model, call(value)));
        // One after the other, for their order says how they are halved.
        until("it waits", || model.pending() == calls.len() - 1).await;
    }
    let runs = [3, 1, 2, 1, 1];
    (0..=runs.len()).for_each(|_| leave.send(()).unwrap());
    let mut results = Vec::new();
    for call in calls {
        results.push(call.await.unwrap().map(|answer| values(&answer)[0]).map_err(|error| error.to_string()));
    }
    assert_eq!(results, [Ok(1.0), Ok(2.0), Err("13 is no good".to_owned()), Ok(4.0)]);
    assert_eq!(starts.try_iter().collect::<Vec<_>>(), runs, "all three, then its halves, the failing one's halves");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_whose_batches_always_fail_runs_alone_in_the_end() {
    let (model, starts, leave) = batching(1, BatchOptions::default());
    let mut calls = vec![spawn(&model, call(77.0))];
    assert_eq!(starts.recv_timeout(LONG).unwrap(), 1);
    // Twice the pairs it takes: the last answer comes long after the model gave up.
    const CALLS: usize = 4 * FAILED_PAIRS_MAX as usize;
    calls.extend((0..CALLS).map(|_| spawn(&model, call(77.0))));
    until("all others wait", || model.pending() == CALLS).await;
    assert_eq!(model.runs_alone(), None);
    (0..100).for_each(|_| leave.send(()).unwrap());
    for call in calls {
        assert_eq!(values(&call.await.unwrap().unwrap()), [77.0]);
    }
    let why = model.runs_alone().unwrap();
    assert!(why.contains("8 times two failed together") && why.ends_with("only one 77"), "{why}");
    assert_eq!(model.policy(), None);
    let sizes: Vec<usize> = starts.try_iter().collect();
    assert_eq!(sizes[0], CALLS);
    assert_eq!(sizes.iter().filter(|size| **size == 1).count(), CALLS, "each ran alone once: {sizes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_request_runs_in_parts_and_comes_back_whole() {
    let (model, starts, leave) = batching(2, BatchOptions { rows_max: Some(4), ..BatchOptions::default() });
    (0..10).for_each(|_| leave.send(()).unwrap());
    let all: Vec<f32> = (0..10).map(|value| value as f32).collect();
    let answer = model.infer(rows(&all)).await.unwrap();
    assert_eq!(values(&answer), all);
    let mut parts: Vec<usize> = starts.try_iter().collect();
    parts.sort_unstable();
    assert_eq!(parts, [2, 4, 4]);
    let bad: Vec<f32> = (8..18).map(|value| value as f32).collect();
    assert_eq!(model.infer(rows(&bad)).await.unwrap_err().to_string(), "13 is no good");
    until("what is left of it leaves the queue", || model.pending() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_one_caller_leaves_the_others_their_places_and_their_turns() {
    let (model, starts, leave) = batching(1, BatchOptions { off: true, ..BatchOptions::default() });
    let by = |name: &str, value: f32| Call { caller: Caller { name: name.into(), weight: 1 }, ..call(value) };
    let running = spawn(&model, by("flood", 0.0));
    starts.recv_timeout(LONG).unwrap();
    let flood: Vec<_> = (0..DEFAULT_QUEUE_MAX).map(|_| spawn(&model, by("flood", 1.0))).collect();
    until("the queue is full", || model.pending() == DEFAULT_QUEUE_MAX).await;
    assert!(matches!(model.infer(by("flood", 1.0)).await, Err(NnError::Overloaded { .. })));
    let other = spawn(&model, by("other", 2.0));
    until("one of the flood is told", || model.stats().failure(Failure::Rejected) == 2).await;
    assert_eq!(model.pending(), DEFAULT_QUEUE_MAX);
    (0..3).for_each(|_| leave.send(()).unwrap());
    assert_eq!(values(&other.await.unwrap().unwrap()), [2.0], "it is among the next two that run");
    assert!(running.await.unwrap().is_ok());
    (0..DEFAULT_QUEUE_MAX).for_each(|_| leave.send(()).unwrap());
    let mut told = 0;
    for call in flood {
        told += usize::from(call.await.unwrap().is_err());
    }
    assert_eq!(told, 1);
}

/// Four runs of at least 20 ms: what a run takes is known then.
async fn run_slowly<T>(
    model: &Arc<Model>,
    call: impl Fn() -> Call,
    starts: &mpsc::Receiver<T>,
    leave: &mpsc::Sender<()>,
) {
    for _ in 0..4 {
        let slow = spawn(model, call());
        starts.recv_timeout(LONG).unwrap();
        let until = Instant::now() + Duration::from_millis(20);
        while Instant::now() < until {
            tokio::task::yield_now().await;
        }
        leave.send(()).unwrap();
        slow.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_would_be_late_is_told_at_once() {
    let (model, starts, leave) = batching(1, BatchOptions { off: true, ..BatchOptions::default() });
    run_slowly(&model, || call(1.0), &starts, &leave).await;
    let calls: Vec<_> = (0..5).map(|_| spawn(&model, call(1.0))).collect();
    starts.recv_timeout(LONG).unwrap();
    until("four wait", || model.pending() == 4).await;
    let soon = Call { deadline: Some(Instant::now() + Duration::from_millis(60)), ..call(1.0) };
    let refused = model.infer(soon).await.unwrap_err();
    assert!(matches!(refused, NnError::Overloaded { reason: Busy::WouldBeLate { .. }, .. }), "{refused}");
    let later = Call { deadline: Some(Instant::now() + LONG), ..call(1.0) };
    let later = spawn(&model, later);
    (0..6).for_each(|_| leave.send(()).unwrap());
    assert!(later.await.unwrap().is_ok());
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_no_size_would_help_is_refused_before_it_is_tokenised() {
    let (started, starts) = mpsc::channel();
    let (leave, leaves) = mpsc::channel();
    let (signature, text) = reads_texts();
    let model = start("1", 8, signature, Some(text), move |inputs| {
        started.send(()).map_err(NnError::runtime)?;
        leaves.recv_timeout(LONG).map_err(NnError::runtime)?;
        echo(inputs)
    });
    let tokens = || Call { inputs: Inputs::Tokens(vec![vec![0]]), ..Call::default() };
    run_slowly(&model, tokens, &starts, &leave).await;
    let calls: Vec<_> = (0..5).map(|_| spawn(&model, tokens())).collect();
    starts.recv_timeout(LONG).unwrap();
    until("four wait", || model.pending() == 4).await;
    let no_text = |left| {
        let number = NamedTensor::new(TEXT_INPUT, Tensor::from_vec([1], vec![1f32]).unwrap());
        let deadline = Some(Instant::now() + left);
        model.infer(Call { inputs: vec![number].into(), deadline, ..Call::default() })
    };
    let refused = no_text(Duration::from_millis(60)).await.unwrap_err();
    assert!(matches!(refused, NnError::Overloaded { reason: Busy::WouldBeLate { .. }, .. }), "{refused}");
    let read = no_text(LONG).await.unwrap_err();
    assert!(matches!(read, NnError::InvalidInput(_)), "who has the time is told what is wrong with it: {read}");
    (0..5).for_each(|_| leave.send(()).unwrap());
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn a_model_that_remembers_answers_runs_once_for_one_question() {
    let executor = FakeExecutor { signature: signature(), batching: single(), script: Box::new(echo) };
    let options = ModelOptions { cache_bytes_max: 1 << 20, ..ModelOptions::default() };
    let model = Model::start(info("1"), vec![Box::new(executor)], None, options).unwrap();
    let (miss, hit) = (model.infer(call(2.0)).await.unwrap(), model.infer(call(2.0)).await.unwrap());
    assert_eq!((miss.cache, hit.cache), (Some(Cached::Miss), Some(Cached::Hit)));
    assert_eq!((values(&hit), model.stats().executions()), (vec![2.0], 1));
    assert_eq!(model.infer(call(3.0)).await.unwrap().cache, Some(Cached::Miss));
    assert_eq!((model.stats().cache_hits(), model.stats().cache_misses()), (1, 2));
}

#[test]
fn a_model_says_why_its_requests_run_alone() {
    let start = |batching: Batching, options: BatchOptions| {
        let executor = FakeExecutor { signature: signature(), batching, script: Box::new(echo) };
        let options = ModelOptions { batching: options, ..ModelOptions::default() };
        Model::start(info("1"), vec![Box::new(executor)], None, options)
    };
    let model = start(single(), BatchOptions::default()).unwrap();
    assert_eq!((model.runs_alone(), model.policy()), (Some("the test runs one at a time"), None));
    let off = start(single(), BatchOptions { off: true, ..BatchOptions::default() }).unwrap();
    assert_eq!(off.runs_alone(), Some("its package says so"));
    let axes = BatchAxes {
        inputs: vec![InputAxes { batch: 1, length: None, pad: 0.0 }],
        outputs: vec![OutputAxes { batch: 0, length: None }; 2],
        padding: Padding::Computed,
        mask: None,
    };
    let wrong = start(single(), BatchOptions { axes: Some(axes), ..BatchOptions::default() }).unwrap_err();
    assert!(wrong.to_string().contains("its batch axes cannot be used: `x` has 1 axes"), "{wrong}");
}

#[tokio::test]
async fn the_table_finds_versions_and_names_what_is_loaded() {
    let table = ModelTable::default();
    for version in ["2", "10"] {
        assert!(table.insert(Verified::named_by_operator(model(version, 8, echo), "a test")).is_none());
    }
    let version = |asked: &str| table.get(&asked.parse().unwrap()).map(|model| model.info().version.to_string());
    assert_eq!(version("fake"), Ok("10".into()));
    assert_eq!(version("fake:2"), Ok("2".into()));
    assert_eq!(version(&format!("fake@{}", Sha256Digest::of(b"2"))), Ok("2".into()));
    let missing = version("fake:3").unwrap_err();
    assert_eq!(missing.to_string(), "model `fake:3` is not loaded; loaded: fake:2, fake:10");
    let NotLoaded { loaded, .. } = version("other").unwrap_err();
    assert_eq!(loaded, ["fake:2", "fake:10"]);
}

#[tokio::test]
async fn who_holds_a_model_that_was_taken_out_can_use_it_to_the_end() {
    let table = ModelTable::default();
    let old = model("2", 8, echo);
    table.insert(Verified::named_by_operator(old.clone(), "a test"));
    let new = model("2", 8, echo);
    let replaced = table.insert(Verified::named_by_operator(new.clone(), "a test")).unwrap();
    assert!(Arc::ptr_eq(&replaced, &old));
    assert!(!table.remove(&old), "another one is there under its name");
    assert!(old.infer(call(1.0)).await.is_ok());
    assert!(table.remove(&new) && !table.remove(&new));
    assert!(new.infer(call(1.0)).await.is_ok());
    assert!(table.find(&"fake".parse().unwrap()).await.is_err());
}

#[test]
fn an_alias_stands_for_a_loaded_version_and_never_hides_one() {
    let table = ModelTable::default();
    for version in ["1", "2"] {
        table.insert(Verified::named_by_operator(model(version, 8, echo), "a test"));
    }
    let (name, version) = ("fake".parse().unwrap(), |text: &str| text.parse::<ModelVersion>().unwrap());
    let aliases =
        [("stable", "1"), ("2", "1"), ("next", "3")].map(|(alias, target)| (alias.to_owned(), version(target)));
    table.set_aliases(&name, aliases.into());
    let found = |asked: &str| table.get(&asked.parse().unwrap()).map(|model| model.info().version.to_string());
    assert_eq!(found("fake:stable"), Ok("1".into()));
    assert_eq!(found("fake:2"), Ok("2".into()));
    assert!(found("fake:next").is_err());
    assert_eq!(found("fake"), Ok("1".into()), "a bare name is what is stable");
    table.set_aliases(&name, [("stable".to_owned(), version("3"))].into());
    assert!(found("fake").is_err(), "and nothing else in its place");
    table.set_aliases(&name, Default::default());
    assert!(found("fake:stable").is_err());
    assert_eq!(found("fake"), Ok("2".into()));
}

#[test]
fn what_a_model_holds_is_let_go_after_its_executors() {
    let held: Arc<dyn std::any::Any + Send + Sync> = Arc::new(());
    let options = ModelOptions { held: Some(held.clone()), ..ModelOptions::default() };
    let executor = FakeExecutor { signature: signature(), batching: single(), script: Box::new(echo) };
    let model = Model::start(info("1"), vec![Box::new(executor)], None, options).unwrap();
    assert!(Arc::strong_count(&held) > 1);
    assert!(model.drain(Duration::from_secs(10)));
    assert_eq!(Arc::strong_count(&held), 1);
}
