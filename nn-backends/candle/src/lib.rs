//! Sentence-embedding models from unmodified Hugging Face folders: read by candle, run by our own kernels.
//!
//! Stands at the end of the request path, behind the model table: [`CandleBackend`] turns a sentence-transformers folder
//! into executors, which take token tensors and give sentence embeddings. What a folder says, how a batch is packed and how
//! tokens are pooled is `headland-encoder`'s. Here `weights` reads tensors, `load` packs them, and `encoder` is the
//! transformer, over the kernels of `headland-kernels`: on a CPU they are several times as fast as candle's.

mod backend;
mod encoder;
mod executor;
mod load;
mod weights;

pub use backend::CandleBackend;
