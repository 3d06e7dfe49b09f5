//! Text to token tensors: the tokenizer in front of text models, whichever backend runs them.
//!
//! Stands between the gateway and the model table: a request that brings text (an OpenAI `input`, or one tensor called
//! `text`) leaves here as the `input_ids`, `attention_mask` and `token_type_ids` that the graph takes, tokenised as
//! sentence-transformers does it. No backend tokenises.

mod cache;
mod encoded;
mod encoder;
pub mod library;
mod settings;
mod special;
mod text_tensor;

pub use cache::{CACHED_TEXT_BYTES_MAX, TOKEN_CACHE_BYTES_MAX};
pub use encoded::Encoded;
pub use encoder::TextEncoder;

/// The input that stands for the raw inputs of a text model.
pub const TEXT_INPUT: &str = "text";

/// The most texts one call may bring; OpenAI's limit for `/v1/embeddings`.
pub const MAX_TEXTS: usize = 2048;

/// The most tokens of all texts of one call. [`MAX_TEXTS`] texts of 512 tokens fit exactly; models of longer sequences take
/// fewer texts at once.
pub const MAX_TOKENS: usize = MAX_TEXTS * 512;
