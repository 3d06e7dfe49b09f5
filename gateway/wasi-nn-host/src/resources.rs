//! What stands behind the guest's handles.

use std::sync::Arc;

use bytes::Bytes;
use headland_batcher::{Model, Pieces};

use crate::convert::{ErrorCode, TensorType};

/// `wasi:nn/tensor.tensor`. As the guest made it: its constructor cannot fail, so `compute` checks it.
pub(crate) struct GuestTensor {
    pub dimensions: Vec<u32>,
    pub ty: TensorType,
    pub data: Bytes,
}

/// `wasi:nn/graph.graph`.
pub(crate) struct Graph {
    pub model: Arc<Model>,
}

/// `wasi:nn/inference.graph-execution-context`.
pub(crate) struct ExecutionContext {
    pub model: Arc<Model>,
    /// The rest of an answer that comes piece by piece. It ends with the context.
    pub pieces: Option<Box<Pieces>>,
}

/// `wasi:nn/errors.error`.
#[derive(Debug)]
pub(crate) struct GuestError {
    pub code: ErrorCode,
    pub data: String,
}
