//! A body made of parts that lie where they lay before.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// A body of known length, in parts. Cloning it copies pointers.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    parts: VecDeque<Bytes>,
    left: usize,
}

impl Frames {
    /// Adds a part.
    pub(crate) fn push(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.left = self.left.saturating_add(part.len());
            self.parts.push_back(part);
        }
    }

    /// Bytes of all parts together.
    pub fn len(&self) -> usize {
        self.left
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// All parts in one piece: a copy, unless there is only one.
    pub fn into_bytes(mut self) -> Bytes {
        match self.parts.len() {
            0 => Bytes::new(),
            1 => self.parts.pop_front().unwrap_or_default(),
            _ => {
                let mut whole = Vec::with_capacity(self.left);
                self.parts.iter().for_each(|part| whole.extend_from_slice(part));
                whole.into()
            }
        }
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let part = self.parts.pop_front();
        self.left = self.left.saturating_sub(part.as_ref().map_or(0, Bytes::len));
        Poll::Ready(part.map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}
