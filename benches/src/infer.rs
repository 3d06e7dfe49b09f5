//! (c) The gateway's own cost: `/v2/.../infer` and the guest path against the executor called directly, on the same
//! inputs, one at a time. The axum echo of the same bytes shows how much of it any HTTP server takes.

use std::time::Instant;

use anyhow::{Context, Result};
use headland_candle::CandleBackend;
use headland_nn_core::{Backend, Device, Executor, LoadOptions, ModelFiles, NamedTensor, OutputSelection, Tensor};
use headland_onnx::{LibrarySearch, OnnxBackend};
use headland_package::folder;

use crate::Setup;
use crate::client::{latencies, request};
use crate::report::{Report, Section, median};
use crate::servers::{self, Server};

const DIGITS_REQUESTS: usize = 4_000;
const MINILM_REQUESTS: usize = 300;
/// Token ids of a sentence of 13 tokens, special ones included.
pub const SENTENCE: [i64; 13] = [101, 1037, 4937, 7719, 2006, 1996, 4010, 13523, 2279, 2000, 1996, 3332, 102];

pub async fn measure(setup: &Setup, report: &mut Report) -> Result<()> {
    let floor = servers::floor().await?;
    let ours = servers::headland(setup).await?;
    digits(setup, &floor, &ours, report).await?;
    minilm(setup, &floor, &ours, report).await
}

async fn digits(setup: &Setup, floor: &Server, ours: &Server, report: &mut Report) -> Result<()> {
    let pixels: Vec<f32> = (0..64u8).map(|i| f32::from(i % 17)).collect();
    let body: Vec<u8> = pixels.iter().flat_map(|pixel| pixel.to_le_bytes()).collect();
    let image = NamedTensor::new("image", Tensor::from_vec([1, 8, 8], pixels)?);
    let search = LibrarySearch { dylib_path: Some(servers::library(setup)), ..LibrarySearch::default() };
    let backend = OnnxBackend::open(&search)?;
    let mut executor = one(&backend, &folder::open("models/digits".as_ref())?.with_graph("model.onnx"))?;

    let native = binary_infer("digits", &[("image", "FP32", "[1,8,8]", &body)], "logits");
    let headers = [("x-model", "digits"), ("x-input", "image"), ("x-shape", "1,8,8")];
    let guest = request("POST", "/fixtures/infer-raw", &headers, &body);
    let echo = request("POST", "/echo", &[], &body);
    let mut section = Section::new("(c) digits, 64 floats in, one at a time, p50", "microseconds, less is better");
    let mut own = Section::new("(c) digits: own cost over the executor, p50", "microseconds, less is better");
    for _ in 0..setup.rounds {
        let direct = median(&direct(executor.as_mut(), std::slice::from_ref(&image), DIGITS_REQUESTS)?);
        let echoed = median(&latencies(floor.address, &echo, DIGITS_REQUESTS).await?);
        let inferred = median(&latencies(ours.address, &native, DIGITS_REQUESTS).await?);
        let guested = median(&latencies(ours.address, &guest, DIGITS_REQUESTS).await?);
        section.add("executor called directly", direct);
        section.add("plain axum echo of the same bytes", echoed);
        section.add("POST /v2/models/digits/infer, binary", inferred);
        section.add("guest: HTTP in, wasi:nn, HTTP out", guested);
        own.add("plain axum echo", echoed);
        own.add("native infer over the executor", inferred - direct);
        own.add("guest over the executor", guested - direct);
    }
    report.push(section);
    report.push(own);
    Ok(())
}

fn one(backend: &dyn Backend, model: &ModelFiles) -> Result<Box<dyn Executor>> {
    let executors = backend.load(model, &LoadOptions::one_on(Device::Cpu))?;
    executors.into_iter().next().context("no executor")
}

async fn minilm(setup: &Setup, floor: &Server, ours: &Server, report: &mut Report) -> Result<()> {
    let ids = NamedTensor::new("input_ids", Tensor::from_vec([1, SENTENCE.len()], SENTENCE.to_vec())?);
    let body: Vec<u8> = SENTENCE.iter().flat_map(|id| id.to_le_bytes()).collect();
    let mut executor = one(&CandleBackend::new(), &folder::open(&servers::minilm(setup))?)?;
    let native = binary_infer("all-minilm-l6-v2", &[("input_ids", "INT64", "[1,13]", &body)], "sentence_embedding");
    let echo = request("POST", "/echo", &[], &body);
    let mut section = Section::new("(c) MiniLM, 13 tokens, one at a time, p50", "microseconds, less is better");
    let mut own = Section::new("(c) MiniLM: own cost over the executor, p50", "microseconds, less is better");
    for _ in 0..setup.rounds {
        let direct = median(&direct(executor.as_mut(), std::slice::from_ref(&ids), MINILM_REQUESTS)?);
        let echoed = median(&latencies(floor.address, &echo, MINILM_REQUESTS).await?);
        let inferred = median(&latencies(ours.address, &native, MINILM_REQUESTS).await?);
        section.add("executor called directly", direct);
        section.add("POST /v2/models/all-minilm-l6-v2/infer, binary", inferred);
        own.add("plain axum echo", echoed);
        own.add("native infer over the executor", inferred - direct);
    }
    report.push(section);
    report.push(own);
    Ok(())
}

/// Latencies of the executor alone, on this thread, first output only, in microseconds.
fn direct(executor: &mut dyn Executor, inputs: &[NamedTensor], count: usize) -> Result<Vec<f64>> {
    let wanted = OutputSelection::Only(vec![0]);
    let mut took = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        let outputs = executor.run(inputs, &wanted)?;
        took.push(started.elapsed().as_secs_f64() * 1e6);
        outputs.first().context("an output")?;
    }
    Ok(took)
}

/// A `/v2` infer request with binary tensors in and out.
pub fn binary_infer(model: &str, inputs: &[(&str, &str, &str, &[u8])], output: &str) -> Vec<u8> {
    let specs: Vec<String> = inputs
        .iter()
        .map(|(name, datatype, shape, data)| {
            format!(
                r#"{{"name":"{name}","datatype":"{datatype}","shape":{shape},"parameters":{{"binary_data_size":{}}}}}"#,
                data.len()
            )
        })
        .collect();
    let json = format!(
        r#"{{"inputs":[{}],"outputs":[{{"name":"{output}","parameters":{{"binary_data":true}}}}]}}"#,
        specs.join(",")
    );
    let mut body = json.clone().into_bytes();
    inputs.iter().for_each(|(.., data)| body.extend_from_slice(data));
    let length = json.len().to_string();
    request("POST", &format!("/v2/models/{model}/infer"), &[("inference-header-content-length", &length)], &body)
}
