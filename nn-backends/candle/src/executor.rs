//! A loaded model: one batch of token tensors in, embeddings out.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use headland_encoder::{
    Architecture, Batch, MAX_BATCH_TOKENS, Pooling, SENTENCE_EMBEDDING, TOKEN_EMBEDDINGS, batching, too_many,
};
use headland_kernels::Team;
use headland_nn_core::{Batching, Device, Executor, NamedTensor, NnError, OutputSelection, Padding, Signature, Tensor};

use crate::encoder::{Encoder, Scratch};

/// Tokens that run at once: enough that the weights' way from memory does not count, few enough that what lies between
/// two products stays in the caches, and within a few megabytes.
const SLICE_TOKENS: usize = 256;

/// Runs one model on the CPU: on the caller's thread, and on those of the executors beside it while these have nothing to do.
pub(crate) struct CandleExecutor {
    model: Arc<Model>,
    scratch: Scratch,
    /// The caller's thread.
    alone: Team,
    /// What this executor has of the model's memory: all for the first of those that share it, nothing for the others.
    memory_bytes: u64,
}

/// What the executors of a load share.
pub(crate) struct Model {
    pub architecture: Architecture,
    pub encoder: Encoder,
    pub pooling: Pooling,
    pub signature: Signature,
    pub description: String,
    /// Executors that run.
    pub running: AtomicUsize,
    /// As many threads as there are executors, for the one that runs while no other does.
    pub team: Mutex<Team>,
}

/// Counts an executor as running while it lives.
struct Running<'m>(&'m Model);

impl<'m> Running<'m> {
    fn new(model: &'m Model) -> Self {
        model.running.fetch_add(1, Relaxed);
        Running(model)
    }
}

impl Running<'_> {
    fn is_lone(&self) -> bool {
        self.0.running.load(Relaxed) == 1
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Relaxed);
    }
}

impl CandleExecutor {
    /// The `index`th executor of `model`.
    pub fn new(model: Arc<Model>, index: usize) -> Self {
        let memory_bytes = if index == 0 { model.encoder.bytes() as u64 } else { 0 };
        CandleExecutor { model, scratch: Scratch::default(), alone: Team::alone(), memory_bytes }
    }
}

impl Executor for CandleExecutor {
    fn signature(&self) -> &Signature {
        &self.model.signature
    }

    fn device(&self) -> Device {
        Device::Cpu
    }

    fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    fn batching(&self) -> Batching {
        Batching::Axes(batching(Padding::Skipped))
    }

    fn describe(&self) -> Option<String> {
        Some(self.model.description.clone())
    }

    fn run(&mut self, inputs: &[NamedTensor], wanted: &OutputSelection) -> Result<Vec<NamedTensor>, NnError> {
        let Model { architecture, encoder, pooling, signature, .. } = &*self.model;
        let batch = Batch::pack(inputs, architecture)?;
        let running = Running::new(&self.model);
        let [rows, columns] = batch.shape();
        let (hidden, width) = (architecture.hidden, pooling.width(architecture.hidden));
        if wanted.wants(TOKEN_EMBEDDINGS) && rows * columns > MAX_BATCH_TOKENS {
            return Err(too_many(rows * columns, MAX_BATCH_TOKENS));
        }
        // Zeros stay where there is nothing to embed: rows whose mask is all zero, and padding.
        let zeros = |output: usize, count: usize| wanted.wants(output).then(|| vec![0.0; count]);
        let mut sentences = zeros(SENTENCE_EMBEDDING, rows * width);
        let mut tokens = zeros(TOKEN_EMBEDDINGS, rows * columns * hidden);
        for slice in batch.slices(SLICE_TOKENS) {
            // Two batches on a thread each are faster than one after the other on two: the team is for who has no company.
            let mut all = if running.is_lone() { self.model.team.try_lock().ok() } else { None };
            let team = all.as_deref_mut().unwrap_or(&mut self.alone);
            let embedded = encoder.forward(&slice, &mut self.scratch, team);
            if let Some(sentences) = &mut sentences {
                for (text, row) in slice.texts().zip(slice.text_rows()) {
                    let sentence = &mut sentences[row * width..][..width];
                    pooling.pool(&embedded[text.start * hidden..text.end * hidden], sentence);
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
            Some(NamedTensor::new(&*signature.outputs[index].name, tensor.clone()))
        };
        Ok(wanted.indices(signature.outputs.len()).into_iter().filter_map(output).collect())
    }
}
