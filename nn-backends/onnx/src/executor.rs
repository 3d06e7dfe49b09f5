//! One session, owned by the thread that runs it.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use headland_nn_core::{Batching, Device, Executor, NamedTensor, NnError, OutputSelection, Signature, Tensor};
use ort::ErrorCode;
use ort::session::{OutputSelector, RunOptions, Session, SessionInputValue};

use crate::value;

/// A loaded ONNX graph.
pub(crate) struct OnnxExecutor {
    session: Session,
    /// Weights beside the graph. The session points into them, so they go after it.
    _external: Vec<Bytes>,
    signature: Signature,
    output_names: Vec<Arc<str>>,
    device: Device,
    memory_bytes: u64,
}

impl OnnxExecutor {
    pub(crate) fn new(
        session: Session,
        signature: Signature,
        device: Device,
        memory_bytes: u64,
        external: Vec<Bytes>,
    ) -> Self {
        let output_names = signature.outputs.iter().map(|output| output.name.as_str().into()).collect();
        OnnxExecutor { session, _external: external, signature, output_names, device, memory_bytes }
    }

    /// Runs the graph for the outputs at `indices`, each once.
    fn run_for(&mut self, indices: &[usize], inputs: &[NamedTensor]) -> Result<Vec<Tensor>, NnError> {
        let names = || indices.iter().filter_map(|&index| self.output_names.get(index));
        let feeds = inputs
            .iter()
            .map(|input| Ok((Cow::Borrowed(&*input.name), value::to_ort(input)?)))
            .collect::<Result<Vec<(Cow<'_, str>, SessionInputValue<'_>)>, NnError>>()?;
        let selector = names().fold(OutputSelector::no_default(), |selector, name| selector.with(&**name));
        let options = RunOptions::new().map_err(NnError::runtime)?.with_outputs(selector);
        let mut outputs = self.session.run_with_options(feeds, &options).map_err(run_error)?;
        names()
            .map(|name| {
                let output = outputs.remove(&**name).ok_or_else(|| NnError::runtime(format!("no output `{name}`")))?;
                value::from_ort(output, inputs)
            })
            .collect()
    }
}

impl Executor for OnnxExecutor {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn device(&self) -> Device {
        self.device
    }

    /// The graph file and its external weights: what the session holds, less ONNX Runtime's own rearranged copies.
    fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    fn batching(&self) -> Batching {
        Batching::Single { why: "its package names no batch axes".into() }
    }

    fn run(&mut self, inputs: &[NamedTensor], wanted: &OutputSelection) -> Result<Vec<NamedTensor>, NnError> {
        let wanted = wanted.indices(self.output_names.len());
        let mut distinct = wanted.clone();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.last().is_some_and(|&index| index >= self.output_names.len()) {
            return Err(NnError::invalid(format!("the model has {} outputs", self.output_names.len())));
        }
        if distinct.is_empty() {
            return Ok(Vec::new());
        }
        let tensors = self.run_for(&distinct, inputs)?;
        let named = |index: usize| {
            let position = distinct.binary_search(&index).ok()?;
            Some(NamedTensor::new(self.output_names.get(index)?.clone(), tensors.get(position)?.clone()))
        };
        Ok(wanted.into_iter().filter_map(named).collect())
    }
}

/// ONNX Runtime blames the caller for values only the graph can judge, such as an index out of a table's bounds.
fn run_error(error: ort::Error) -> NnError {
    match error.code() {
        ErrorCode::InvalidArgument => NnError::invalid(error.message()),
        _ => NnError::runtime(error.message()),
    }
}
