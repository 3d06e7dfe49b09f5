//! A graph that came as a file, run by one thread.

use std::sync::Arc;

use headland_nn_core::{Batching, Device, Executor, NamedTensor, NnError, OutputSelection, Signature, Tensor};
use ort::ErrorCode;

use crate::session::SharedSession;
use crate::value;

/// A loaded ONNX graph.
pub(crate) struct OnnxExecutor {
    session: Arc<SharedSession>,
    graph: Arc<LoadedGraph>,
    memory_bytes: u64,
}

/// What all executors of a graph know of it.
pub(crate) struct LoadedGraph {
    pub signature: Signature,
    pub output_names: Vec<Arc<str>>,
    pub device: Device,
    pub batching: Batching,
    pub description: String,
}

impl OnnxExecutor {
    pub(crate) fn new(session: Arc<SharedSession>, graph: Arc<LoadedGraph>, memory_bytes: u64) -> Self {
        OnnxExecutor { session, graph, memory_bytes }
    }

    /// Runs the graph for the outputs at `indices`, each once.
    fn run_for(&mut self, indices: &[usize], inputs: &[NamedTensor]) -> Result<Vec<Tensor>, NnError> {
        let values = inputs.iter().map(|input| value::to_ort(self.session.memory(), input));
        let values = values.collect::<Result<Vec<_>, _>>()?;
        let specs = &self.graph.signature.inputs;
        let feeds = inputs.iter().zip(&values).map(|(input, value)| {
            let position = specs.iter().position(|spec| spec.name == *input.name);
            let position = position.ok_or_else(|| NnError::invalid(format!("unknown input `{}`", input.name)))?;
            Ok((position, value.ptr()))
        });
        let feeds = feeds.collect::<Result<Vec<_>, NnError>>()?;
        let outputs = self.session.run(&feeds, indices).map_err(|error| run_error(&error))?;
        outputs.into_iter().map(|output| value::from_ort(output, inputs)).collect()
    }
}

impl Executor for OnnxExecutor {
    fn signature(&self) -> &Signature {
        &self.graph.signature
    }

    fn device(&self) -> Device {
        self.graph.device
    }

    /// The graph file and its external weights: what the session holds, less ONNX Runtime's own rearranged copies.
    fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    fn batching(&self) -> Batching {
        self.graph.batching.clone()
    }

    fn describe(&self) -> Option<String> {
        Some(self.graph.description.clone())
    }

    fn run(&mut self, inputs: &[NamedTensor], wanted: &OutputSelection) -> Result<Vec<NamedTensor>, NnError> {
        let wanted = wanted.indices(self.graph.output_names.len());
        let mut distinct = wanted.clone();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.last().is_some_and(|&index| index >= self.graph.output_names.len()) {
            return Err(NnError::invalid(format!("the model has {} outputs", self.graph.output_names.len())));
        }
        if distinct.is_empty() {
            return Ok(Vec::new());
        }
        let tensors = self.run_for(&distinct, inputs)?;
        let named = |index: usize| {
            let position = distinct.binary_search(&index).ok()?;
            Some(NamedTensor::new(self.graph.output_names.get(index)?.clone(), tensors.get(position)?.clone()))
        };
        Ok(wanted.into_iter().filter_map(named).collect())
    }
}

/// ONNX Runtime blames the caller for values only the graph can judge, such as an index out of a table's bounds.
pub(crate) fn run_error(error: &ort::Error) -> NnError {
    match error.code() {
        ErrorCode::InvalidArgument => NnError::invalid(error.message()),
        _ => NnError::runtime(error.message()),
    }
}
