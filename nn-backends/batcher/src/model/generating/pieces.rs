//! An answer that comes piece by piece, as tensors: of the engine here, or of another PoP's.

use std::sync::Arc;
use std::time::Instant;

use headland_nn_core::{NamedTensor, NnError, OutputSelection};

use super::Chunked;
use super::tensors::{COMPLETION, COMPLETION_AT, FINISH_REASON, TEXT, USAGE, tensor};
use crate::call::Timing;
use crate::model::elsewhere::DistantPieces;
use crate::stats::ModelStats;

/// The pieces of an answer while it comes. Dropping it ends the answer, wherever that is made.
pub struct Pieces(Source);

enum Source {
    Here(Box<Here>),
    Elsewhere(DistantAnswer),
}

/// Of the engine here.
struct Here {
    chunked: Chunked,
    /// The caller has no type for texts: one text's bytes are a tensor of U8.
    plain: bool,
    wanted: OutputSelection,
}

/// Of another PoP: counted here, as every request is where it came from.
pub(in crate::model) struct DistantAnswer {
    pieces: Option<Box<dyn DistantPieces>>,
    stats: Arc<ModelStats>,
    began: Instant,
    counts: bool,
}

impl Pieces {
    pub(super) fn here(chunked: Chunked, plain: bool, wanted: OutputSelection) -> Self {
        Pieces(Source::Here(Box::new(Here { chunked, plain, wanted })))
    }

    pub(in crate::model) fn elsewhere(distant: DistantAnswer) -> Self {
        Pieces(Source::Elsewhere(distant))
    }

    /// The next piece: `text`, `completion`, and `finish_reason`, which says something in the last one; that has `usage` too.
    /// Who wants `completion` alone gets every chunk. `None` after the last.
    ///
    /// # Errors
    /// What ended the answer before its time.
    pub async fn next(&mut self) -> Result<Option<Vec<NamedTensor>>, NnError> {
        match &mut self.0 {
            Source::Here(here) => here.next().await,
            Source::Elsewhere(distant) => distant.next().await,
        }
    }
}

/// Whether `completion` is all that is wanted.
pub(super) fn wants_chunks(wanted: &OutputSelection) -> bool {
    matches!(wanted, OutputSelection::Only(wanted) if wanted.iter().all(|&at| at == COMPLETION_AT))
}

impl Here {
    async fn next(&mut self) -> Result<Option<Vec<NamedTensor>>, NnError> {
        let all = wants_chunks(&self.wanted);
        while let Some(chunk) = self.chunked.next().await? {
            let choice = &chunk["choices"][0];
            let text = choice["delta"]["content"].as_str().or(choice["text"].as_str()).unwrap_or_default();
            let reason = choice["finish_reason"].as_str().unwrap_or_default();
            // A chunk may say who speaks, or how likely tokens were that are no whole character yet.
            if !all && text.is_empty() && reason.is_empty() && choice["delta"]["tool_calls"].is_null() {
                continue;
            }
            let usage = (!reason.is_empty()).then(|| self.chunked.usage().to_string());
            let completion = chunk.to_string();
            // In the signature's order.
            let told = [
                (TEXT, Some(text)),
                (FINISH_REASON, Some(reason)),
                (USAGE, usage.as_deref()),
                (COMPLETION, Some(&completion)),
            ];
            return self.outputs(told).map(Some);
        }
        Ok(None)
    }

    fn outputs(&self, told: [(&str, Option<&str>); 4]) -> Result<Vec<NamedTensor>, NnError> {
        let output = |(name, text): (&str, Option<&str>)| {
            text.map(|text| Ok(NamedTensor::new(name, tensor(&[text], self.plain)?)))
        };
        match &self.wanted {
            OutputSelection::All => told.into_iter().filter_map(output).collect(),
            OutputSelection::Only(wanted) => {
                wanted.iter().filter_map(|at| told.get(*at).copied().and_then(output)).collect()
            }
        }
    }
}

impl DistantAnswer {
    pub fn begin(stats: Arc<ModelStats>) -> Self {
        DistantAnswer { pieces: None, stats, began: Instant::now(), counts: true }
    }

    /// What came of asking.
    pub fn begun(&mut self, asked: Result<Box<dyn DistantPieces>, NnError>) -> Result<(), NnError> {
        match asked {
            Ok(pieces) => self.pieces = Some(pieces),
            Err(error) => {
                self.ended(Err(&error));
                return Err(error);
            }
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<Vec<NamedTensor>>, NnError> {
        let Some(pieces) = &mut self.pieces else { return Ok(None) };
        let next = pieces.next().await;
        match &next {
            Ok(Some(_)) => {}
            Ok(None) => self.ended(Ok(())),
            Err(error) => self.ended(Err(error)),
        }
        next
    }

    fn ended(&mut self, how: Result<(), &NnError>) {
        (self.pieces, self.counts) = (None, false);
        let took = self.began.elapsed();
        match how {
            Ok(()) => self.stats.succeeded(&Timing { infer: took, total: took, ..Timing::default() }),
            Err(error) => self.stats.failed(error),
        }
    }
}

impl Drop for DistantAnswer {
    fn drop(&mut self) {
        if self.counts {
            self.stats.canceled();
        }
    }
}
