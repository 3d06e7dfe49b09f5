//! What one PoP sends another for an inference, and what it gets back. Both decoders see bytes from a machine that may be
//! of another build: nothing they accept is out of bounds, and nothing they are given makes them panic.
//!
//! A body is a head, and the tensors' bytes as they are in memory:
//!
//! ```text
//! u32 little-endian: length of the head | head: JSON | for each tensor: zeros up to a multiple of 8, its bytes
//! ```
//!
//! The head is JSON because it is small beside what it announces, reads well in a trace, and grows without breaking: fields
//! that a reader does not know are ignored, and what must not be ignored gets another media type. The tensors follow raw, so
//! that neither side converts or copies them: a decoded tensor is a view of the body, aligned for every element type.
//! Deadlines travel as the time that is left, because two machines' clocks differ. Trace context and request id travel as
//! HTTP headers, where every other hop has them.
//!
//! A request may say that its answer is to come in pieces (`"stream": true` in its head). A model that can do that answers in
//! another media type: such bodies one after the other as they are made, each with its length before it, of which the last says
//! how it ended.

mod description;
mod frames;
mod head;
mod pieces;
mod request;
mod response;

pub use description::{decode_description, encode_description};
pub use frames::Frames;
pub use pieces::{Piece, PieceReader, encode_end, encode_piece};
pub use request::InferRequest;
pub use response::{Refused, decode_response, encode_answer, encode_refusal};

/// Says that a body is an inference, or the answer to one, in this format.
pub const MEDIA_TYPE: &str = "application/vnd.headland.infer.v1";

/// Says that a body is an answer that comes in pieces: frames, each a length in 32 bits, little-endian, and a body as above.
pub const PIECES_MEDIA_TYPE: &str = "application/vnd.headland.pieces.v1";

/// Longest head. Names, shapes and the lengths of a few thousand token lists fit into it many times.
pub const HEAD_BYTES_MAX: usize = 1 << 20;
/// Most tensors of one request or answer.
pub const TENSORS_MAX: usize = 1024;
/// Longest piece of an answer: what a model says in one step is far less, and what it says while its reader is slow comes together.
pub const PIECE_BYTES_MAX: usize = 16 << 20;
/// Tensors begin at multiples of this.
pub(crate) const ALIGNMENT: usize = 8;

/// Bytes that are not what they are said to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The body ends before what it announces.
    #[error("the body is cut short: {missing} bytes are missing")]
    Cut {
        /// How many.
        missing: usize,
    },
    /// The body goes on after what it announces.
    #[error("the body has {0} bytes that nothing announces")]
    Trailing(usize),
    /// The head is longer than any real one.
    #[error("the head is said to be {0} bytes long; at most {HEAD_BYTES_MAX} are read")]
    HeadTooLong(usize),
    /// A piece of an answer is longer than any real one.
    #[error("a piece is said to be {0} bytes long; at most {PIECE_BYTES_MAX} are read")]
    PieceTooLong(usize),
    /// The head is not the JSON it should be.
    #[error("the head cannot be read: {0}")]
    Head(String),
    /// More tensors than any graph has.
    #[error("{0} tensors; at most {TENSORS_MAX} are read")]
    TooManyTensors(usize),
    /// A tensor's bytes are not what its type and shape say.
    #[error("tensor `{name}`: {problem}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// The lengths of token lists do not add up to the tokens there are.
    #[error("the token lists do not add up to the tokens that came with them")]
    Tokens,
}

#[cfg(test)]
mod tests;
