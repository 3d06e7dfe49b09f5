//! What an answer's reader has not taken yet.

use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use crate::request::Delta;

/// The sending end of an answer. What does not fit into its channel is put together, and bounded by the answer's length.
pub(super) struct Outbox {
    sender: Sender<Delta>,
    left: Option<Delta>,
}

impl Outbox {
    pub fn new(sender: Sender<Delta>) -> Self {
        Outbox { sender, left: None }
    }

    /// Tells `delta`, now or later.
    pub fn push(&mut self, delta: Delta) {
        match &mut self.left {
            Some(left) => left.extend(delta),
            None => self.left = Some(delta),
        }
        self.flush();
    }

    /// Sends what can be sent: whether nothing is left.
    pub fn flush(&mut self) -> bool {
        let Some(delta) = self.left.take() else { return true };
        match self.sender.try_send(delta) {
            Ok(()) => true,
            Err(TrySendError::Full(delta)) => {
                self.left = Some(delta);
                false
            }
            // Nobody reads it any more.
            Err(TrySendError::Closed(_)) => true,
        }
    }

    /// Whether the reader is gone.
    pub fn is_abandoned(&self) -> bool {
        self.sender.is_closed()
    }
}
