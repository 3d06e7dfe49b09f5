//! Sentence-embedding models on candle, from unmodified Hugging Face folders.
//!
//! Stands at the end of the request path, behind the model table: [`CandleBackend`] turns a sentence-transformers folder
//! into an executor, which takes token tensors and gives sentence embeddings. What
//! a folder says, how a batch is packed and how tokens are pooled is `headland-encoder`'s; `encoder` here is the
//! transformer.

mod backend;
mod encoder;
mod executor;
mod layer;
mod threads;
mod weights;

pub use backend::CandleBackend;
pub use threads::run_each_model_on_one_thread;
