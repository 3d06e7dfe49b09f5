//! What a request costs on its way to the executor, step by step and in process: reading it, checking its tensors,
//! tokenising its text, deciding on a batch, and handing it to the executor's thread and back. `HEADLAND_CACHE` names the folder with the
//! fetched model, without which tokenising is left out.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use headland_batcher::policy::{Flow, Pending, Policy, World, decide};
use headland_batcher::{Call, Model, ModelInfo, ModelOptions};
use headland_load::{Random, Texts};
use headland_nn_core::{
    Batching, DType, Device, Dim, Executor, NamedTensor, NnError, OutputSelection, Padding, Signature, Tensor,
    TensorSpec,
};
use headland_package::{Sha256Digest, folder};
use headland_server::parse_infer;
use headland_text::TextEncoder;

/// Floats of the tensor that goes in and comes out.
const FLOATS: usize = 64;

fn reading(criterion: &mut Criterion) {
    let data: Vec<u8> = vec![0; FLOATS * 4];
    let head = format!(
        r#"{{"inputs":[{{"name":"x","datatype":"FP32","shape":[1,{FLOATS}],"parameters":{{"binary_data_size":{}}}}}]}}"#,
        data.len()
    );
    let binary = Bytes::from([head.as_bytes(), &data].concat());
    let numbers = vec!["0.12345"; FLOATS].join(",");
    let json = Bytes::from(format!(
        r#"{{"inputs":[{{"name":"x","datatype":"FP32","shape":[1,{FLOATS}],"data":[{numbers}]}}]}}"#
    ));
    let mut group = criterion.benchmark_group("infer body of 64 floats");
    group.bench_function("binary", |bencher| {
        bencher.iter(|| parse_infer(Some(head.len()), black_box(&binary)).expect("sound"))
    });
    group.bench_function("JSON", |bencher| bencher.iter(|| parse_infer(None, black_box(&json)).expect("sound")));
    group.finish();
}

fn tokenising(criterion: &mut Criterion) {
    let default = PathBuf::from("../.cache");
    let cache = std::env::var_os("HEADLAND_CACHE").map_or(default, PathBuf::from);
    let model = cache.join("models/all-minilm-l6-v2");
    if !model.exists() {
        eprintln!("skipped: {} is not there; scripts/fetch.sh brings it", model.display());
        return;
    }
    let encoder =
        TextEncoder::open(&folder::open(&model).expect("a folder")).expect("a tokenizer").expect("a text model");
    let mut texts = Texts::open(&model.join("vocab.txt"), 1).expect("a vocabulary");
    let mut group = criterion.benchmark_group("tokenise");
    for tokens in [13, 128] {
        // A new text each time: equal ones are remembered.
        group.bench_function(format!("{tokens} tokens"), |bencher| {
            bencher.iter_batched(
                || {
                    let mut text = Vec::new();
                    texts.write(tokens, &mut text);
                    String::from_utf8(text).expect("words")
                },
                |text| encoder.encode(&[&text]).expect("tokens"),
                criterion::BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// Gives back what it gets.
struct Echo(Signature);

impl Executor for Echo {
    fn signature(&self) -> &Signature {
        &self.0
    }
    fn device(&self) -> Device {
        Device::Cpu
    }
    fn memory_bytes(&self) -> u64 {
        0
    }
    fn batching(&self) -> Batching {
        Batching::Single { why: "what is measured is the way, not the batch".into() }
    }
    fn run(&mut self, inputs: &[NamedTensor], _: &OutputSelection) -> Result<Vec<NamedTensor>, NnError> {
        let inputs = inputs.iter().map(|input| NamedTensor::new("y", input.tensor.clone()));
        Ok(inputs.collect())
    }
}

fn signature() -> Signature {
    let dims = || vec![Dim::Dynamic(None), Dim::Fixed(FLOATS)];
    let spec = |name| vec![TensorSpec::new(name, DType::F32, dims())];
    Signature { inputs: spec("x"), outputs: spec("y") }
}

fn inputs() -> Vec<NamedTensor> {
    vec![NamedTensor::new("x", Tensor::from_vec([1, FLOATS], vec![0f32; FLOATS]).expect("a tensor"))]
}

fn checking(criterion: &mut Criterion) {
    let (signature, inputs) = (signature(), inputs());
    criterion.bench_function("check a tensor against the signature", |bencher| {
        bencher.iter(|| signature.check_inputs(black_box(&inputs)).expect("fitting"));
    });
}

fn handing_over(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("a runtime");
    let info = ModelInfo {
        name: "echo".parse().expect("a name"),
        version: "1".parse().expect("a version"),
        digest: Sha256Digest::of(b"echo"),
        backend: "none".into(),
    };
    let model = Model::start(info, vec![Box::new(Echo(signature()))], None, ModelOptions::default()).expect("a model");
    criterion.bench_function("through the queue to an executor that does nothing, and back", |bencher| {
        bencher.to_async(&runtime).iter(|| async {
            model.infer(Call { inputs: inputs().into(), ..Call::default() }).await.expect("an answer")
        });
    });
}

/// Texts of 8 to 256 tokens that wait, from three apps.
fn deciding(criterion: &mut Criterion) {
    let now = Instant::now();
    let mut random = Random::new(1);
    let mut waiting = |position: u64| {
        let length = 8 + random.below(249);
        Pending {
            arrived: now - Duration::from_micros(100 * position),
            deadline: Some(now + Duration::from_millis(500)),
            abandoned: false,
            rows: 1,
            length,
            cells: length,
            kind: Some(0),
            flow: random.below(3),
            priority: 0,
        }
    };
    let flows = [Flow { served: 0.0, weight: 1.0 }; 3];
    let policy = Policy {
        rows_max: 64,
        cells_max: 1024,
        preferred: Vec::new(),
        delay_max: Duration::from_millis(2),
        padding: Padding::Computed,
    };
    let world = World { now, idle: 1, gap: None, last_arrival: Some(now), cost: None };
    let mut group = criterion.benchmark_group("decide on a batch");
    for length in [1u64, 64, 256] {
        let queue: Vec<Pending> = (0..length).rev().map(&mut waiting).collect();
        group.bench_function(format!("of {length} waiting"), |bencher| {
            bencher.iter(|| decide(black_box(&queue), &flows, &policy, &world));
        });
    }
    group.finish();
}

criterion_group!(benches, reading, tokenising, checking, deciding, handing_over);
criterion_main!(benches);
