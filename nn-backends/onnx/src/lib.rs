//! ONNX graphs on ONNX Runtime, whose library is found and opened at run time.
//!
//! Stands beside the other backends under the model table: [`OnnxBackend::open`] finds the library once per process,
//! `load` turns an ONNX file into an executor, and the executor's thread runs it. Tensors go in without a copy where
//! their bytes are aligned, and come out as views of what ONNX Runtime allocated.
//!
//! `search` decides where the library is looked for, `runtime` opens it, `load` makes sessions, `weights` says what
//! files and memory a graph needs, `signature` and `value` translate, `executor` runs.

mod executor;
mod external;
mod load;
mod runtime;
mod search;
mod signature;
mod value;
mod weights;

pub use load::{OnnxBackend, OnnxOptions};
pub use runtime::OpenError;
pub use search::LibrarySearch;
