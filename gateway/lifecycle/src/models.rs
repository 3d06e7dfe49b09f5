//! Models while the gateway runs: loaded when they are asked for, replaced without a gap, put out when memory is short or
//! the policy changes its mind.
//!
//! [`ModelControl`] is driven by the admin plane and, as [`OnDemand`], by the model table. A load is one task, however many
//! wait for it: `catalog` finds the version, `open` verifies it, `budget` makes room, `build` makes a model of it.

pub mod budget;
pub mod build;
pub mod catalog;
mod change;
pub mod contest;
pub mod generation;
mod index;
mod load;
mod open;
mod settle;

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use headland_batcher::{Model, ModelTable, NotLoaded, OnDemand, Unavailable};
use headland_nn_core::Device;
use headland_package::{ModelName, ModelRef, ModelSelector, ModelVersion, Sha256Digest};
use headland_registry::store::Store;
use tokio::sync::Semaphore;

use crate::blocking::{blocking, lock};
use crate::models::budget::{Budget, Reservation};
use crate::models::build::Backends;
use crate::models::build::ServeOptions;
use crate::models::catalog::Stored;
use crate::{LifecycleError, PolicyWatch};
use headland_trust::chain;

pub use index::{IndexEntry, ModelState, Progress, StoredDetails, StoredFile};
pub use open::{cache_bytes, judge};

/// Loads at one time: each hashes and reads as fast as the machine can.
pub const LOADS_AT_ONCE_MAX: usize = 2;
/// Loads that may wait or run.
pub const LOADS_MAX: usize = 64;
/// Look-ups in the registry at one time, for models that are asked for and not loaded.
pub const LOOKUPS_AT_ONCE_MAX: usize = 16;
/// How long a load that failed is not tried again for whoever merely asks for the model.
pub const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Failures that are remembered.
pub const FAILURES_MAX: usize = 1_000;

type Key = (ModelName, ModelVersion);
type Outcome = Result<Arc<Model>, Arc<LifecycleError>>;
type Load = Shared<BoxFuture<'static, Outcome>>;

/// What [`ModelControl`] works with.
pub struct ModelParts {
    /// Where pushed models are.
    pub store: Store,
    /// Whose signatures count.
    pub policy: PolicyWatch,
    /// Where loaded models go.
    pub table: Arc<ModelTable>,
    /// What runs them.
    pub backends: Arc<dyn Backends>,
    /// The memory they share.
    pub budget: Arc<Budget>,
    /// Where this gateway stands, for policies that name regions.
    pub region: Option<String>,
}

/// Loads, replaces and unloads the registry's models. Cheap to clone.
#[derive(Clone)]
pub struct ModelControl(Arc<Inner>);

struct Inner {
    parts: ModelParts,
    loads: Mutex<HashMap<Key, Load>>,
    running: Semaphore,
    lookups: Arc<Semaphore>,
    /// Held from reading a model's aliases in the registry to telling the table, so that the last word is the latest.
    aliases: Mutex<()>,
    /// What this loaded and the table still has.
    loaded: Mutex<BTreeMap<Key, Loaded>>,
    /// Why what is not loaded is not.
    failures: Mutex<HashMap<Key, Failure>>,
}

/// A model that came out of the registry.
#[derive(Clone)]
struct Loaded {
    manifest: Sha256Digest,
    /// Whether its version or an alias of it was asked for: it then stays when another version is loaded.
    exact: bool,
    /// What it takes, for as long as it takes it.
    memory: Weak<Reservation>,
}

#[derive(Clone)]
struct Failure {
    at: Instant,
    manifest: Sha256Digest,
    error: Arc<LifecycleError>,
}

impl ModelControl {
    /// A control over these parts; nothing is loaded yet.
    pub fn new(parts: ModelParts) -> Self {
        ModelControl(Arc::new(Inner {
            parts,
            loads: Mutex::default(),
            running: Semaphore::new(LOADS_AT_ONCE_MAX),
            lookups: Arc::new(Semaphore::new(LOOKUPS_AT_ONCE_MAX)),
            aliases: Mutex::default(),
            loaded: Mutex::default(),
            failures: Mutex::default(),
        }))
    }

    /// The memory that models share.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.0.parts.budget
    }

    /// Loads `asked` out of the registry, or joins a load of it that is under way; the model, once it is in the table. A
    /// bare name means the version `stable`, or else the highest; other versions that were loaded by bare name go when it
    /// is there.
    ///
    /// # Errors
    /// Every [`LifecycleError`].
    pub async fn load(&self, asked: &ModelRef) -> Outcome {
        self.load_on(asked, None).await
    }

    /// The same, on a device that somebody else than the package chose. A model that is loaded already stays where it is.
    ///
    /// # Errors
    /// Every [`LifecycleError`].
    pub async fn load_on(&self, asked: &ModelRef, device: Option<Device>) -> Outcome {
        let stored = self.find(asked).await?.ok_or_else(|| {
            LifecycleError::NotFound(format!(
                "model `{asked}` is not in the registry; push it with `headland model push`"
            ))
        })?;
        let exact = asked.selector != ModelSelector::Latest;
        let model = self.load_stored(stored, exact, device)?.await?;
        // Another load may have overtaken this one.
        let meant = if exact { None } else { self.find(asked).await? };
        if meant.is_some_and(|meant| meant.version == model.info().version) {
            self.unload_older(&model);
        }
        Ok(model)
    }

    /// What the registry has for `asked`.
    async fn find(&self, asked: &ModelRef) -> Result<Option<Stored>, LifecycleError> {
        let (inner, asked) = (self.0.clone(), asked.clone());
        let permit = self.0.lookups.clone().acquire_owned().await;
        blocking(move || {
            // Given back when the look-up is done, even if nobody waits for it any more.
            let _permit = permit;
            let store = &inner.parts.store;
            let versions = {
                let _in_one_step = lock(&inner.aliases);
                let versions = catalog::versions(store, &asked.name)?;
                inner.parts.table.set_aliases(&asked.name, versions.aliases.clone());
                versions
            };
            if let ModelSelector::Digest(digest) = &asked.selector {
                for (version, manifest) in &versions.manifests {
                    let stored = catalog::stored(store, &asked.name, version, *manifest)?;
                    if stored.digest() == *digest {
                        return Ok(Some(stored));
                    }
                }
            }
            let Some(version) = versions.select(&asked.selector) else { return Ok(None) };
            let Some(manifest) = versions.manifests.get(&version) else { return Ok(None) };
            catalog::stored(store, &asked.name, &version, *manifest).map(Some)
        })
        .await
    }

    /// The load of `stored`: the one under way, or a new one, which runs whether or not anybody waits for it.
    fn load_stored(&self, stored: Stored, exact: bool, device: Option<Device>) -> Result<Load, Arc<LifecycleError>> {
        let key = (stored.name.clone(), stored.version.clone());
        let mut loads = lock(&self.0.loads);
        if let Some(load) = loads.get(&key) {
            return Ok(load.clone());
        }
        // Published before its load was forgotten: whoever looked it up meanwhile finds it here.
        if let Some(model) = self.already_loaded(&stored, exact) {
            return Ok(futures_util::future::ready(Ok(model)).boxed().shared());
        }
        self.refuse_to_replace_a_folder(&lock(&self.0.loaded), &key).map_err(Arc::new)?;
        if loads.len() >= LOADS_MAX {
            return Err(Arc::new(LifecycleError::Busy(LOADS_MAX)));
        }
        let (control, manifest) = (self.clone(), stored.manifest);
        let task = tokio::spawn({
            let key = key.clone();
            async move {
                // Even if it panics: the next one who asks then begins anew.
                let _forgotten_at_the_end = Forget { control: control.clone(), key: key.clone() };
                let outcome = control.run_load(stored, exact, device).await.map_err(Arc::new);
                control.note(&key, manifest, &outcome);
                outcome
            }
        });
        let gone = |_| Arc::new(LifecycleError::Broken("the load was interrupted; the log has the cause".to_owned()));
        let load = async move { task.await.unwrap_or_else(|error| Err(gone(error))) }.boxed().shared();
        loads.insert(key, load.clone());
        Ok(load)
    }

    /// The model of `stored`, if it is in the table.
    fn already_loaded(&self, stored: &Stored, exact: bool) -> Option<Arc<Model>> {
        let mut loaded = lock(&self.0.loaded);
        let entry = loaded.get_mut(&(stored.name.clone(), stored.version.clone()))?;
        if entry.manifest != stored.manifest {
            return None;
        }
        entry.exact |= exact;
        let selector = ModelSelector::Version(stored.version.clone());
        self.0.parts.table.get(&ModelRef { name: stored.name.clone(), selector }).ok()
    }

    fn note(&self, key: &Key, manifest: Sha256Digest, outcome: &Outcome) {
        let mut failures = lock(&self.0.failures);
        match outcome {
            Ok(_) => drop(failures.remove(key)),
            Err(error) => {
                tracing::error!(model = %key.0, version = %key.1, "the model is not loaded: {}", chain(error));
                if failures.len() >= FAILURES_MAX {
                    failures.clear();
                }
                failures.insert(key.clone(), Failure { at: Instant::now(), manifest, error: error.clone() });
            }
        }
    }

    /// The failure of an earlier try that is too recent for another one.
    fn recent_failure(&self, stored: &Stored) -> Option<Arc<LifecycleError>> {
        let failures = lock(&self.0.failures);
        let failure = failures.get(&(stored.name.clone(), stored.version.clone()))?;
        let retry_after = match &*failure.error {
            LifecycleError::NoMemory { .. } => budget::IDLE_MIN,
            _ => RETRY_AFTER,
        };
        let holds = failure.manifest == stored.manifest && failure.at.elapsed() < retry_after;
        holds.then(|| failure.error.clone())
    }

    async fn on_demand(&self, asked: ModelRef, not_loaded: NotLoaded) -> Result<Arc<Model>, Unavailable> {
        let unavailable = |error: &LifecycleError| match error {
            LifecycleError::NotFound(_) | LifecycleError::Conflict(_) => Unavailable::NotLoaded(not_loaded.clone()),
            LifecycleError::Denied(_) | LifecycleError::NoPolicy | LifecycleError::NotHere(_) => {
                Unavailable::Denied(asked.clone())
            }
            LifecycleError::NoMemory { .. } => Unavailable::NoMemory(asked.clone()),
            LifecycleError::Busy(_) => Unavailable::Busy(asked.clone()),
            LifecycleError::Broken(_) | LifecycleError::Store(_) => Unavailable::Broken(asked.clone()),
        };
        let stored = self.find(&asked).await.map_err(|error| unavailable(&error))?;
        let Some(stored) = stored else { return Err(not_loaded.into()) };
        if let Some(error) = self.recent_failure(&stored) {
            return Err(unavailable(&error));
        }
        let exact = asked.selector != ModelSelector::Latest;
        let load = self.load_stored(stored, exact, None).map_err(|error| unavailable(&error))?;
        load.await.map_err(|error| unavailable(&error))
    }
}

/// Takes a load off the list of those that run when it ends, however it ends.
struct Forget {
    control: ModelControl,
    key: Key,
}

impl Drop for Forget {
    fn drop(&mut self) {
        lock(&self.control.0.loads).remove(&self.key);
    }
}

impl OnDemand for ModelControl {
    fn load(
        &self,
        asked: ModelRef,
        not_loaded: NotLoaded,
    ) -> Pin<Box<dyn Future<Output = Result<Arc<Model>, Unavailable>> + Send>> {
        let control = self.clone();
        Box::pin(async move { control.on_demand(asked, not_loaded).await })
    }

    fn digest(
        &self,
        name: &ModelName,
        version: &ModelVersion,
        device: Device,
    ) -> Pin<Box<dyn Future<Output = Option<Sha256Digest>> + Send>> {
        let (control, selector) = (self.clone(), ModelSelector::Version(version.clone()));
        let asked = ModelRef { name: name.clone(), selector };
        Box::pin(async move {
            let stored = control.find(&asked).await.ok().flatten()?;
            let policy = control.0.parts.policy.borrow().clone()?;
            let judged = blocking(move || open::judge(&stored, &policy).map(|judgement| (judgement, stored.digest())));
            let (judgement, digest) = judged.await.ok()?;
            let region = control.0.parts.region.as_deref().unwrap_or_default();
            (judgement.allows_region(region) && judgement.allows_device(&device.to_string())).then_some(digest)
        })
    }
}

#[cfg(test)]
mod tests;
