//! The vocabulary every backend shares: tensors, graph signatures, the executor trait, devices and errors.
//!
//! Stands at the bottom of the request path: the gateway hands tensors down to the model table, the table hands them
//! to an [`Executor`] on its own thread, and results come back the same way. Nothing here knows of HTTP, Wasm or tokio.

mod batching;
mod device;
mod dtype;
mod error;
mod executor;
mod files;
mod signature;
mod strings;
mod tensor;

pub use batching::{BatchAxes, Batching, InputAxes, OutputAxes, Padding};
pub use device::{Device, ParseDeviceError};
pub use dtype::{DType, Element};
pub use error::{Busy, NnError, seconds_up};
pub use executor::{Backend, Executor, LoadOptions, NamedTensor, OutputSelection, Precision};
pub use files::ModelFiles;
pub use signature::{Dim, Signature, TensorSpec};
pub use strings::{StringsIter, encode_strings};
pub use tensor::{MAX_RANK, Shape, Tensor, TensorError};

#[cfg(target_endian = "big")]
compile_error!(
    "tensor data travels little-endian on every protocol Headland speaks; big-endian hosts are not supported"
);
