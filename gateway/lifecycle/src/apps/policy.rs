//! What a change of the policy does to apps: those it does not admit any more go at once, those it admits again come back.

use std::sync::Arc;

use headland_package::AppName;

use super::record::Deployment;
use super::{AppControl, AppFailures, catalog, open};
use crate::LifecycleError;
use crate::blocking::{blocking, lock};

impl AppControl {
    /// Holds every deployed app against the policy now in force. Those it does not admit any more stop serving, and are
    /// what comes back, each with the reason; they stay recorded, and are deployed again when a later policy admits them.
    pub async fn apply_policy(&self) -> AppFailures {
        let control = self.clone();
        let removed = blocking(move || Ok(control.remove_denied())).await.unwrap_or_else(|error| {
            tracing::error!("the apps could not be held against the policy: {error}");
            Vec::new()
        });
        self.restore().await;
        removed
    }

    fn remove_denied(&self) -> AppFailures {
        let live: Vec<(AppName, Deployment)> = {
            let standing = lock(&self.0.standing);
            let all = standing.record.deployed().filter(|(name, _)| standing.live.contains(*name));
            all.map(|(name, deployment)| (name.clone(), deployment.clone())).collect()
        };
        let denied = live.into_iter().filter_map(|(name, deployment)| {
            let error = Arc::new(self.judge_again(&name, &deployment).err()?);
            self.stop(&name, &deployment, error)
        });
        denied.collect()
    }

    fn judge_again(&self, name: &AppName, deployment: &Deployment) -> Result<(), LifecycleError> {
        let parts = &self.0.parts;
        let policy = parts.policy.borrow().clone().ok_or(LifecycleError::NoPolicy)?;
        let stored = catalog::stored(&parts.store, name, &deployment.version, deployment.manifest)?;
        open::judge(&stored, &policy, parts.region.as_deref()).map(drop)
    }

    /// Stops an app, unless something else was deployed in its place meanwhile: that was judged by the policy in force.
    fn stop(
        &self,
        name: &AppName,
        deployment: &Deployment,
        error: Arc<LifecycleError>,
    ) -> Option<(String, Arc<LifecycleError>)> {
        let mut standing = lock(&self.0.standing);
        if standing.record.current(name) != Some(deployment) || !standing.live.remove(name) {
            return None;
        }
        self.0.parts.apps.remove(name);
        standing.reasons.insert(name.clone(), error.clone());
        tracing::warn!(app = %name, version = %deployment.version, "app stopped: {error}");
        Some((format!("{name}:{}", deployment.version), error))
    }
}
