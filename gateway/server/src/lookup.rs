//! Finds the model a request names, by what people write: a name, a name with a version, or a digest.

use std::sync::Arc;

use headland_batcher::{Model, Unavailable};
use headland_package::{IdError, ModelRef, ModelSelector};

use crate::errors::{ApiError, Reason};
use crate::gateway::Gateway;

/// The model called `name`; the given `version`, or else what `name` itself selects (`name:version`,
/// `name@sha256:...`), or else what is stable, or the highest one. One that is not loaded may be now; who asked waits for it.
pub(crate) async fn model(gateway: &Gateway, name: &str, version: Option<&str>) -> Result<Arc<Model>, ApiError> {
    let asked = asked(gateway, name, version)?;
    match tokio::time::timeout(gateway.limits().infer_max, gateway.models().find(&asked)).await {
        Ok(found) => Ok(found?),
        Err(_) => Err(ApiError::new(Reason::ModelLoading, format!("model `{asked}` is still being loaded"))),
    }
}

/// The same among the loaded ones alone.
pub(crate) fn loaded(gateway: &Gateway, name: &str, version: Option<&str>) -> Result<Arc<Model>, ApiError> {
    Ok(gateway.models().get(&asked(gateway, name, version)?).map_err(Unavailable::from)?)
}

fn asked(gateway: &Gateway, name: &str, version: Option<&str>) -> Result<ModelRef, ApiError> {
    reference(name, version).map_err(|error| {
        let loaded = match listed(gateway).as_slice() {
            [] => "no model is loaded".to_owned(),
            names => format!("loaded: {}", names.join(", ")),
        };
        ApiError::new(Reason::ModelNotFound, format!("{error}; {loaded}")).param("model")
    })
}

fn reference(name: &str, version: Option<&str>) -> Result<ModelRef, IdError> {
    match version {
        None => name.parse(),
        Some(version) => Ok(ModelRef { name: name.parse()?, selector: ModelSelector::Version(version.parse()?) }),
    }
}

fn listed(gateway: &Gateway) -> Vec<String> {
    gateway.models().listed().iter().map(|model| model.info().to_string()).collect()
}
