//! [`CandleBackend`]: files in, executor out.

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::thread::available_parallelism;

use headland_encoder::{Architecture, Pooling, signature};
use headland_kernels::{Level, Team};
use headland_nn_core::{Backend, Device, Executor, LoadOptions, ModelFiles, NnError, Precision};

use crate::executor::{CandleExecutor, Model};
use crate::load;
use crate::weights::Weights;

/// Loads sentence-embedding models of the BERT family: `config.json`, `model.safetensors`, and the pooling and
/// normalisation that `modules.json` lists.
#[derive(Clone, Copy, Debug, Default)]
pub struct CandleBackend;

impl CandleBackend {
    /// What [`Backend::name`] says.
    pub const NAME: &str = "candle";

    /// The backend; it holds nothing.
    pub fn new() -> Self {
        CandleBackend
    }
}

impl Backend for CandleBackend {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn load(&self, model: &ModelFiles, options: &LoadOptions) -> Result<Vec<Box<dyn Executor>>, NnError> {
        let device = options.device;
        if device != Device::Cpu {
            return Err(NnError::DeviceUnavailable(
                format!(
                    "device `{device}` was asked for, and candle is built into this Headland for the CPU only; load the \
                     model on `cpu`, or deploy it as an ONNX model to have it on `{device}`"
                )
                .into(),
            ));
        }
        let architecture = Architecture::read(model)?;
        let pooling = Pooling::read(model)?;
        let level = Level::best();
        let encoder = load::encoder(&Weights::open(model)?, &architecture, level, options.precision)?;
        let instances = options.instances.unwrap_or_else(instances).get();
        let team = Team::new(instances, "candle").map_err(NnError::runtime)?;
        let model = Arc::new(Model {
            signature: signature(architecture.hidden, pooling.width(architecture.hidden)),
            description: describe(level, options.precision),
            architecture,
            encoder,
            pooling,
            running: AtomicUsize::new(0),
            team: Mutex::new(team),
        });
        Ok((0..instances)
            .map(|index| Box::new(CandleExecutor::new(model.clone(), index)) as Box<dyn Executor>)
            .collect())
    }
}

/// One executor a core: where there is company each runs on one thread, for two of them are faster than one on two threads.
fn instances() -> NonZeroUsize {
    available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// How a model runs, for people.
fn describe(level: Level, precision: Precision) -> String {
    let numbers = match precision {
        Precision::Full => "f32",
        Precision::Int8 => "int8",
    };
    format!("own kernels, {level}, {numbers}, packed batches, one thread a batch, all of them for a lone one")
}
