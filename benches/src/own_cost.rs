//! The gateway's own cost: a native endpoint and the guest path against the executor called directly, on the same inputs,
//! one request at a time. Plain axum with the same executor in its handler shows how much of it any HTTP server takes, and its
//! echo of the same bytes how much less that is when nobody has to wait for a model.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use headland_load::{binary_infer, request};
use headland_nn_core::{Backend, Device, Executor, LoadOptions, NamedTensor, OutputSelection, Tensor};
use headland_onnx::{LibrarySearch, OnnxBackend};
use headland_package::folder;

use crate::Setup;
use crate::loads::{Contender, repeated};
use crate::servers;
use headland_report::{Report, Section, median};

const RUNS: usize = 20_000;
pub const TITLE: &str = "digits, one at a time: p50";
pub const DIRECT: &str = "executor called directly";
pub const ECHO: &str = "plain axum echo of the same bytes";
pub const OWN_TITLE: &str = "digits: own cost over the executor, p50";
pub const OWN_NATIVE: &str = "native infer over the executor";
pub const OWN_GUEST: &str = "guest over the executor";
pub const OWN_ECHO: &str = "plain axum echo";
const INLINE: &str = "plain axum, the executor in its handler";

pub fn measure(setup: &Setup, report: &mut Report) -> Result<()> {
    let floor = servers::floor_with_model(setup)?;
    let ours = servers::headland(setup, &[("digits", "models/digits".into())])?;
    let address = ours.server.address;
    let pixels: Vec<f32> = (0..64u8).map(|i| f32::from(i % 17)).collect();
    let body: Vec<u8> = pixels.iter().flat_map(|pixel| pixel.to_le_bytes()).collect();
    let image = NamedTensor::new("image", Tensor::from_vec([1, 8, 8], pixels)?);
    let mut executor = executor(&servers::library(setup))?;
    let post = |path, headers: &[(&str, &str)]| {
        let mut out = Vec::new();
        request(&mut out, "POST", path, headers, &body);
        repeated(out)
    };
    let native = binary_infer("digits", ("image", "FP32", "[1,8,8]", &body), "logits");
    let guest = [("x-model", "digits"), ("x-input", "image"), ("x-shape", "1,8,8")];
    let mut echo = Contender::new(ECHO, floor.address, post("/echo", &[]));
    let mut inline = Contender::new(INLINE, floor.address, post("/infer", &[]));
    let mut infer = Contender::new("POST /v2/models/digits/infer, binary", address, repeated(native));
    let mut through = Contender::new("guest: HTTP in, wasi:nn, HTTP out", address, post("/bench/infer", &guest));
    let mut section = Section::new(TITLE, "microseconds, less is better");
    let mut own = Section::new(OWN_TITLE, "microseconds, less is better");
    for _ in 0..setup.rounds {
        let direct = median(&direct(executor.as_mut(), std::slice::from_ref(&image))?);
        section.add(DIRECT, direct);
        let echoed = p50(&mut echo, setup.window)?;
        section.add(ECHO, echoed);
        own.add(OWN_ECHO, echoed);
        for (contender, name, beyond) in [
            (&mut inline, INLINE, "plain axum, the executor in its handler, over executor and echo"),
            (&mut infer, OWN_NATIVE, "native infer over executor and echo"),
            (&mut through, OWN_GUEST, "guest over executor and echo"),
        ] {
            let p50 = p50(contender, setup.window)?;
            section.add(contender.name, p50);
            own.add(name, p50 - direct);
            own.add(beyond, p50 - direct - echoed);
        }
    }
    report.push(section);
    report.push(own);
    Ok(())
}

fn p50(contender: &mut Contender, window: Duration) -> Result<f64> {
    Ok(contender.closed(1, window)?.latency_us(0.5))
}

/// The digits model in ONNX Runtime.
pub fn executor(library: &Path) -> Result<Box<dyn Executor>> {
    let search = LibrarySearch { dylib_path: Some(library.to_owned()), ..LibrarySearch::default() };
    let model = folder::open("models/digits".as_ref())?.with_graph("model.onnx");
    let executors = OnnxBackend::open(&search)?.load(&model, &LoadOptions::one_on(Device::Cpu))?;
    executors.into_iter().next().context("no executor")
}

/// Latencies of the executor alone, on this thread, in microseconds.
fn direct(executor: &mut dyn Executor, inputs: &[NamedTensor]) -> Result<Vec<f64>> {
    let wanted = OutputSelection::Only(vec![0]);
    let mut took = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let started = Instant::now();
        let outputs = executor.run(inputs, &wanted)?;
        took.push(started.elapsed().as_secs_f64() * 1e6);
        outputs.first().context("an output")?;
    }
    Ok(took)
}
