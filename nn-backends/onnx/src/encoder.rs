//! Text encoders that come as bare weights: a Hugging Face folder with `config.json` and `model.safetensors`.
//!
//! Their graph is written in memory (`graph`, `linear`), with constants that point into the weights file (`weights`), so
//! that neither user nor disk sees a conversion. `int8` writes products of 8 bits, by what `calibrate` finds out.
//! `packing` decides what runs at once, and `executor` runs it.

mod calibrate;
mod executor;
mod graph;
mod int8;
mod linear;
mod packing;
mod weights;

use std::sync::Arc;

use headland_encoder::{Architecture, Pooling};
use headland_nn_core::{Device, Executor, LoadOptions, ModelFiles, NnError, Precision};

use crate::external::External;
use crate::layout;
use crate::load::{OnnxBackend, Purpose};
use executor::{Encoder, EncoderExecutor, run_graph};
use graph::{Kind, Written};
use weights::{FILE, Weights};

const CONFIG: &str = "config.json";

/// The most heads, and the widest row, that indices of 32 bits and sums of 8-bit products are made for. The largest known
/// encoders have 64 heads and rows of 16,384.
const HEADS_MAX: usize = 1 << 10;
const WIDTH_MAX: usize = 1 << 16;

/// Texts and tokens of each that layouts are compared on.
const SAMPLE: [usize; 2] = [4, 16];

/// Whether `model` is such a folder.
pub(crate) fn is_encoder(model: &ModelFiles) -> bool {
    [CONFIG, FILE].iter().all(|file| model.get(file).is_some())
}

/// Loads `model`.
///
/// # Errors
/// [`NnError::BadModel`] naming file and cause; [`NnError::DeviceUnavailable`] for 8 bits on another device than the
/// processor.
pub(crate) fn load(
    backend: &OnnxBackend,
    model: &ModelFiles,
    options: &LoadOptions,
) -> Result<Vec<Box<dyn Executor>>, NnError> {
    let device = options.device;
    let architecture = Architecture::read(model)?;
    check_widths(&architecture).map_err(|cause| NnError::bad_model(format!("{}: {cause}", model.describe(CONFIG))))?;
    let pooling = Pooling::read(model)?;
    let weights = Weights::open(model)?;
    let session = |written: &Written, device, threads, purpose| {
        let external = External::Tensors(&written.external, weights.bytes());
        backend
            .session(device, threads, purpose, &written.model, &external)
            .map_err(|error| error.of_model(&model.describe(FILE)))
    };
    let (written, numbers) = match options.precision {
        Precision::Full => (graph::write(&architecture, &weights, Kind::Full)?, "32 bits"),
        Precision::Int8 => {
            if device != Device::Cpu {
                return Err(only_on_the_processor(device));
            }
            let written = graph::write(&architecture, &weights, Kind::Peaks)?;
            let calibrating = session(&written, Device::Cpu, backend.cores(), Purpose::RunOnce)?;
            let peaks = calibrate::peaks(&calibrating, &architecture)?;
            (graph::write(&architecture, &weights, Kind::Int8(&peaks))?, "8 bits")
        }
    };
    let sample = calibrate::run_of(SAMPLE, &architecture)?;
    let chosen = layout::choose(
        backend,
        options,
        |threads| session(&written, device, threads, Purpose::ServeAnyShape),
        |session| run_graph(session, &architecture, &sample).map(|_| ()),
    )?;
    let description = format!("products of {numbers}; {}", chosen.description);
    let encoder = Arc::new(Encoder::new(architecture, pooling, device, description));
    let executor = |instance: usize| -> Box<dyn Executor> {
        let bytes = if instance == 0 { written.weights_bytes } else { 0 };
        Box::new(EncoderExecutor::new(chosen.session.clone(), encoder.clone(), bytes))
    };
    Ok((0..chosen.instances).map(executor).collect())
}

fn check_widths(architecture: &Architecture) -> Result<(), String> {
    let Architecture { heads, hidden, intermediate, .. } = *architecture;
    if heads > HEADS_MAX || hidden.max(intermediate) > WIDTH_MAX {
        return Err(format!(
            "{heads} heads, `hidden_size` {hidden} and `intermediate_size` {intermediate}; at most {HEADS_MAX} heads and \
             widths of {WIDTH_MAX} are supported"
        ));
    }
    Ok(())
}

fn only_on_the_processor(device: Device) -> NnError {
    NnError::DeviceUnavailable(
        format!(
            "`precision = \"int8\"` was asked for on `{device}`, and is there on `cpu` alone; load the model on `cpu`, or in \
             full precision"
        )
        .into(),
    )
}
