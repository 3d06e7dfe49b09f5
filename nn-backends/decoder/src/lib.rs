//! Causal language models from unmodified Hugging Face folders and GGUF files, on the CPU.
//!
//! Stands at the end of the request path, behind the engine of `headland-generation`, which decides what a step computes.
//! Here `architecture` reads what a model is, `weights` finds its tensors, `load` packs them, and `decoder` computes: one
//! decoder for all families, over packed tokens of many sequences, whose keys and values lie in pages. The arithmetic is in
//! `headland-kernels`, whose `Team` of threads divides it.

mod architecture;
mod decoder;
mod load;
mod projection;
mod weights;

pub use architecture::{Architecture, Family, Layer};
pub use decoder::Decoder;
pub use load::{CacheSize, DecoderOptions, load};
