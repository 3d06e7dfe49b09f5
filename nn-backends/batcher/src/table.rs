//! Every loaded model by name and version: where native endpoints and guests look theirs up.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use headland_package::{ModelName, ModelRef, ModelSelector, ModelVersion};
use headland_trust::Verified;

use crate::on_demand::{OnDemand, Unavailable};
use crate::{Model, NotLoaded};

type Versions = BTreeMap<ModelVersion, Verified<Arc<Model>>>;
/// What the aliases of a model stand for, such as `stable` for `2.1`.
pub type Aliases = BTreeMap<String, ModelVersion>;

/// The alias that a bare name means, where a model has it.
pub const STABLE: &str = "stable";

/// The loaded models. Shared by everything that asks for inference. Only what was [`Verified`] gets in.
#[derive(Default)]
pub struct ModelTable {
    entries: RwLock<Entries>,
    on_demand: OnceLock<Arc<dyn OnDemand>>,
}

#[derive(Default)]
struct Entries {
    models: BTreeMap<ModelName, Versions>,
    aliases: BTreeMap<ModelName, Aliases>,
}

impl ModelTable {
    /// Says who loads what is asked for and not there. The first call counts.
    pub fn load_on_demand(&self, source: Arc<dyn OnDemand>) {
        let _ = self.on_demand.set(source);
    }

    /// Puts a model in, in place of one with the same name and version, which is returned. Who holds that one may go on
    /// using it; it ends when the last of them lets go.
    pub fn insert(&self, model: Verified<Arc<Model>>) -> Option<Arc<Model>> {
        let info = model.get().info();
        let (name, version) = (info.name.clone(), info.version.clone());
        self.write().models.entry(name).or_default().insert(version, model).map(Verified::into_inner)
    }

    /// Takes a model out, if it still is `model`. Who holds it may go on using it; it ends when the last of them lets go.
    pub fn remove(&self, model: &Arc<Model>) -> bool {
        let mut entries = self.write();
        let info = model.info();
        let Some(versions) = entries.models.get_mut(&info.name) else { return false };
        if !versions.get(&info.version).is_some_and(|there| Arc::ptr_eq(there.get(), model)) {
            return false;
        }
        versions.remove(&info.version);
        if versions.is_empty() {
            entries.models.remove(&info.name);
        }
        true
    }

    /// Says what the aliases of `name` stand for, all at once.
    pub fn set_aliases(&self, name: &ModelName, aliases: Aliases) {
        let mut entries = self.write();
        match aliases.is_empty() {
            true => entries.aliases.remove(name),
            false => entries.aliases.insert(name.clone(), aliases),
        };
    }

    /// Looks a model up among the loaded ones. A bare name means the version that [`STABLE`] stands for, loaded or not; for
    /// a model without that alias, the highest version that is loaded.
    ///
    /// # Errors
    /// [`NotLoaded`], which names what is.
    pub fn get(&self, asked: &ModelRef) -> Result<Arc<Model>, NotLoaded> {
        let entries = self.read();
        let versions = entries.models.get(&asked.name);
        let aliases = entries.aliases.get(&asked.name);
        let found = versions.and_then(|versions| match &asked.selector {
            ModelSelector::Latest => match aliases.and_then(|aliases| aliases.get(STABLE)) {
                Some(stable) => versions.get(stable),
                None => versions.last_key_value().map(|(_, model)| model),
            },
            ModelSelector::Version(version) => {
                versions.get(version).or_else(|| versions.get(aliases?.get(version.as_str())?))
            }
            ModelSelector::Digest(digest) => versions.values().find(|model| model.get().info().digest == *digest),
        });
        if let Some(found) = found {
            found.get().touch();
            return Ok(found.get().clone());
        }
        let listed = |versions: &Versions| -> Vec<String> {
            versions.values().map(|model| model.get().info().to_string()).collect()
        };
        let loaded = match versions {
            Some(versions) => listed(versions),
            None => entries.models.values().flat_map(listed).collect(),
        };
        Err(NotLoaded { asked: asked.clone(), loaded })
    }

    /// The model of exactly this version, if it is loaded. Looking is no use: it does not count as being asked for.
    pub fn peek(&self, name: &ModelName, version: &ModelVersion) -> Option<Arc<Model>> {
        Some(self.read().models.get(name)?.get(version)?.get().clone())
    }

    /// Looks a model up, and has it loaded if it is not there and somebody can.
    ///
    /// # Errors
    /// [`Unavailable`], with the cause.
    pub async fn find(&self, asked: &ModelRef) -> Result<Arc<Model>, Unavailable> {
        let not_loaded = match self.get(asked) {
            Ok(model) => return Ok(model),
            Err(not_loaded) => not_loaded,
        };
        match self.on_demand.get() {
            Some(source) => source.load(asked.clone(), not_loaded).await,
            None => Err(not_loaded.into()),
        }
    }

    /// Every loaded model, by name and then version.
    pub fn all(&self) -> Vec<Arc<Model>> {
        self.admitted().into_iter().map(Verified::into_inner).collect()
    }

    /// Every loaded model with why it was let in, by name and then version.
    pub fn admitted(&self) -> Vec<Verified<Arc<Model>>> {
        self.read().models.values().flat_map(BTreeMap::values).cloned().collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Entries> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Entries> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for ModelTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.all()).finish()
    }
}
