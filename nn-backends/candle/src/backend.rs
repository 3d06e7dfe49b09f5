//! [`CandleBackend`]: files in, executor out.

use std::num::NonZeroUsize;

use headland_encoder::{Architecture, Pooling};
use headland_nn_core::{Backend, Device, Executor, LoadOptions, ModelFiles, NnError};

use crate::encoder::Encoder;
use crate::executor::CandleExecutor;
use crate::weights::Weights;

/// Loads sentence-embedding models of the BERT family: `config.json`, `model.safetensors`, and the pooling and
/// normalisation that `modules.json` lists.
#[derive(Clone, Copy, Debug, Default)]
pub struct CandleBackend;

impl CandleBackend {
    /// The backend; it holds nothing.
    pub fn new() -> Self {
        CandleBackend
    }
}

impl Backend for CandleBackend {
    fn name(&self) -> &'static str {
        "candle"
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
        let mut weights = Weights::open(model)?;
        let encoder = Encoder::load(&mut weights, &architecture)?;
        let executor = CandleExecutor::new(architecture, encoder, pooling, weights.loaded_bytes());
        let instances = options.instances.map_or(1, NonZeroUsize::get);
        Ok((0..instances).map(|_| Box::new(executor.clone()) as Box<dyn Executor>).collect())
    }
}
