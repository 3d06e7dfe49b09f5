//! Finds the model a request names, by what people write: a name, a name with a version, or a digest.

use std::sync::Arc;

use headland_batcher::{Model, NotLoaded};
use headland_package::{IdError, ModelRef, ModelSelector};

use crate::errors::{ApiError, Reason};
use crate::gateway::Gateway;

/// The model called `name`; the given `version`, or else what `name` itself selects (`name:version`,
/// `name@sha256:...`), or else the highest one.
pub(crate) fn model(gateway: &Gateway, name: &str, version: Option<&str>) -> Result<Arc<Model>, ApiError> {
    let asked = reference(name, version).map_err(|error| {
        let loaded = match listed(gateway).as_slice() {
            [] => "no model is loaded".to_owned(),
            names => format!("loaded: {}", names.join(", ")),
        };
        ApiError::new(Reason::ModelNotFound, format!("{error}; {loaded}")).param("model")
    })?;
    gateway.models().get(&asked).map_err(|error: NotLoaded| error.into())
}

fn reference(name: &str, version: Option<&str>) -> Result<ModelRef, IdError> {
    match version {
        None => name.parse(),
        Some(version) => Ok(ModelRef { name: name.parse()?, selector: ModelSelector::Version(version.parse()?) }),
    }
}

fn listed(gateway: &Gateway) -> Vec<String> {
    gateway.models().all().iter().map(|model| format!("{}:{}", model.info().name, model.info().version)).collect()
}
