//! CPU kernels of text encoders and decoders: matrix products with weights packed at load, attention, normalisation.
//!
//! Stands below the backends: slices in, slices out, on the caller's thread or on a [`Team`]'s. Bottom up: `level` picks the
//! vector instructions once, `simd` is their common face, `functions` has exp and its kin on it, `gemm` multiplies,
//! `quantize` makes 8 bits of floats, `team` divides a product between threads, and on top are [`Linear`], [`Attention`] and
//! [`LayerNorm`], which are what an encoder is made of. Decoders are made of [`Matrix`], whose weights stay as small as they
//! are stored, [`CausalAttention`] over pages, [`RmsNorm`] and [`Gate`].
//!
//! Every kernel is written once over `simd::Simd` and compiled for AVX-512, AVX2 and whatever the target has anyway.
//! What a row becomes does not depend, bit for bit, on which rows run beside it: each element is one sum in one order.

mod attention;
mod functions;
mod gated;
mod gemm;
mod level;
mod linear;
mod matrix;
mod memory;
mod norm;
mod paged;
mod quantize;
mod simd;
mod team;
#[cfg(test)]
mod test_support;

pub use attention::{Attention, AttentionScratch};
pub use functions::Activation;
pub use gated::Gate;
pub use level::Level;
pub use linear::{Linear, LinearScratch};
pub use matrix::{Activations, BlockFormat, Matrix, Storage, Target, UnknownFormat};
pub use norm::{LayerNorm, RmsNorm};
pub use paged::{CacheStorage, CausalAttention, KeyValueCache, PAGE_TOKENS, PagedScratch, Queries};
pub use team::Team;
