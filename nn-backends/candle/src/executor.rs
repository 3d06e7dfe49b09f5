//! A loaded model: one batch of token tensors in, embeddings out.

use headland_nn_core::{
    DType, Device, Dim, Executor, NamedTensor, NnError, OutputSelection, Signature, Tensor, TensorSpec,
};

use crate::architecture::Architecture;
use crate::batch::Batch;
use crate::encoder::Encoder;
use crate::pooling::Pooling;

/// Positions of the outputs in the signature.
const SENTENCE_EMBEDDING: usize = 0;
const TOKEN_EMBEDDINGS: usize = 1;

/// Runs one model on the CPU.
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

    /// One embedding for each row of the request, `[rows, width]`; zeros for a row whose mask is all zero.
    fn sentences(&self, batch: &Batch, tokens: &[f32]) -> Result<Tensor, NnError> {
        let hidden = self.architecture.hidden;
        let (rows, width) = (batch.shape()[0], self.pooling.width(hidden));
        let mut sentences = vec![0.0; rows * width];
        for (text, row) in batch.texts().iter().zip(batch.text_rows()) {
            self.pooling.pool(&tokens[text.start * hidden..text.end * hidden], &mut sentences[row * width..][..width]);
        }
        Ok(Tensor::from_vec([rows, width], sentences)?)
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

    fn run(&mut self, inputs: &[NamedTensor], wanted: &OutputSelection) -> Result<Vec<NamedTensor>, NnError> {
        let batch = Batch::pack(inputs, &self.architecture)?;
        let tokens = if batch.texts().is_empty() {
            Vec::new()
        } else {
            let tokens = self.encoder.forward(&batch).and_then(|tokens| tokens.flatten_all()?.to_vec1());
            tokens.map_err(NnError::runtime)?
        };
        let mut outputs = Vec::with_capacity(2);
        if wanted.wants(SENTENCE_EMBEDDING) {
            outputs.push((SENTENCE_EMBEDDING, self.sentences(&batch, &tokens)?));
        }
        if wanted.wants(TOKEN_EMBEDDINGS) {
            let ([rows, columns], hidden) = (batch.shape(), self.architecture.hidden);
            let tokens = Tensor::from_vec([rows, columns, hidden], batch.unpack(tokens, hidden))?;
            outputs.push((TOKEN_EMBEDDINGS, tokens));
        }
        let output = |index: usize| {
            let (_, tensor) = outputs.iter().find(|(computed, _)| *computed == index)?;
            Some(NamedTensor::new(&*self.signature.outputs[index].name, tensor.clone()))
        };
        Ok(wanted.indices(self.signature.outputs.len()).into_iter().filter_map(output).collect())
    }
}

fn signature(hidden: usize, sentence: usize) -> Signature {
    let axes = || vec![Dim::named("batch"), Dim::named("sequence")];
    let ids = |name: &str| TensorSpec::new(name, DType::I64, axes());
    Signature {
        inputs: vec![ids("input_ids"), ids("attention_mask").optional(), ids("token_type_ids").optional()],
        outputs: vec![
            TensorSpec::new("sentence_embedding", DType::F32, vec![Dim::named("batch"), Dim::Fixed(sentence)]),
            TensorSpec::new(
                "token_embeddings",
                DType::F32,
                vec![Dim::named("batch"), Dim::named("sequence"), Dim::Fixed(hidden)],
            ),
        ],
    }
}
