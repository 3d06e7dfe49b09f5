//! A model that runs elsewhere: what is known of it here, and the way there.
//!
//! Nothing unverified runs, here or there: a routed model has no bytes and no executor in this process. Where it runs, it is
//! in a table that takes only what that machine's own trust policy admitted; and who runs it is known by its certificate.

use std::pin::Pin;
use std::sync::Arc;

use headland_nn_core::{Device, NamedTensor, NnError, Signature};

use super::generating::{DistantAnswer, Pieces};
use super::{Model, ModelInfo, Place};
use crate::call::{Answer, Call};
use crate::stats::ModelStats;

/// What comes from elsewhere, sooner or later.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, NnError>> + Send + 'a>>;

/// The way to a model that runs elsewhere.
pub trait Distant: Send + Sync {
    /// Has the request answered there. Text goes as text, and is tokenised where the model is; the tensors are checked
    /// there. Dropping the future gives the request up.
    ///
    /// # Errors
    /// The same that the model gives where it runs, [`NnError::DeadlineExceeded`] when the call's deadline passes first, and
    /// [`NnError::Unreachable`] when nobody who has it can be reached.
    fn infer(&self, call: Call) -> Pending<'_, Answer>;

    /// Has the request answered there piece by piece; the first one is there when this ends.
    ///
    /// # Errors
    /// As [`Self::infer`].
    fn stream(&self, call: Call) -> Pending<'_, Box<dyn DistantPieces>>;
}

/// The pieces of an answer that is made elsewhere. Dropping it gives up what has not come.
pub trait DistantPieces: Send {
    /// The next piece; `None` after the last.
    ///
    /// # Errors
    /// What ended the answer before its time; [`NnError::BrokenOff`] where whoever gave it was lost.
    fn next(&mut self) -> Pending<'_, Option<Vec<NamedTensor>>>;
}

/// What whoever runs a model says of it: as much as its callers may ask.
#[derive(Clone, Debug)]
pub struct Described {
    /// Who it is.
    pub info: ModelInfo,
    /// What its graph takes and gives.
    pub signature: Signature,
    /// What it runs on there.
    pub device: Device,
    /// The most tokens of one text that reach it, if it takes text.
    pub tokens_max: Option<usize>,
}

impl Described {
    /// What there is to say of a model.
    pub fn of(model: &Model) -> Self {
        Described {
            info: model.info().clone(),
            signature: model.signature().clone(),
            device: model.device(),
            tokens_max: model.tokens_max(),
        }
    }
}

pub(super) struct Elsewhere {
    pub described: Described,
    pub distant: Arc<dyn Distant>,
    pub stats: Arc<ModelStats>,
}

impl Elsewhere {
    /// Has the request answered piece by piece, and counts it.
    pub async fn stream(&self, call: Call) -> Result<Pieces, NnError> {
        let mut answer = DistantAnswer::begin(self.stats.clone());
        answer.begun(self.distant.stream(call).await)?;
        Ok(Pieces::elsewhere(answer))
    }
}

/// A model that runs elsewhere, as the table of models takes it. There is no way to one from executors, and so none from
/// bytes that nobody verified.
#[derive(Clone, Debug)]
pub struct Routed(Arc<Model>);

impl Routed {
    /// A model as it was described, at the end of `distant`.
    pub fn new(described: Described, distant: Arc<dyn Distant>) -> Self {
        let info = described.info.clone();
        let elsewhere = Elsewhere { described, distant, stats: Arc::default() };
        Routed(Arc::new(Model::at(info, Place::Elsewhere(Box::new(elsewhere)))))
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.0
    }
}
