//! Apps while the gateway runs: deployed out of the registry, rolled back, removed, and put out when the policy changes its
//! mind.
//!
//! [`AppControl`] is driven by the admin plane. `catalog` finds a version, `open` verifies it, `deploy` takes it to the
//! guest host's table, `record` remembers on disk what was deployed, so that a restart deploys it again. What is deployed is
//! the operator's word and stays so; whether it may serve is the policy's.

pub mod catalog;
mod deploy;
mod index;
mod open;
mod policy;
pub mod record;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use headland_guest_host::{AppSummary, Apps};
use headland_package::{AppName, ModelVersion, Sha256Digest};
use headland_registry::store::Store;
use tokio::sync::Semaphore;

use crate::blocking::{blocking, lock};
use crate::{LifecycleError, PolicyWatch};
use headland_trust::chain;
use record::{Deployment, Record};

pub use index::{AppEntry, AppState, AppVersion};

/// Changes of apps that may wait or run.
pub const CHANGES_MAX: usize = 32;
/// Apps that are verified and compiled at one time: each compiles as fast as the machine can.
pub const DEPLOYS_AT_ONCE_MAX: usize = 2;

/// What [`AppControl`] works with.
pub struct AppParts {
    /// Where pushed apps are.
    pub store: Store,
    /// Whose signatures count.
    pub policy: PolicyWatch,
    /// Where deployed apps go.
    pub apps: Arc<Apps>,
    /// The file that remembers what was deployed.
    pub record: PathBuf,
    /// Where this gateway stands, for policies that name regions.
    pub region: Option<String>,
}

/// Deploys, rolls back and removes the registry's apps. Cheap to clone.
#[derive(Clone)]
pub struct AppControl(Arc<Inner>);

struct Inner {
    parts: AppParts,
    changes: Arc<Semaphore>,
    running: Semaphore,
    /// Whose turn it is to change an app: one at a time, in the order they came.
    turns: Mutex<HashMap<AppName, Arc<tokio::sync::Mutex<()>>>>,
    standing: Mutex<Standing>,
}

/// What was deployed, and what came of it. Changed in one step with the table that serves.
struct Standing {
    record: Record,
    /// The recorded ones that serve.
    live: BTreeSet<AppName>,
    /// Why the others do not.
    reasons: BTreeMap<AppName, Arc<LifecycleError>>,
}

/// A failure of each app that has one: `NAME:VERSION`, and why.
pub type AppFailures = Vec<(String, Arc<LifecycleError>)>;

impl AppControl {
    /// A control over these parts, which knows what was deployed before. Nothing is served yet: see
    /// [`AppControl::restore`]. Reads a file, and so blocks.
    ///
    /// # Errors
    /// [`LifecycleError::Broken`] when the record is there and cannot be read.
    pub fn open(parts: AppParts) -> Result<Self, LifecycleError> {
        let record =
            Record::read(&parts.record).map_err(|error| LifecycleError::Broken(headland_trust::chain(&error)))?;
        Ok(AppControl(Arc::new(Inner {
            parts,
            changes: Arc::new(Semaphore::new(CHANGES_MAX)),
            running: Semaphore::new(DEPLOYS_AT_ONCE_MAX),
            turns: Mutex::default(),
            standing: Mutex::new(Standing { record, live: BTreeSet::new(), reasons: BTreeMap::new() }),
        })))
    }

    /// Verifies `name:version`, makes it ready, and lets it serve in place of what serves now. What fails changes nothing.
    /// Goes on to its end even if nobody waits for it any more.
    ///
    /// # Errors
    /// Every [`LifecycleError`] but `NoMemory`.
    pub async fn deploy(&self, name: &AppName, version: &ModelVersion) -> Result<AppSummary, LifecycleError> {
        let version = version.clone();
        self.change(name, |control, name| async move { control.deploy_version(name, version).await }).await
    }

    /// Goes back to what was deployed before the version that is deployed now, the very manifest, verified again. Once more
    /// goes back further.
    ///
    /// # Errors
    /// [`LifecycleError::Conflict`] when nothing was deployed before; and as [`AppControl::deploy`].
    pub async fn rollback(&self, name: &AppName) -> Result<AppSummary, LifecycleError> {
        self.change(name, |control, name| async move { control.deploy_previous(name).await }).await
    }

    /// Takes an app out and forgets that it was deployed. Its versions stay in the registry.
    ///
    /// # Errors
    /// [`LifecycleError::NotFound`] when it is not deployed.
    pub async fn remove(&self, name: &AppName) -> Result<(), LifecycleError> {
        self.change(name, |control, name| blocking(move || control.take_out(&name))).await
    }

    /// Deploys what was deployed when the gateway last ran, each verified again; those that cannot be, and why. The reasons
    /// are kept for [`AppControl::index`].
    pub async fn restore(&self) -> AppFailures {
        let (missing, mut failures) = (self.missing(), Vec::new());
        for (name, deployment) in missing {
            let again = self.change(&name, |control, name| async move { control.deploy_again(name).await }).await;
            if let Err(error) = again {
                let error = Arc::new(error);
                tracing::error!(app = %name, version = %deployment.version, "the app is not deployed: {error}");
                lock(&self.0.standing).reasons.insert(name.clone(), error.clone());
                failures.push((format!("{name}:{}", deployment.version), error));
            }
        }
        failures
    }

    /// What serves: the version and manifest of each app that was deployed and is live.
    pub fn deployed(&self) -> BTreeMap<AppName, (ModelVersion, Sha256Digest)> {
        let standing = lock(&self.0.standing);
        let live = standing.record.deployed().filter(|(name, _)| standing.live.contains(*name));
        live.map(|(name, it)| (name.clone(), (it.version.clone(), it.manifest))).collect()
    }

    /// What was deployed and does not serve, with its version and the reason.
    pub fn failed(&self) -> Vec<(AppName, ModelVersion, String)> {
        let standing = lock(&self.0.standing);
        let failed = standing.record.deployed().filter(|(name, _)| !standing.live.contains(*name));
        let reason = |name: &AppName| standing.reasons.get(name).map_or_else(String::new, |why| chain(&**why));
        failed.map(|(name, it)| (name.clone(), it.version.clone(), reason(name))).collect()
    }

    /// Whether a manifest of `name` is deployed, so that it is not to be deleted under its app.
    pub fn is_deployed(&self, name: &AppName, manifest: Sha256Digest) -> bool {
        lock(&self.0.standing).record.current(name).is_some_and(|current| current.manifest == manifest)
    }

    /// What was deployed and does not serve.
    fn missing(&self) -> Vec<(AppName, Deployment)> {
        let standing = lock(&self.0.standing);
        let all = standing.record.deployed();
        all.filter(|(name, _)| !standing.live.contains(*name)).map(|(name, it)| (name.clone(), it.clone())).collect()
    }

    /// Does `work` when it is the app's turn, on a task of its own, whether or not the caller still waits.
    async fn change<T, F>(
        &self,
        name: &AppName,
        work: impl FnOnce(AppControl, AppName) -> F,
    ) -> Result<T, LifecycleError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, LifecycleError>> + Send + 'static,
    {
        let Ok(permit) = self.0.changes.clone().try_acquire_owned() else {
            return Err(LifecycleError::Busy(CHANGES_MAX));
        };
        let turn = {
            let mut turns = lock(&self.0.turns);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            turns.entry(name.clone()).or_default().clone()
        };
        let work = work(self.clone(), name.clone());
        let task = tokio::spawn(async move {
            let _permit = permit;
            let _turn = turn.lock().await;
            work.await
        });
        let interrupted = |error| LifecycleError::Broken(format!("the change was interrupted: {error}"));
        task.await.unwrap_or_else(|error| Err(interrupted(error)))
    }
}

#[cfg(test)]
mod tests;
