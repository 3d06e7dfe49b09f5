//! Every model by name and version, loaded here or routed elsewhere: where native endpoints and guests look theirs up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use headland_package::{ModelName, ModelRef, ModelSelector, ModelVersion};
use headland_trust::Verified;

use crate::on_demand::{OnDemand, Unavailable};
use crate::{Described, Model, NotLoaded, Routed};

type Versions = BTreeMap<ModelVersion, Verified<Arc<Model>>>;
/// What the aliases of a model stand for, such as `stable` for `2.1`.
pub type Aliases = BTreeMap<String, ModelVersion>;

/// The alias that a bare name means, where a model has it.
pub const STABLE: &str = "stable";

/// Models that are remembered when they have gone. With one more, all are forgotten.
const DESCRIBED_MAX: usize = 1_000;

/// The models there are to ask. Shared by everything that asks for inference.
///
/// Loaded here is only what was [`Verified`]. What runs elsewhere is [`Routed`]: a version that is both is asked here.
#[derive(Default)]
pub struct ModelTable {
    entries: RwLock<Entries>,
    /// What was loaded here and is gone: it need not be loaded again for others to know what it takes and gives.
    described: Mutex<BTreeMap<(ModelName, ModelVersion), Described>>,
    on_demand: OnceLock<Arc<dyn OnDemand>>,
}

#[derive(Default)]
struct Entries {
    models: BTreeMap<ModelName, Versions>,
    aliases: BTreeMap<ModelName, Aliases>,
    routed: BTreeMap<ModelName, BTreeMap<ModelVersion, Routed>>,
    /// The fleet's aliases, which go before this gateway's own.
    routed_aliases: BTreeMap<ModelName, Aliases>,
    /// What [`STABLE`] stood for before, where the fleet has moved it to a version that cannot be asked yet.
    before: BTreeMap<ModelName, ModelVersion>,
}

impl Entries {
    /// The version that an alias of `name` stands for.
    fn alias(&self, name: &ModelName, alias: &str) -> Option<&ModelVersion> {
        [&self.routed_aliases, &self.aliases].into_iter().find_map(|aliases| aliases.get(name)?.get(alias))
    }

    /// The model of exactly this version: the one that is here, if both are.
    fn version(&self, name: &ModelName, version: &ModelVersion) -> Option<&Arc<Model>> {
        let here = self.models.get(name).and_then(|versions| versions.get(version)).map(Verified::get);
        here.or_else(|| Some(self.routed.get(name)?.get(version)?.model()))
    }

    /// All versions of a model, here or elsewhere.
    fn versions(&self, name: &ModelName) -> BTreeMap<&ModelVersion, &Arc<Model>> {
        let routed = self.routed.get(name).into_iter().flatten().map(|(version, routed)| (version, routed.model()));
        let here = self.models.get(name).into_iter().flatten().map(|(version, model)| (version, model.get()));
        routed.chain(here).collect()
    }

    /// What `asked` names.
    fn find(&self, asked: &ModelRef) -> Option<&Arc<Model>> {
        let name = &asked.name;
        match &asked.selector {
            ModelSelector::Latest => match self.alias(name, STABLE) {
                Some(stable) => self.version(name, stable).or_else(|| self.version(name, self.before.get(name)?)),
                None => self.versions(name).into_values().next_back(),
            },
            ModelSelector::Version(version) => {
                self.version(name, version).or_else(|| self.version(name, self.alias(name, version.as_str())?))
            }
            ModelSelector::Digest(digest) => {
                let here = self.models.get(name).into_iter().flat_map(BTreeMap::values).map(Verified::get);
                let routed = self.routed.get(name).into_iter().flat_map(BTreeMap::values).map(Routed::model);
                here.chain(routed).find(|model| model.info().digest == *digest)
            }
        }
    }

    fn names(&self) -> BTreeSet<&ModelName> {
        self.models.keys().chain(self.routed.keys()).collect()
    }

    /// Has a model that is here spill to where it runs besides.
    fn pair(&self, model: &Arc<Model>) {
        let info = model.info();
        let same = |routed: &&Routed| routed.model().info().digest == info.digest;
        let routed = self.routed.get(&info.name).and_then(|versions| versions.get(&info.version)).filter(same);
        model.spill_to(routed);
    }
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
        let mut entries = self.write();
        entries.pair(model.get());
        entries.models.entry(name).or_default().insert(version, model).map(Verified::into_inner)
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
        self.remember(Described::of(model));
        true
    }

    /// Forgets what was loaded here and is gone: the policy is another one.
    pub fn forget_gone(&self) {
        self.described().clear();
    }

    /// Says what the aliases of `name` stand for, all at once.
    pub fn set_aliases(&self, name: &ModelName, aliases: Aliases) {
        let mut entries = self.write();
        match aliases.is_empty() {
            true => entries.aliases.remove(name),
            false => entries.aliases.insert(name.clone(), aliases),
        };
    }

    /// Says which models run elsewhere, and what the fleet's aliases stand for, all at once. A bare name goes on meaning what it
    /// meant until the version that it is to mean can be asked.
    pub fn set_routed(&self, routed: impl IntoIterator<Item = Routed>, aliases: BTreeMap<ModelName, Aliases>) {
        let mut models = BTreeMap::<_, BTreeMap<_, _>>::new();
        for routed in routed {
            let info = routed.model().info().clone();
            models.entry(info.name).or_default().insert(info.version, routed);
        }
        let mut entries = self.write();
        let moved = |(name, given): (&ModelName, &Aliases)| {
            let stood_for = entries.routed_aliases.get(name)?.get(STABLE)?;
            // Moved twice before it could be asked: the one that last could goes on.
            let before = entries.before.get(name).unwrap_or(stood_for);
            (given.get(STABLE)? != before).then(|| (name.clone(), before.clone()))
        };
        let before: BTreeMap<ModelName, ModelVersion> = aliases.iter().filter_map(moved).collect();
        (entries.routed, entries.routed_aliases) = (models, aliases);
        let unasked = |(name, _): &(ModelName, ModelVersion)| {
            let stable = entries.alias(name, STABLE);
            stable.is_some_and(|stable| entries.version(name, stable).is_none())
        };
        entries.before = before.into_iter().filter(unasked).collect();
        for model in entries.models.values().flat_map(BTreeMap::values) {
            entries.pair(model.get());
        }
    }

    /// Looks a model up, here and elsewhere. A bare name means the version that [`STABLE`] stands for, there or not; for a
    /// model without that alias, the highest version there is.
    ///
    /// # Errors
    /// [`NotLoaded`], which names what there is.
    pub fn get(&self, asked: &ModelRef) -> Result<Arc<Model>, NotLoaded> {
        let entries = self.read();
        if let Some(found) = entries.find(asked) {
            found.touch();
            return Ok(found.clone());
        }
        let listed = |name: &ModelName| -> Vec<String> {
            entries.versions(name).into_values().map(|model| model.info().to_string()).collect()
        };
        let mut loaded = listed(&asked.name);
        if loaded.is_empty() {
            loaded = entries.names().into_iter().flat_map(listed).collect();
        }
        Err(NotLoaded { asked: asked.clone(), loaded })
    }

    /// The model of exactly this version, if it is loaded here. Looking is no use: it does not count as being asked for.
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

    /// Looks up the model of exactly this version here, and has it loaded here if it is not there and somebody can: for
    /// requests that were passed on to here, and go no further.
    ///
    /// # Errors
    /// [`Unavailable`], with the cause.
    pub async fn find_here(&self, name: &ModelName, version: &ModelVersion) -> Result<Arc<Model>, Unavailable> {
        if let Some(here) = self.peek(name, version) {
            here.touch();
            return Ok(here);
        }
        let selector = ModelSelector::Version(version.clone());
        let asked = ModelRef { name: name.clone(), selector };
        let loaded = self.all().iter().map(|model| model.info().to_string()).collect();
        let not_loaded = NotLoaded { asked: asked.clone(), loaded };
        match self.on_demand.get() {
            Some(source) => source.load(asked, not_loaded).await,
            None => Err(not_loaded.into()),
        }
    }

    /// Describes the model of exactly this version that is here. One that was loaded before is not loaded for it again, as long
    /// as what would be loaded is the same.
    ///
    /// # Errors
    /// [`Unavailable`], with the cause.
    pub async fn describe_here(&self, name: &ModelName, version: &ModelVersion) -> Result<Described, Unavailable> {
        if let Some(here) = self.peek(name, version) {
            return Ok(Described::of(&here));
        }
        if let (Some(known), Some(source)) = (self.remembered(name, version), self.on_demand.get())
            && source.digest(name, version, known.device).await == Some(known.info.digest)
        {
            return Ok(known);
        }
        self.find_here(name, version).await.map(|model| Described::of(&model))
    }

    fn remember(&self, described: Described) {
        let key = (described.info.name.clone(), described.info.version.clone());
        let mut known = self.described();
        if known.len() >= DESCRIBED_MAX && !known.contains_key(&key) {
            known.clear();
        }
        known.insert(key, described);
    }

    fn remembered(&self, name: &ModelName, version: &ModelVersion) -> Option<Described> {
        self.described().get(&(name.clone(), version.clone())).cloned()
    }

    fn described(&self) -> MutexGuard<'_, BTreeMap<(ModelName, ModelVersion), Described>> {
        self.described.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every model that can be asked, here or elsewhere, by name and then version.
    pub fn listed(&self) -> Vec<Arc<Model>> {
        let entries = self.read();
        entries.names().into_iter().flat_map(|name| entries.versions(name).into_values()).cloned().collect()
    }

    /// Every model that is loaded here, by name and then version.
    pub fn all(&self) -> Vec<Arc<Model>> {
        self.admitted().into_iter().map(Verified::into_inner).collect()
    }

    /// Every model that runs elsewhere, whether or not it is here too, by name and then version.
    pub fn routed(&self) -> Vec<Arc<Model>> {
        self.read().routed.values().flat_map(BTreeMap::values).map(|routed| routed.model().clone()).collect()
    }

    /// Every model that is loaded here with why it was let in, by name and then version.
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
        f.debug_list().entries(self.listed()).finish()
    }
}
