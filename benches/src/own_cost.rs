//! The gateway's own cost: a native endpoint and the guest path against the executor called directly, on the same inputs,
//! one request at a time: on one core, since one at a time works anyway, and on all, where the machine's time to wake a core comes
//! on top. Plain axum with the same executor in its handler shows how much of it any HTTP server takes, and its echo of the same
//! bytes how much HTTP takes alone.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use headland_load::{OneCore, binary_infer, request};
use headland_nn_core::{Backend, Device, Executor, LoadOptions, NamedTensor, OutputSelection, Tensor};
use headland_onnx::{LibrarySearch, OnnxBackend};
use headland_package::folder;

use crate::Setup;
use crate::loads::{Contender, repeated};
use crate::servers;
use headland_report::{Report, Section, median};

const RUNS: usize = 20_000;
pub const TITLE: &str = "digits, one at a time on one core: p50";
pub const DIRECT: &str = "executor called directly";
pub const ECHO: &str = "plain axum echo of the same bytes";
pub const OWN_TITLE: &str = "digits: own cost on one core, p50";
pub const OWN_NATIVE: &str = "native infer over the executor";
pub const OWN_GUEST: &str = "guest over the executor";
pub const OWN_ECHO: &str = "plain axum echo";
const INLINE: &str = "plain axum, the executor in its handler";

pub fn measure(setup: &Setup, report: &mut Report) -> Result<()> {
    let floor = servers::floor_with_model(setup)?;
    let ours = servers::headland(setup, &[("digits", "models/digits".into())])?;
    let mut contenders = Contenders::new(setup, floor.address, ours.server.address)?;
    let mut together = Figures::new(TITLE, OWN_TITLE);
    let mut apart = Figures::new("digits, one at a time on all cores: p50", "digits: own cost on all cores, p50");
    for _ in 0..setup.rounds {
        contenders.round(setup.window, &mut apart)?;
        let _one_core = OneCore::new(&[floor.process(), ours.server.process()])?;
        contenders.round(setup.window, &mut together)?;
    }
    for Figures { whole, own } in [together, apart] {
        report.push(whole);
        report.push(own);
    }
    Ok(())
}

struct Figures {
    whole: Section,
    own: Section,
}

impl Figures {
    fn new(whole: &str, own: &str) -> Self {
        let section = |title| Section::new(title, "microseconds, less is better");
        Figures { whole: section(whole), own: section(own) }
    }
}

struct Contenders {
    image: NamedTensor,
    executor: Box<dyn Executor>,
    echo: Contender,
    inline: Contender,
    infer: Contender,
    through: Contender,
}

impl Contenders {
    fn new(setup: &Setup, floor: SocketAddr, ours: SocketAddr) -> Result<Self> {
        let pixels: Vec<f32> = (0..64u8).map(|i| f32::from(i % 17)).collect();
        let body: Vec<u8> = pixels.iter().flat_map(|pixel| pixel.to_le_bytes()).collect();
        let post = |path, headers: &[(&str, &str)]| {
            let mut out = Vec::new();
            request(&mut out, "POST", path, headers, &body);
            repeated(out)
        };
        let native = binary_infer("digits", ("image", "FP32", "[1,8,8]", &body), "logits");
        let guest = [("x-model", "digits"), ("x-input", "image"), ("x-shape", "1,8,8")];
        Ok(Contenders {
            image: NamedTensor::new("image", Tensor::from_vec([1, 8, 8], pixels)?),
            executor: executor(&servers::library(setup))?,
            echo: Contender::new(ECHO, floor, post("/echo", &[])),
            inline: Contender::new(INLINE, floor, post("/infer", &[])),
            infer: Contender::new("POST /v2/models/digits/infer, binary", ours, repeated(native)),
            through: Contender::new("guest: HTTP in, wasi:nn, HTTP out", ours, post("/bench/infer", &guest)),
        })
    }

    fn round(&mut self, window: Duration, figures: &mut Figures) -> Result<()> {
        let Figures { whole, own } = figures;
        let direct = median(&direct(self.executor.as_mut(), std::slice::from_ref(&self.image))?);
        whole.add(DIRECT, direct);
        let echoed = p50(&mut self.echo, window)?;
        whole.add(ECHO, echoed);
        own.add(OWN_ECHO, echoed);
        for (contender, name) in
            [(&mut self.inline, INLINE), (&mut self.infer, OWN_NATIVE), (&mut self.through, OWN_GUEST)]
        {
            let p50 = p50(contender, window)?;
            whole.add(contender.name, p50);
            own.add(name, p50 - direct);
        }
        Ok(())
    }
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
