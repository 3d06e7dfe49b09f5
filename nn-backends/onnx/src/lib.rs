//! ONNX graphs on ONNX Runtime, whose library is found and opened at run time.
//!
//! Stands beside the other backends under the model table: [`OnnxBackend::open`] finds the library once per process,
//! `load` turns an ONNX file into an executor, and the executor's thread runs it. Tensors go in without a copy where
//! their bytes are aligned, and come out as views of what ONNX Runtime allocated.
//!
//! `search` decides where the library is looked for and `runtime` opens it. `load` makes sessions, which `layout` gives
//! threads and executors by measurement; `session` lets executors share one. For graphs that come as files, `weights` says
//! what files and memory they need, `axes` how requests may share a run, and `executor` runs them; `sample` makes an input
//! to measure with. For text encoders that come as bare weights, `encoder` writes the graph, on `graph` and `proto`.
//! `signature` and `value` translate.

mod axes;
mod encoder;
mod executor;
mod external;
mod graph;
mod layout;
mod load;
mod proto;
mod runtime;
mod sample;
mod search;
mod session;
mod signature;
mod value;
mod weights;

pub use load::{OnnxBackend, OnnxOptions};
pub use runtime::OpenError;
pub use search::LibrarySearch;
