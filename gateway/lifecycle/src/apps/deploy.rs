//! One deployment, from the registry to the table that serves, and the way back out.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use headland_guest_host::{AppSummary, DeployError, Prepared};
use headland_package::{AppName, ModelVersion};
use headland_trust::Policy;

use super::catalog::{self, Stored};
use super::record::{Deployment, Record};
use super::{AppControl, open};
use crate::LifecycleError;
use crate::blocking::{blocking, lock};
use headland_trust::chain;

/// What the record says once the app serves.
enum Change {
    /// This was deployed.
    Deployed(Deployment),
    /// The last deployment never was.
    RolledBack,
    /// As before.
    Restored,
}

impl AppControl {
    pub(super) async fn deploy_version(
        self,
        name: AppName,
        version: ModelVersion,
    ) -> Result<AppSummary, LifecycleError> {
        let control = self.clone();
        let stored = blocking(move || {
            let store = &control.0.parts.store;
            let missing = || {
                LifecycleError::NotFound(format!(
                    "app `{name}:{version}` is not in the registry; push it with `headland app push`"
                ))
            };
            let manifest = *catalog::versions(store, &name)?.get(&version).ok_or_else(missing)?;
            catalog::stored(store, &name, &version, manifest)
        })
        .await?;
        let deployed_unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let deployment = Deployment { version: stored.version.clone(), manifest: stored.manifest, deployed_unix_s };
        self.install(stored, Change::Deployed(deployment)).await
    }

    pub(super) async fn deploy_previous(self, name: AppName) -> Result<AppSummary, LifecycleError> {
        let (current, previous) = {
            let standing = lock(&self.0.standing);
            (standing.record.current(&name).cloned(), standing.record.previous(&name).cloned())
        };
        let current = current.ok_or_else(|| self.not_deployed(&name))?;
        let previous = previous.ok_or_else(|| {
            let only = &current.version;
            LifecycleError::Conflict(format!(
                "nothing was deployed before `{name}:{only}`, so there is nothing to go back to"
            ))
        })?;
        let stored = self.stored(name, previous).await?;
        self.install(stored, Change::RolledBack).await
    }

    pub(super) async fn deploy_again(self, name: AppName) -> Result<AppSummary, LifecycleError> {
        let current = lock(&self.0.standing).record.current(&name).cloned();
        let current = current.ok_or_else(|| self.not_deployed(&name))?;
        let stored = self.stored(name, current).await?;
        self.install(stored, Change::Restored).await
    }

    async fn stored(&self, name: AppName, deployment: Deployment) -> Result<Stored, LifecycleError> {
        let control = self.clone();
        blocking(move || {
            let Deployment { version, manifest, .. } = deployment;
            catalog::stored(&control.0.parts.store, &name, &version, manifest)
        })
        .await
    }

    async fn install(self, stored: Stored, change: Change) -> Result<AppSummary, LifecycleError> {
        let inner = self.0.clone();
        let Ok(_permit) = inner.running.acquire().await else { return Err(LifecycleError::Busy(0)) };
        let policy = inner.parts.policy.borrow().clone().ok_or(LifecycleError::NoPolicy)?;
        let (control, judged_by) = (self.clone(), policy.clone());
        let (stored, prepared) = blocking(move || {
            let parts = &control.0.parts;
            let source = open::open(&parts.store, &stored, &policy, parts.region.as_deref())?;
            let prepared = parts.apps.prepare(source).map_err(undeployable)?;
            Ok((stored, prepared))
        })
        .await?;
        prepared.warm_up().await.map_err(undeployable)?;
        blocking(move || self.publish(&stored, prepared, &judged_by, change)).await
    }

    /// Lets the app serve and records it, unless the policy has changed its mind since it was verified.
    fn publish(
        &self,
        stored: &Stored,
        prepared: Prepared,
        judged_by: &Arc<Policy>,
        change: Change,
    ) -> Result<AppSummary, LifecycleError> {
        let (parts, name) = (&self.0.parts, &stored.name);
        // Held until all is done, so that a policy that changes meanwhile finds the app among those that serve.
        let mut standing = lock(&self.0.standing);
        let in_force = parts.policy.borrow().clone().ok_or(LifecycleError::NoPolicy)?;
        if !Arc::ptr_eq(&in_force, judged_by) {
            open::judge(stored, &in_force, parts.region.as_deref())?;
        }
        if !standing.live.contains(name) && parts.apps.get(name).is_some() {
            return Err(named_at_start(name));
        }
        let next = match change {
            Change::Deployed(deployment) => standing.record.with(name, deployment),
            Change::RolledBack => standing.record.rolled_back(name),
            Change::Restored => standing.record.clone(),
        };
        // The record first: what serves is always what a restart would bring back.
        if next != standing.record {
            self.write(&next)?;
        }
        if let Err(error) = parts.apps.put(prepared) {
            if next != standing.record
                && let Err(error) = self.write(&standing.record)
            {
                tracing::error!(app = %name, "the record of apps is ahead of what is deployed: {error}");
            }
            return Err(undeployable(error));
        }
        standing.record = next;
        standing.live.insert(name.clone());
        standing.reasons.remove(name);
        let summary = parts.apps.get(name).ok_or_else(|| self.not_deployed(name))?;
        tracing::info!(app = %name, version = %stored.version, manifest = %stored.manifest, "app deployed; {}", summary.admitted);
        Ok(summary)
    }

    /// Takes an app out and forgets it.
    pub(super) fn take_out(&self, name: &AppName) -> Result<(), LifecycleError> {
        let mut standing = lock(&self.0.standing);
        if standing.record.current(name).is_none() {
            return Err(self.not_deployed(name));
        }
        let next = standing.record.without(name);
        self.write(&next)?;
        standing.record = next;
        standing.reasons.remove(name);
        if standing.live.remove(name) {
            self.0.parts.apps.remove(name);
        }
        tracing::info!(app = %name, "app removed");
        Ok(())
    }

    fn write(&self, record: &Record) -> Result<(), LifecycleError> {
        record.write(&self.0.parts.record).map_err(|error| LifecycleError::Broken(chain(&error)))
    }

    pub(super) fn not_deployed(&self, name: &AppName) -> LifecycleError {
        match self.0.parts.apps.get(name) {
            Some(_) => named_at_start(name),
            None => {
                LifecycleError::NotFound(format!("app `{name}` is not deployed; deploy it with `headland app deploy`"))
            }
        }
    }
}

fn named_at_start(name: &AppName) -> LifecycleError {
    LifecycleError::Conflict(format!("app `{name}` was named when the gateway started, and stays while it runs"))
}

fn undeployable(error: DeployError) -> LifecycleError {
    match error {
        DeployError::Conflict(problem) => LifecycleError::Conflict(problem),
        error => LifecycleError::Broken(chain(&error)),
    }
}
