//! What an operator changes: models unloaded, aliases moved, versions removed, another policy.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use headland_batcher::{Model, STABLE};
use headland_nn_core::Device;
use headland_package::{ModelName, ModelRef, ModelSelector, ModelVersion, Sha256Digest};
use headland_trust::Policy;

use super::{Failure, Key, Loaded, ModelControl, blocking, catalog, lock, open};
use crate::LifecycleError;
use headland_trust::chain;

impl ModelControl {
    /// Unloads every loaded version of a bare name, or the one that is named; which. Requests that are under way are
    /// answered. A model that an operator loaded from a folder stays.
    ///
    /// # Errors
    /// [`LifecycleError::NotFound`] when none is loaded, [`LifecycleError::Conflict`] when only an operator's is.
    pub fn unload(&self, asked: &ModelRef) -> Result<Vec<String>, LifecycleError> {
        let models = match &asked.selector {
            ModelSelector::Latest => {
                let mut models = self.0.parts.table.all();
                models.retain(|model| model.info().name == asked.name);
                models
            }
            _ => self.0.parts.table.get(asked).into_iter().collect(),
        };
        if models.is_empty() {
            return Err(LifecycleError::NotFound(format!("model `{asked}` is not loaded")));
        }
        let unloaded: Vec<String> =
            models.iter().filter(|model| self.take_out(model)).map(|model| model.info().to_string()).collect();
        if unloaded.is_empty() {
            let problem = format!("model `{asked}` was named when the gateway started, and stays while it runs");
            return Err(LifecycleError::Conflict(problem));
        }
        tracing::info!("unloaded {}", unloaded.join(", "));
        Ok(unloaded)
    }

    /// Takes a model of the registry out of the table; `false` if it is none, or not there any more.
    pub(super) fn take_out(&self, model: &Arc<Model>) -> bool {
        self.take_out_of(&mut lock(&self.0.loaded), model).is_some()
    }

    /// The same, for whoever holds the list of what is loaded: the entry it had there.
    pub(super) fn take_out_of(&self, loaded: &mut BTreeMap<Key, Loaded>, model: &Arc<Model>) -> Option<Loaded> {
        let key = (model.info().name.clone(), model.info().version.clone());
        let taken = loaded.contains_key(&key) && self.0.parts.table.remove(model);
        if taken { loaded.remove(&key) } else { None }
    }

    /// Unloads the versions that were loaded by bare name before `current` was.
    pub(super) fn unload_older(&self, current: &Arc<Model>) {
        let info = current.info();
        let others = self.0.parts.table.all().into_iter().filter(|model| {
            let other = model.info();
            other.name == info.name && other.version != info.version
        });
        for model in others {
            let key = (model.info().name.clone(), model.info().version.clone());
            let floating = lock(&self.0.loaded).get(&key).is_some_and(|loaded| !loaded.exact);
            if floating && self.take_out(&model) {
                tracing::info!(model = %model.info(), "unloaded: {info} has taken its place");
            }
        }
    }

    /// Lets `alias` of `name` stand for `version`, in one step. If what it stood for is loaded, the new version is loaded
    /// first, so that nobody who asks for the alias waits.
    ///
    /// # Errors
    /// [`LifecycleError::NotFound`] for a version that is not there, [`LifecycleError::Conflict`] for an alias that is a
    /// version, and whatever keeps the new version from being loaded.
    pub async fn set_alias(
        &self,
        name: &ModelName,
        alias: &ModelVersion,
        version: &ModelVersion,
    ) -> Result<(), Arc<LifecycleError>> {
        let selected =
            |version: &ModelVersion| ModelRef { name: name.clone(), selector: ModelSelector::Version(version.clone()) };
        let bare = ModelRef { name: name.clone(), selector: ModelSelector::Latest };
        let table = &self.0.parts.table;
        let asked_for = table.get(&selected(alias)).is_ok() || (alias.as_str() == STABLE && table.get(&bare).is_ok());
        if asked_for {
            self.load(&selected(version)).await?;
        }
        let (control, name, alias, version) = (self.clone(), name.clone(), alias.clone(), version.clone());
        blocking(move || {
            let store = &control.0.parts.store;
            let versions = catalog::versions(store, &name)?;
            if versions.manifests.contains_key(&alias) {
                let problem = format!("`{alias}` is a version of `{name}`; an alias needs a name of its own");
                return Err(LifecycleError::Conflict(problem));
            }
            let missing = || LifecycleError::NotFound(format!("model `{name}:{version}` is not in the registry"));
            let manifest = versions.manifests.get(&version).ok_or_else(missing)?;
            let (repository, tag) = (catalog::repository(&name), catalog::tag(&alias));
            let (Some(repository), Some(tag)) = (repository, tag) else { return Err(missing()) };
            store.move_tag(&repository, &tag, *manifest)?;
            control.refresh_aliases(&name)?;
            tracing::info!(model = %name, %alias, %version, "alias moved");
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// Removes an alias. What it stood for stays.
    ///
    /// # Errors
    /// [`LifecycleError::NotFound`].
    pub async fn remove_alias(&self, name: &ModelName, alias: &ModelVersion) -> Result<(), LifecycleError> {
        let (control, name, alias) = (self.clone(), name.clone(), alias.clone());
        blocking(move || {
            let store = &control.0.parts.store;
            let missing = || LifecycleError::NotFound(format!("`{name}` has no alias `{alias}`"));
            if !catalog::versions(store, &name)?.aliases.contains_key(alias.as_str()) {
                return Err(missing());
            }
            let (repository, tag) = (catalog::repository(&name), catalog::tag(&alias));
            let (Some(repository), Some(tag)) = (repository, tag) else { return Err(missing()) };
            store.delete_tag(&repository, &tag)?;
            control.refresh_aliases(&name)?;
            tracing::info!(model = %name, %alias, "alias removed");
            Ok(())
        })
        .await
    }

    /// Removes a version and everything that stands for it. One that is loaded, or that an alias stands for, is removed
    /// only with `force`.
    ///
    /// # Errors
    /// [`LifecycleError::NotFound`], [`LifecycleError::Conflict`] naming what uses it.
    pub async fn remove_version(
        &self,
        name: &ModelName,
        version: &ModelVersion,
        force: bool,
    ) -> Result<(), LifecycleError> {
        let (control, name, version) = (self.clone(), name.clone(), version.clone());
        blocking(move || control.remove_version_blocking(&name, &version, force)).await
    }

    fn remove_version_blocking(
        &self,
        name: &ModelName,
        version: &ModelVersion,
        force: bool,
    ) -> Result<(), LifecycleError> {
        let store = &self.0.parts.store;
        let missing = || LifecycleError::NotFound(format!("model `{name}:{version}` is not in the registry"));
        let repository = catalog::repository(name).ok_or_else(missing)?;
        let versions = catalog::versions(store, name)?;
        let manifest = versions.manifests.get(version).ok_or_else(missing)?;
        let key = (name.clone(), version.clone());
        let loaded = lock(&self.0.loaded).contains_key(&key);
        let aliases = versions.aliases.iter().filter(|(_, target)| *target == version);
        let mut uses: Vec<String> = aliases.map(|(alias, _)| format!("alias `{alias}` stands for it")).collect();
        uses.extend(loaded.then(|| "it is loaded".to_owned()));
        if !force && !uses.is_empty() {
            let problem = format!(
                "model `{name}:{version}` is in use: {}; with --force it is removed all the same",
                uses.join(", ")
            );
            return Err(LifecycleError::Conflict(problem));
        }
        // What signs it signs nothing else.
        for referrer in store.referrers(&repository, *manifest, None)? {
            store.delete_manifest(&repository, referrer.digest)?;
        }
        store.delete_manifest(&repository, *manifest)?;
        // Only now: what is loaded from here on finds no manifest any more.
        if let Some(model) = self.0.parts.table.peek(name, version) {
            self.take_out(&model);
        }
        lock(&self.0.failures).remove(&key);
        self.refresh_aliases(name)?;
        tracing::info!(model = %name, %version, "removed from the registry");
        Ok(())
    }

    /// Tells the table what the registry's aliases of `name` are.
    fn refresh_aliases(&self, name: &ModelName) -> Result<(), LifecycleError> {
        let _in_one_step = lock(&self.0.aliases);
        let aliases = catalog::versions(&self.0.parts.store, name)?.aliases;
        self.0.parts.table.set_aliases(name, aliases);
        Ok(())
    }

    /// Whether a manifest of `name` is loaded, so that it is not to be deleted under its model.
    pub fn is_loaded(&self, name: &ModelName, manifest: Sha256Digest) -> bool {
        lock(&self.0.loaded).iter().any(|((loaded, _), entry)| loaded == name && entry.manifest == manifest)
    }

    /// Holds every loaded model of the registry against the policy now in force, and unloads what it does not admit any
    /// more; which, and why.
    pub async fn apply_policy(&self) -> Vec<(String, Arc<LifecycleError>)> {
        // What was refused by another policy may be tried again at once.
        lock(&self.0.failures).clear();
        let policy = self.0.parts.policy.borrow().clone();
        let entries: Vec<(Key, Loaded)> =
            lock(&self.0.loaded).iter().map(|(key, entry)| (key.clone(), entry.clone())).collect();
        let mut denied = Vec::new();
        for (key, entry) in entries {
            let Some(model) = self.0.parts.table.peek(&key.0, &key.1) else { continue };
            let judged = match policy.clone() {
                Some(policy) => self.judge_again(&key, entry.manifest, model.device(), policy).await,
                None => Err(LifecycleError::NoPolicy),
            };
            let Err(error) = judged else { continue };
            let error = Arc::new(error);
            // If another has taken its place meanwhile, that one was judged by this policy.
            if !self.take_out(&model) {
                continue;
            }
            tracing::warn!(model = %key.0, version = %key.1, "unloaded: {}", chain(&*error));
            let failure = Failure { at: Instant::now(), manifest: entry.manifest, error: error.clone() };
            lock(&self.0.failures).insert(key.clone(), failure);
            denied.push((format!("{}:{}", key.0, key.1), error));
        }
        self.0.parts.table.forget_gone();
        denied
    }

    /// Whether `policy` admits what is loaded on `device`.
    pub(super) async fn judge_again(
        &self,
        (name, version): &Key,
        manifest: Sha256Digest,
        device: Device,
        policy: Arc<Policy>,
    ) -> Result<(), LifecycleError> {
        let (store, name, version) = (self.0.parts.store.clone(), name.clone(), version.clone());
        let region = self.0.parts.region.clone().unwrap_or_default();
        blocking(move || {
            let stored = catalog::stored(&store, &name, &version, manifest)?;
            // Over the bytes: a listing does not tell what the model states of itself.
            let evidence = open::open(&store, &stored, &policy)?.evidence().clone();
            if !evidence.allows_device(&device.to_string()) || !evidence.allows_region(&region) {
                return Err(LifecycleError::NotHere(format!(
                    "the policy does not let it run here on {device}; {evidence}"
                )));
            }
            Ok(())
        })
        .await
    }
}
