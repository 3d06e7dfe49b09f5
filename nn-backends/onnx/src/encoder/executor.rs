//! An encoder, run by one thread: token tensors in, embeddings out.

use std::sync::Arc;

use headland_encoder::{
    Architecture, Batch, MAX_BATCH_TOKENS, Pooling, SENTENCE_EMBEDDING, Slice, TOKEN_EMBEDDINGS, batching, signature,
    too_many,
};
use headland_nn_core::{Batching, Device, Executor, NamedTensor, NnError, OutputSelection, Padding, Signature, Tensor};
use ort::value::TensorElementType;

use super::graph::{HEAD_ROWS, IDS, MASK, POSITIONS, TOKEN_ROWS, TOKEN_TYPES};
use super::packing::{Run, runs};
use crate::executor::run_error;
use crate::session::SharedSession;
use crate::value::{self, Value};

/// A loaded encoder.
pub(crate) struct EncoderExecutor {
    session: Arc<SharedSession>,
    encoder: Arc<Encoder>,
    memory_bytes: u64,
}

/// What all executors of an encoder know of it.
pub(crate) struct Encoder {
    pub architecture: Architecture,
    pub pooling: Pooling,
    pub signature: Signature,
    pub device: Device,
    pub description: String,
}

impl Encoder {
    pub fn new(architecture: Architecture, pooling: Pooling, device: Device, description: String) -> Self {
        let signature = signature(architecture.hidden, pooling.width(architecture.hidden));
        Encoder { architecture, pooling, signature, device, description }
    }
}

impl EncoderExecutor {
    pub fn new(session: Arc<SharedSession>, encoder: Arc<Encoder>, memory_bytes: u64) -> Self {
        EncoderExecutor { session, encoder, memory_bytes }
    }
}

/// Runs the graph on `run`; whatever its one output is, it is of FP32.
pub(crate) fn run_graph(session: &SharedSession, architecture: &Architecture, run: &Run) -> Result<Tensor, NnError> {
    let (texts, tokens, heads) = (run.texts.len(), run.ids.len(), architecture.heads);
    let integers = |values: &[i32], shape: &[usize]| {
        Value::view(session.memory(), TensorElementType::Int32, shape, bytemuck::cast_slice(values))
    };
    let mask = bytemuck::cast_slice(&run.mask);
    let mut inputs = vec![
        (IDS, integers(&run.ids, &[tokens])?),
        (POSITIONS, integers(&run.positions, &[tokens])?),
        (HEAD_ROWS, integers(&run.head_rows, &[texts, heads, run.longest])?),
        (TOKEN_ROWS, integers(&run.token_rows, &[tokens, heads])?),
        (MASK, Value::view(session.memory(), TensorElementType::Float32, &[texts, 1, 1, run.longest], mask)?),
    ];
    if architecture.token_types > 0 {
        inputs.push((TOKEN_TYPES, integers(&run.token_types, &[tokens])?));
    }
    let feeds: Vec<_> = inputs.iter().map(|(position, value)| (*position, value.ptr())).collect();
    let outputs = session.run(&feeds, &[0]).map_err(|error| run_error(&error))?;
    let output = outputs.into_iter().next().ok_or_else(|| NnError::runtime("a run without a result"))?;
    value::from_ort(output, &[])
}

impl Executor for EncoderExecutor {
    fn signature(&self) -> &Signature {
        &self.encoder.signature
    }

    fn device(&self) -> Device {
        self.encoder.device
    }

    fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    fn batching(&self) -> Batching {
        Batching::Axes(batching(Padding::Skipped))
    }

    fn describe(&self) -> Option<String> {
        Some(self.encoder.description.clone())
    }

    fn run(&mut self, inputs: &[NamedTensor], wanted: &OutputSelection) -> Result<Vec<NamedTensor>, NnError> {
        let batch = Batch::pack(inputs, &self.encoder.architecture)?;
        let mut embeddings = Embeddings::new(&self.encoder, batch.shape(), wanted)?;
        for slice in batch.slices(usize::MAX) {
            let texts: Vec<_> = slice.texts().collect();
            for run in runs(&slice, self.encoder.architecture.heads, self.encoder.architecture.hidden) {
                let tokens = run_graph(&self.session, &self.encoder.architecture, &run)?;
                let mut tokens = &*tokens.to_slice::<f32>()?;
                for &text in &run.texts {
                    let (own, rest) = tokens.split_at(texts[text].len() * self.encoder.architecture.hidden);
                    embeddings.put(&self.encoder.pooling, &slice, text, &slice.places()[texts[text].clone()], own);
                    tokens = rest;
                }
            }
        }
        embeddings.outputs(&self.encoder.signature, wanted)
    }
}

/// The outputs in the making. Zeros stay where there is nothing to embed: rows whose mask is all zero, and padding.
struct Embeddings {
    shape: [usize; 2],
    hidden: usize,
    width: usize,
    sentences: Option<Vec<f32>>,
    tokens: Option<Vec<f32>>,
}

impl Embeddings {
    fn new(encoder: &Encoder, shape: [usize; 2], wanted: &OutputSelection) -> Result<Self, NnError> {
        let [rows, columns] = shape;
        let hidden = encoder.architecture.hidden;
        let width = encoder.pooling.width(hidden);
        if wanted.wants(TOKEN_EMBEDDINGS) && rows * columns > MAX_BATCH_TOKENS {
            return Err(too_many(rows * columns, MAX_BATCH_TOKENS));
        }
        let zeros = |output: usize, count: usize| wanted.wants(output).then(|| vec![0.0; count]);
        let sentences = zeros(SENTENCE_EMBEDDING, rows * width);
        Ok(Embeddings { shape, hidden, width, sentences, tokens: zeros(TOKEN_EMBEDDINGS, rows * columns * hidden) })
    }

    /// Takes what came out for the tokens of one text, which stand at `places` in the request.
    fn put(&mut self, pooling: &Pooling, slice: &Slice, text: usize, places: &[usize], tokens: &[f32]) {
        if let Some(sentences) = &mut self.sentences {
            let row = slice.text_rows()[text];
            pooling.pool(tokens, &mut sentences[row * self.width..][..self.width]);
        }
        if let Some(all) = &mut self.tokens {
            for (embedding, place) in tokens.chunks_exact(self.hidden).zip(places) {
                all[place * self.hidden..][..self.hidden].copy_from_slice(embedding);
            }
        }
    }

    fn outputs(self, signature: &Signature, wanted: &OutputSelection) -> Result<Vec<NamedTensor>, NnError> {
        let [rows, columns] = self.shape;
        let sentences = self.sentences.map(|values| Tensor::from_vec([rows, self.width], values)).transpose()?;
        let tokens = self.tokens.map(|values| Tensor::from_vec([rows, columns, self.hidden], values)).transpose()?;
        let output = |index: usize| {
            let tensor = if index == SENTENCE_EMBEDDING { &sentences } else { &tokens };
            Some(NamedTensor::new(&*signature.outputs.get(index)?.name, tensor.clone()?))
        };
        Ok(wanted.indices(signature.outputs.len()).into_iter().filter_map(output).collect())
    }
}
