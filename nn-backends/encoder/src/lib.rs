//! Text encoders of the BERT family, as their Hugging Face folders describe them.
//!
//! Stands beside the backends that run such models: what a folder says is the same whoever computes it. In the order a
//! batch meets them: `architecture` (sizes and tensor names out of `config.json`), `batch` (token tensors checked, and
//! packed without padding), `pooling` (token embeddings to one per text), `signature` (the tensors in and out).

mod architecture;
mod batch;
mod files;
mod pooling;
mod signature;

pub use architecture::{Activation, Architecture, Names};
pub use batch::{Batch, MAX_BATCH_TOKENS, MAX_PADDED_TOKENS, Slice, too_many};
pub use pooling::{Mode, Pooling};
pub use signature::{SENTENCE_EMBEDDING, TOKEN_EMBEDDINGS, batching, signature};
