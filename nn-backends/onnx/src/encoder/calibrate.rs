//! A short run in full precision that finds out which channels are large.
//!
//! Which they are is the model's, not the text's: made-up texts find the same ones as real ones, with peaks that differ
//! little (measured: cosines with FP32 do not change in the third digit).

use headland_encoder::{Architecture, Batch};
use headland_nn_core::{NamedTensor, NnError, Tensor};

use super::executor::run_graph;
use super::int8::Peaks;
use super::packing::{Run, runs};
use crate::session::SharedSession;

/// Texts to run, and tokens of each.
const TEXTS: [usize; 2] = [8, 32];

/// A step through the vocabulary that visits all of it before it comes back: it is prime.
const STRIDE: usize = 7919;

/// Runs the graph of [`super::graph::Kind::Peaks`].
pub(crate) fn peaks(session: &SharedSession, architecture: &Architecture) -> Result<Peaks, NnError> {
    let output = run_graph(session, architecture, &run_of(TEXTS, architecture)?)?;
    let values = output.to_slice::<f32>()?.into_owned();
    // A position for each layer's attention and feed-forward block; a graph without layers has none to ask for.
    Ok(Peaks::new(values, architecture.hidden))
}

/// Made-up texts: by turns the first ids, where special tokens are, and ids from all over the vocabulary.
pub(crate) fn run_of(shape: [usize; 2], architecture: &Architecture) -> Result<Run, NnError> {
    let [texts, tokens] = [shape[0], shape[1].min(architecture.longest())];
    let id = |place: usize| {
        let (text, token) = (place / tokens, place % tokens);
        let id = if text.is_multiple_of(2) { text / 2 * tokens + token } else { place * STRIDE };
        (id % architecture.vocabulary) as i64
    };
    let ids = Tensor::from_vec([texts, tokens], (0..texts * tokens).map(id).collect())?;
    let batch = Batch::pack(&[NamedTensor::new("input_ids", ids)], architecture)?;
    let slice = batch.slices(usize::MAX).next();
    let run = slice.and_then(|slice| runs(&slice, architecture.heads, architecture.hidden).next());
    run.ok_or_else(|| NnError::runtime("made-up texts without tokens"))
}
