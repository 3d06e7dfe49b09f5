//! What apps there are: in the registry, deployed, or deployed and not admitted, each with the reason.

use std::collections::{BTreeMap, BTreeSet};

use headland_package::{AppName, ModelVersion};
use serde::Serialize;

use super::{AppControl, catalog};
use crate::LifecycleError;
use crate::blocking::{blocking, lock};
use headland_trust::chain;

/// An app.
#[derive(Clone, Debug, Serialize)]
pub struct AppEntry {
    /// Its name.
    pub name: AppName,
    /// Whether it serves.
    pub state: AppState,
    /// The version that serves, or should.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<ModelVersion>,
    /// Why it does not serve, though it was deployed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its versions in the registry, and those that were deployed.
    pub versions: Vec<AppVersion>,
}

/// Whether an app serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AppState {
    /// It does.
    Ready,
    /// It was deployed, and does not serve.
    Unavailable,
    /// It is in the registry, and not deployed.
    NotDeployed,
}

/// A version of an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AppVersion {
    /// The version.
    pub version: ModelVersion,
    /// Digest of its manifest.
    pub manifest: String,
    /// Whether it is what serves, or should.
    pub deployed: bool,
    /// Whether it is what a rollback would go to.
    pub previous: bool,
}

impl AppControl {
    /// Every app, by name: of the registry, of the record, or named when the gateway started.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn index(&self) -> Result<Vec<AppEntry>, LifecycleError> {
        let control = self.clone();
        blocking(move || {
            let mut names: BTreeSet<AppName> = catalog::names(&control.0.parts.store)?.into_iter().collect();
            names.extend(control.0.parts.apps.list().into_iter().map(|app| app.name));
            names.extend(lock(&control.0.standing).record.deployed().map(|(name, _)| name.clone()));
            names.into_iter().map(|name| control.entry(name)).collect()
        })
        .await
    }

    /// The versions of `name`, by number; none of an app that nobody knows.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn versions(&self, name: &AppName) -> Result<Vec<AppVersion>, LifecycleError> {
        let (control, name) = (self.clone(), name.clone());
        blocking(move || control.versions_blocking(&name)).await
    }

    fn entry(&self, name: AppName) -> Result<AppEntry, LifecycleError> {
        let versions = self.versions_blocking(&name)?;
        let summary = self.0.parts.apps.get(&name);
        let standing = lock(&self.0.standing);
        let recorded = standing.record.current(&name).map(|current| current.version.clone());
        let state = match (&summary, &recorded) {
            (Some(_), _) => AppState::Ready,
            (None, Some(_)) => AppState::Unavailable,
            (None, None) => AppState::NotDeployed,
        };
        let reason = standing.reasons.get(&name).map(|error| chain(&**error));
        let version = summary.map_or(recorded, |summary| summary.version);
        Ok(AppEntry { state, version, reason, versions, name })
    }

    fn versions_blocking(&self, name: &AppName) -> Result<Vec<AppVersion>, LifecycleError> {
        let tagged = catalog::versions(&self.0.parts.store, name)?;
        let standing = lock(&self.0.standing);
        let (current, previous) = (standing.record.current(name), standing.record.previous(name));
        // A deployed manifest may have lost its tag.
        let deployed = current.into_iter().chain(previous).map(|it| ((it.version.clone(), it.manifest), ()));
        let all: BTreeMap<_, ()> = tagged.into_iter().map(|version| (version, ())).chain(deployed).collect();
        let version = |((version, manifest), ())| AppVersion {
            deployed: current.is_some_and(|it| it.version == version && it.manifest == manifest),
            previous: previous.is_some_and(|it| it.version == version && it.manifest == manifest),
            manifest: manifest.to_string(),
            version,
        };
        Ok(all.into_iter().map(version).collect())
    }
}
