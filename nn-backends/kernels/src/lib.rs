//! CPU kernels of text encoders: matrix products with weights packed at load, in f32 and in 8 bits, attention, layer
//! normalisation.
//!
//! Stands below the backends: slices in, slices out, one thread. Bottom up: `level` picks the vector instructions once,
//! `simd` is their common face, `functions` has exp and its kin on it, `gemm` multiplies, `quantize` makes 8 bits of
//! floats, and on top are [`Linear`], [`Attention`] and [`LayerNorm`], which are what a model is made of.
//!
//! Every kernel is written once over `simd::Simd` and compiled for AVX-512, AVX2 and whatever the target has anyway.
//! What a row becomes does not depend, bit for bit, on which rows run beside it: each element is one sum in one order.

mod attention;
mod functions;
mod gemm;
mod level;
mod linear;
mod memory;
mod norm;
mod quantize;
mod simd;
#[cfg(test)]
mod test_support;

pub use attention::{Attention, AttentionScratch};
pub use functions::Activation;
pub use level::Level;
pub use linear::{Linear, LinearScratch};
pub use norm::LayerNorm;
