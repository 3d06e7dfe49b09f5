//! A request on its way into the queue: one piece of work, or parts of it where it is larger than a run.

use headland_nn_core::{NamedTensor, NnError, OutputSelection};
use headland_text::Encoded;

use super::here::Here;
use crate::assemble::Extents;
use crate::parts;
use crate::queue::Work;

/// Rows of one request that is run in parts.
pub const REQUEST_ROWS_MAX: usize = 1 << 16;

/// A request on its way into the queue.
pub(super) enum Division {
    /// As one piece of work.
    Whole(Work),
    /// Some rows at a time.
    Parts { plan: Vec<Vec<usize>>, cells: usize, source: Source, wanted: OutputSelection },
}

/// The input of a request, its texts tokenised.
pub(super) enum Source {
    Texts(Encoded),
    Tensors(Vec<NamedTensor>),
}

impl Here {
    /// The request as what is put into the queue: whole, or some of its rows at a time.
    pub(super) fn divide(&self, inputs: Source, wanted: OutputSelection) -> Result<Division, NnError> {
        let divisible = self.shared.layout.as_ref().filter(|layout| !layout.gives_lengths(&wanted));
        let (policy, executors) = (self.shared.queue.policy(), self.shared.executors());
        match (inputs, divisible) {
            (Source::Texts(texts), Some(_)) => {
                let lengths: Vec<usize> = texts.lengths().collect();
                let plan = parts::plan(&lengths, policy, executors);
                if plan.len() == 1 {
                    return Ok(Division::Whole(self.work(texts.inputs(&self.signature)?, wanted)));
                }
                Ok(Division::Parts { cells: texts.tokens(), plan, source: Source::Texts(texts), wanted })
            }
            (Source::Texts(texts), None) => Ok(Division::Whole(self.work(texts.inputs(&self.signature)?, wanted))),
            (Source::Tensors(inputs), divisible) => {
                let whole = self.work(inputs, wanted);
                let rows = whole.extents.rows;
                let fits = rows <= policy.rows_max && whole.cells <= policy.cells_max;
                if divisible.is_none() || fits || rows < 2 || whole.kind.is_none() {
                    return Ok(Division::Whole(whole));
                }
                if rows > REQUEST_ROWS_MAX {
                    return Err(NnError::TooLarge(
                        format!("a request of {rows} rows; at most {REQUEST_ROWS_MAX} are taken, so split it").into(),
                    ));
                }
                let plan = parts::plan(&vec![whole.extents.length; rows], policy, executors);
                let wanted = whole.wanted.clone();
                Ok(Division::Parts { cells: whole.cells, plan, source: Source::Tensors(whole.inputs), wanted })
            }
        }
    }

    /// `inputs` with what the queue is to know of their size.
    fn work(&self, inputs: Vec<NamedTensor>, wanted: OutputSelection) -> Work {
        let Some(layout) = &self.shared.layout else {
            // Where nothing is known of axes, every element counts.
            let elements = |input: &NamedTensor| input.tensor.shape().elements().unwrap_or(usize::MAX);
            let cells = inputs.iter().map(elements).fold(0usize, usize::saturating_add);
            return Work { inputs, wanted, extents: Extents { rows: 1, length: 1 }, cells, kind: None, sized: true };
        };
        let (extents, kind) = layout.measure(&inputs, &wanted);
        let cells = layout.cells(&inputs, extents);
        Work { inputs, wanted, extents, cells, kind, sized: kind.is_some() }
    }

    /// One part of a request.
    pub(super) fn part(&self, source: &Source, rows: &[usize], wanted: &OutputSelection) -> Result<Work, NnError> {
        let inputs = match (source, &self.shared.layout) {
            (Source::Texts(texts), _) => texts.rows(&self.signature, rows)?,
            (Source::Tensors(inputs), Some(layout)) => layout.take_rows(inputs, rows)?,
            (Source::Tensors(_), None) => return Err(NnError::runtime("parts of what has no rows")),
        };
        Ok(self.work(inputs, wanted.clone()))
    }
}
