//! Sentence-embedding models on candle, from unmodified Hugging Face folders.
//!
//! Stands at the end of the request path, behind the model table: [`CandleBackend`] turns a sentence-transformers folder
//! into an executor, which takes token tensors and gives sentence embeddings. In the order a batch meets them:
//! `batch` (checked, packed without padding), `encoder` (the transformer), `pooling` (token embeddings to one per text).

mod architecture;
mod backend;
mod batch;
mod encoder;
mod executor;
mod files;
mod layer;
mod pooling;
mod threads;
mod weights;

pub use backend::CandleBackend;
pub use batch::MAX_BATCH_TOKENS;
pub use threads::run_each_model_on_one_thread;
