//! What happens when a model is asked for that is not loaded: somebody may load it, and the asker waits.

use std::pin::Pin;
use std::sync::Arc;

use headland_nn_core::Device;
use headland_package::{ModelName, ModelRef, ModelVersion, Sha256Digest};

use crate::Model;

/// A model or version that is not loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.message())]
pub struct NotLoaded {
    /// What was asked for.
    pub asked: ModelRef,
    /// What is loaded, as `name:version`: the versions of that name if there are some, all models otherwise.
    pub loaded: Vec<String>,
}

impl NotLoaded {
    fn message(&self) -> String {
        let loaded = match self.loaded.as_slice() {
            [] => "no model is loaded".to_owned(),
            models => format!("loaded: {}", models.join(", ")),
        };
        format!("model `{}` is not loaded; {loaded}", self.asked)
    }
}

/// Why a model cannot be used now. The text is for whoever asked; the operator finds the whole cause in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// It is neither loaded nor anywhere to load from.
    #[error(transparent)]
    NotLoaded(#[from] NotLoaded),
    /// The trust policy does not admit it.
    #[error("model `{0}` is not admitted by this gateway's trust policy")]
    Denied(ModelRef),
    /// It is there and admitted, and does not load.
    #[error("model `{0}` could not be loaded")]
    Broken(ModelRef),
    /// There is no memory for it, and nothing idle to make room.
    #[error("there is no memory for model `{0}` now")]
    NoMemory(ModelRef),
    /// Too many loads wait already.
    #[error("too many models are being loaded to begin with `{0}` now")]
    Busy(ModelRef),
}

/// Loads models that are asked for. Several askers for one model share one load.
pub trait OnDemand: Send + Sync {
    /// Loads `asked`, and has it in the table by the time it answers. `not_loaded` is the answer where there is nothing to
    /// load. Dropping the future leaves the load running.
    fn load(
        &self,
        asked: ModelRef,
        not_loaded: NotLoaded,
    ) -> Pin<Box<dyn Future<Output = Result<Arc<Model>, Unavailable>> + Send>>;

    /// The digest of the package that would be loaded as exactly this version, if there is one, and it is admitted on `device` as
    /// far as its listing tells. Nothing is loaded.
    fn digest(
        &self,
        name: &ModelName,
        version: &ModelVersion,
        device: Device,
    ) -> Pin<Box<dyn Future<Output = Option<Sha256Digest>> + Send>>;
}
