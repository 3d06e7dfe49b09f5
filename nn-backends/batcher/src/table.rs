//! Every loaded model by name and version: where native endpoints and guests look theirs up.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use headland_package::{ModelName, ModelRef, ModelSelector, ModelVersion};

use crate::Model;

type Versions = BTreeMap<ModelVersion, Arc<Model>>;

/// The loaded models. Shared by everything that asks for inference.
#[derive(Debug, Default)]
pub struct ModelTable {
    models: RwLock<BTreeMap<ModelName, Versions>>,
}

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

impl ModelTable {
    /// Puts a model in, in place of one with the same name and version, which is returned: its caller drains it.
    pub fn insert(&self, model: Arc<Model>) -> Option<Arc<Model>> {
        let info = model.info();
        let (name, version) = (info.name.clone(), info.version.clone());
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        models.entry(name).or_default().insert(version, model)
    }

    /// Looks a model up.
    ///
    /// # Errors
    /// [`NotLoaded`], which names what is.
    pub fn get(&self, asked: &ModelRef) -> Result<Arc<Model>, NotLoaded> {
        let models = self.read();
        let versions = models.get(&asked.name);
        let found = versions.and_then(|versions| match &asked.selector {
            ModelSelector::Latest => versions.last_key_value().map(|(_, model)| model),
            ModelSelector::Version(version) => versions.get(version),
            ModelSelector::Digest(digest) => versions.values().find(|model| model.info().digest == *digest),
        });
        found.cloned().ok_or_else(|| {
            let listed = |versions: &Versions| -> Vec<String> {
                versions.values().map(|model| format!("{}:{}", model.info().name, model.info().version)).collect()
            };
            let loaded = match versions {
                Some(versions) => listed(versions),
                None => models.values().flat_map(listed).collect(),
            };
            NotLoaded { asked: asked.clone(), loaded }
        })
    }

    /// Every loaded model, by name and then version.
    pub fn all(&self) -> Vec<Arc<Model>> {
        self.read().values().flat_map(BTreeMap::values).cloned().collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<ModelName, Versions>> {
        self.models.read().unwrap_or_else(PoisonError::into_inner)
    }
}
