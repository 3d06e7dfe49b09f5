//! A language model's answer, piece by piece.

use crate::{Error, Model, Outputs, Tensor};

/// An answer while it comes: an iterator that waits for each piece. Dropping it ends the answer.
pub struct Pieces {
    model: Model,
    /// What came of the last call, if nobody has taken it.
    next: Option<Outputs>,
    ended: bool,
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Text, of whole characters.
    pub text: String,
    /// How the answer ended, in the last one.
    pub end: Option<End>,
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// `stop` where the model ended it, `tool_calls` where it ended with calls, `length` where it has as many tokens as it may.
    pub finish_reason: String,
    /// What it took: OpenAI's `usage`, in JSON.
    pub usage: String,
}

impl Model {
    /// Has a language model answer piece by piece. `messages` is a conversation in OpenAI's form, in JSON; `parameters` is an
    /// object in JSON of what else OpenAI's API takes, and says `"stream": true`.
    ///
    /// # Errors
    /// As [`Model::compute`].
    pub fn stream(self, messages: &str, parameters: &str) -> Result<Pieces, Error> {
        let text = |text: &str| Tensor::of(&[text.len() as u32], text.as_bytes());
        let first = self.compute([("messages", text(messages)), ("parameters", text(parameters))])?;
        Ok(Pieces { model: self, next: Some(first), ended: false })
    }
}

impl Pieces {
    fn piece(&mut self) -> Result<Piece, Error> {
        let mut outputs = match self.next.take() {
            Some(outputs) => outputs,
            None => self.model.compute([])?,
        };
        let mut take = |name: &str| -> Result<String, Error> {
            String::from_utf8(outputs.take::<u8>(name)?).map_err(|_| Error::unexpected(format!("`{name}` is no text")))
        };
        let (text, finish_reason) = (take("text")?, take("finish_reason")?);
        let end = match finish_reason.is_empty() {
            true => None,
            false => Some(End { finish_reason, usage: take("usage")? }),
        };
        Ok(Piece { text, end })
    }
}

impl Iterator for Pieces {
    type Item = Result<Piece, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let piece = self.piece();
        self.ended = piece.as_ref().is_ok_and(|piece| piece.end.is_some()) || piece.is_err();
        Some(piece)
    }
}
