//! An answer that comes in pieces: its body is read as its reader reads, and given up with it, which ends the answer where it is
//! made.

use std::sync::Arc;
use std::time::Instant;

use headland_batcher::{DistantPieces, Pending};
use headland_nn_core::{NamedTensor, NnError};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::ask::{Asking, Contender, UnderWay};
use crate::limits::ANSWER_BYTES_MAX;
use crate::link::describe;
use crate::outcome::Outcome;
use crate::peer::RequestFailed;
use crate::wire::{Piece, PieceReader, WireError};

/// What is left of an answer's body.
pub(crate) struct Coming {
    body: Incoming,
    reader: PieceReader,
    bytes: usize,
    /// Read, and not told yet.
    first: Option<Piece>,
}

/// Why there is no next frame.
enum Lost {
    OnTheWay(RequestFailed),
    Unreadable(WireError),
}

impl Coming {
    /// Waits for the first frame of `body`: until it is there, somebody else may be asked.
    pub async fn begin(body: Incoming, contender: &Contender, asking: &Asking<'_>) -> Outcome<Self> {
        let mut coming = Coming { body, reader: PieceReader::default(), bytes: 0, first: None };
        match coming.frame().await {
            Ok(Piece::Failed(refused)) => contender.refused(refused, asking.model),
            Ok(first) => Outcome::Answered(Coming { first: Some(first), ..coming }),
            Err(Lost::OnTheWay(failed)) => contender.failed(&failed, asking.model),
            Err(Lost::Unreadable(error)) => Outcome::Failed(contender.unreadable(&error)),
        }
    }

    async fn next(&mut self) -> Result<Piece, Lost> {
        match self.first.take() {
            Some(first) => Ok(first),
            None => self.frame().await,
        }
    }

    async fn frame(&mut self) -> Result<Piece, Lost> {
        let lost = |why: String| Lost::OnTheWay(RequestFailed::sent(why));
        loop {
            if let Some(piece) = self.reader.piece().map_err(Lost::Unreadable)? {
                return Ok(piece);
            }
            let frame = self.body.frame().await.ok_or_else(|| lost("its answer ended before its end".to_owned()))?;
            let Ok(data) = frame.map_err(|error| lost(describe(&error)))?.into_data() else { continue };
            self.bytes = self.bytes.saturating_add(data.len());
            if self.bytes > ANSWER_BYTES_MAX {
                return Err(lost(format!("its answer is longer than {ANSWER_BYTES_MAX} bytes")));
            }
            self.reader.push(&data);
        }
    }
}

/// The pieces of an answer. The request is under way until the last of them, or until this is dropped.
pub(crate) struct FarPieces {
    coming: Option<(Coming, UnderWay)>,
    model: Arc<str>,
    deadline: Instant,
}

impl FarPieces {
    pub fn new(coming: Coming, under_way: UnderWay, asking: &Asking<'_>) -> Self {
        FarPieces { coming: Some((coming, under_way)), model: asking.model.clone(), deadline: asking.deadline }
    }

    async fn piece(&mut self) -> Result<Option<Vec<NamedTensor>>, NnError> {
        let Some((coming, under_way)) = &mut self.coming else { return Ok(None) };
        let Ok(next) = tokio::time::timeout_at(self.deadline.into(), coming.next()).await else {
            self.coming = None;
            return Err(NnError::DeadlineExceeded { model: self.model.clone() });
        };
        let contender = &under_way.contender;
        let outcome = match next {
            Ok(Piece::Outputs(outputs)) => return Ok(Some(outputs)),
            Ok(Piece::Ended) => Outcome::Answered(None),
            Ok(Piece::Failed(refused)) => contender.refused(refused, &self.model),
            Err(Lost::OnTheWay(failed)) => {
                let why = format!("{}: {failed}", contender.peer.pop).into();
                Outcome::Failed(NnError::BrokenOff { model: self.model.clone(), why })
            }
            Err(Lost::Unreadable(error)) => Outcome::Failed(contender.unreadable(&error)),
        };
        under_way.end(&outcome);
        self.coming = None;
        outcome.into_result()
    }
}

impl DistantPieces for FarPieces {
    fn next(&mut self) -> Pending<'_, Option<Vec<NamedTensor>>> {
        Box::pin(self.piece())
    }
}
