//! A loaded model: one batch of token tensors in, embeddings out.

use headland_encoder::{
    Architecture, Batch, MAX_BATCH_TOKENS, Pooling, SENTENCE_EMBEDDING, TOKEN_EMBEDDINGS, batching, signature, too_many,
};
use headland_nn_core::{Batching, Device, Executor, NamedTensor, NnError, OutputSelection, Padding, Signature, Tensor};

use crate::encoder::Encoder;

/// Tokens that run at once: enough to keep the matrix products busy, few enough that what lies between two of them stays
/// within tens of megabytes.
const SLICE_TOKENS: usize = 4096;

/// Runs one model on the CPU. A clone shares the weights.
#[derive(Clone)]
pub(crate) struct CandleExecutor {
    architecture: Architecture,
    encoder: Encoder,
    pooling: Pooling,
    weights_bytes: u64,
    signature: Signature,
}

impl CandleExecutor {
    pub fn new(architecture: Architecture, encoder: Encoder, pooling: Pooling, weights_bytes: u64) -> Self {
        let signature = signature(architecture.hidden, pooling.width(architecture.hidden));
        CandleExecutor { architecture, encoder, pooling, weights_bytes, signature }
    }
}

impl Executor for CandleExecutor {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn device(&self) -> Device {
        Device::Cpu
    }

    fn memory_bytes(&self) -> u64 {
        self.weights_bytes
    }

    fn batching(&self) -> Batching {
        Batching::Axes(batching(Padding::Skipped))
    }

    fn run(&mut self, inputs: &[NamedTensor], wanted: &OutputSelection) -> Result<Vec<NamedTensor>, NnError> {
        let batch = Batch::pack(inputs, &self.architecture)?;
        let [rows, columns] = batch.shape();
        let (hidden, width) = (self.architecture.hidden, self.pooling.width(self.architecture.hidden));
        if wanted.wants(TOKEN_EMBEDDINGS) && rows * columns > MAX_BATCH_TOKENS {
            return Err(too_many(rows * columns, MAX_BATCH_TOKENS));
        }
        // Zeros stay where there is nothing to embed: rows whose mask is all zero, and padding.
        let zeros = |output: usize, count: usize| wanted.wants(output).then(|| vec![0.0; count]);
        let mut sentences = zeros(SENTENCE_EMBEDDING, rows * width);
        let mut tokens = zeros(TOKEN_EMBEDDINGS, rows * columns * hidden);
        for slice in batch.slices(SLICE_TOKENS) {
            let embedded = self.encoder.forward(&slice).and_then(|embedded| embedded.flatten_all()?.to_vec1::<f32>());
            let embedded = embedded.map_err(NnError::runtime)?;
            if let Some(sentences) = &mut sentences {
                for (text, row) in slice.texts().zip(slice.text_rows()) {
                    let sentence = &mut sentences[row * width..][..width];
                    self.pooling.pool(&embedded[text.start * hidden..text.end * hidden], sentence);
                }
            }
            if let Some(tokens) = &mut tokens {
                for (embedding, place) in embedded.chunks_exact(hidden).zip(slice.places()) {
                    tokens[place * hidden..][..hidden].copy_from_slice(embedding);
                }
            }
        }
        let mut outputs = Vec::with_capacity(2);
        if let Some(sentences) = sentences {
            outputs.push((SENTENCE_EMBEDDING, Tensor::from_vec([rows, width], sentences)?));
        }
        if let Some(tokens) = tokens {
            outputs.push((TOKEN_EMBEDDINGS, Tensor::from_vec([rows, columns, hidden], tokens)?));
        }
        let output = |index: usize| {
            let (_, tensor) = outputs.iter().find(|(computed, _)| *computed == index)?;
            Some(NamedTensor::new(&*self.signature.outputs[index].name, tensor.clone()))
        };
        Ok(wanted.indices(self.signature.outputs.len()).into_iter().filter_map(output).collect())
    }
}
