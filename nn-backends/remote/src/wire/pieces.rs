//! An answer that comes in pieces: frames, one after the other, each with the length of what follows before it.
//!
//! A piece is outputs, as an answer has them. The last frame says that the answer has ended, or why it goes no further: a body
//! that ends without it is one that was cut.

use bytes::{Buf as _, Bytes, BytesMut};
use headland_nn_core::{NamedTensor, NnError};
use serde::{Deserialize, Serialize};

use super::head::{Decoder, TensorHead, encode};
use super::response::{ErrorHead, error_head};
use super::{Frames, PIECE_BYTES_MAX, Refused, WireError};

/// Bytes of the length before a frame.
const LENGTH: usize = 4;

/// One frame of an answer that comes in pieces.
#[derive(Clone, Debug)]
pub enum Piece {
    /// What was added.
    Outputs(Vec<NamedTensor>),
    /// Nothing comes any more, and nothing is missing.
    Ended,
    /// Nothing comes any more, because of this.
    Failed(Refused),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Head<'a> {
    Failed { error: ErrorHead<'a> },
    Outputs { outputs: Vec<TensorHead<'a>> },
    Ended { ended: bool },
}

/// The frame that says a piece. One that is longer than any reader takes is an error in its place.
pub fn encode_piece(outputs: &[NamedTensor]) -> Bytes {
    let head =
        Head::Outputs { outputs: outputs.iter().map(|output| TensorHead::of(&output.name, &output.tensor)).collect() };
    let frame = encode(&head, outputs.iter().map(|output| &output.tensor));
    if frame.len() <= PIECE_BYTES_MAX {
        return framed(frame);
    }
    let long = format!("a piece of the answer takes {} bytes, and {PIECE_BYTES_MAX} are sent at most", frame.len());
    encode_end(Err(&NnError::TooLarge(long.into())))
}

/// The last frame.
pub fn encode_end(ended: Result<(), &NnError>) -> Bytes {
    framed(match ended {
        Ok(()) => encode(&Head::Ended { ended: true }, []),
        Err(error) => encode(&Head::Failed { error: error_head(error) }, []),
    })
}

fn framed(frame: Frames) -> Bytes {
    let mut framed = BytesMut::with_capacity(LENGTH + frame.len());
    framed.extend_from_slice(&u32::try_from(frame.len()).unwrap_or(u32::MAX).to_le_bytes());
    framed.extend_from_slice(&frame.into_bytes());
    framed.freeze()
}

/// Takes a body apart while it comes.
#[derive(Debug, Default)]
pub struct PieceReader {
    buffer: BytesMut,
    ended: bool,
}

impl PieceReader {
    /// More of the body has come.
    pub fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// The next frame; `None` where more has to come first. Its tensors are views of what came.
    ///
    /// # Errors
    /// [`WireError`], when it is none, is longer than [`PIECE_BYTES_MAX`], or comes after the last.
    pub fn piece(&mut self) -> Result<Option<Piece>, WireError> {
        if self.ended && !self.buffer.is_empty() {
            return Err(WireError::Trailing(self.buffer.len()));
        }
        let Some(length) = self.buffer.first_chunk::<LENGTH>() else { return Ok(None) };
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length > PIECE_BYTES_MAX {
            return Err(WireError::PieceTooLong(length));
        }
        if self.buffer.len() - LENGTH < length {
            return Ok(None);
        }
        self.buffer.advance(LENGTH);
        let piece = decode(self.buffer.split_to(length).freeze())?;
        self.ended = !matches!(piece, Piece::Outputs(_));
        Ok(Some(piece))
    }
}

fn decode(frame: Bytes) -> Result<Piece, WireError> {
    let (head, decoder) = Decoder::head::<Head<'static>>(frame)?;
    let piece = match head {
        Head::Outputs { outputs } => return Ok(Piece::Outputs(decoder.tensors(outputs)?)),
        Head::Failed { error } => Piece::Failed(error.restore()),
        Head::Ended { ended: true } => Piece::Ended,
        Head::Ended { ended: false } => return Err(WireError::Head("an end that is none".to_owned())),
    };
    decoder.tensors(Vec::new())?;
    Ok(piece)
}

#[cfg(test)]
mod tests;
