//! One version of an app, and its routes, ready to serve. Immutable: a new version is a new one of these, and a request
//! that is under way keeps the one it began with.

use std::sync::Arc;

use headland_batcher::Caller;
use headland_batcher::ModelTable;
use headland_package::{AppManifest, AppName, Limits, ModelVersion};
use headland_trust::Evidence;
use headland_wasi_nn_host::Grants;
use tokio::sync::Semaphore;

use crate::idle::RouteKey;
use crate::instance::Pre;
use crate::outbound::Outbound;
use crate::{AppStats, GuestEngine, Outcome};

/// One route, ready to serve.
pub struct AppRoute {
    pub(crate) app: Arc<App>,
    pub(crate) pre: Pre,
    pub(crate) models: Arc<ModelTable>,
    /// Instances the host may have alive.
    pub(crate) instances: Arc<Semaphore>,
    /// Held so that the epoch ticks for as long as a guest can run.
    pub(crate) engine: GuestEngine,
    /// Under which its instances wait for their next request, if they may answer several.
    pub(crate) reuse: Option<RouteKey>,
    pub(crate) summary: RouteSummary,
}

/// What all routes of one version of an app share.
pub(crate) struct App {
    pub name: Arc<str>,
    pub limits: Limits,
    pub env: Vec<(String, String)>,
    pub grants: Arc<Grants>,
    pub outbound: Arc<Outbound>,
    /// Shared with the versions before and after: counters go on, and the limit of instances holds over all of them.
    pub stats: Arc<AppStats>,
    pub manifest: AppManifest,
    pub version: Option<ModelVersion>,
    pub evidence: Evidence,
}

/// An app as the admin plane shows it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct AppSummary {
    /// Its name.
    pub name: AppName,
    /// Its version, if it has one.
    pub version: Option<ModelVersion>,
    /// Why it was let in: the rule and the signer, or that the operator named it.
    pub admitted: String,
    /// Its routes.
    pub routes: Vec<RouteSummary>,
    /// Models it may use.
    pub models: Vec<String>,
    /// Origins it may reach.
    pub outbound: Vec<String>,
    /// Linear memory of an instance, in bytes.
    pub memory_bytes_max: u64,
    /// Time a request may take.
    pub deadline_ms: u64,
    /// Request body, in bytes.
    pub body_bytes_max: u64,
    /// Instances alive at a time.
    pub instances_max: u32,
    /// Requests answered so far, by every version.
    pub requests: u64,
}

/// A route as the admin plane shows it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct RouteSummary {
    /// Host, if the route names one.
    pub host: Option<String>,
    /// Path prefix.
    pub path: String,
    /// Share among routes of equal host and path.
    pub weight: u32,
    /// Whether an instance may answer several requests, one after the other.
    pub reuse: bool,
    /// Component, as the manifest names it.
    pub component: String,
    /// The component's digest.
    pub digest: String,
}

impl AppRoute {
    /// The app's name.
    pub fn app(&self) -> &Arc<str> {
        &self.app.name
    }
}

impl App {
    pub fn new(manifest: AppManifest, version: Option<ModelVersion>, evidence: Evidence, stats: Arc<AppStats>) -> Self {
        let name: Arc<str> = manifest.name.as_str().into();
        App {
            limits: manifest.limits,
            env: manifest.env.clone().into_iter().collect(),
            grants: Arc::new(Grants {
                app: manifest.name.clone(),
                models: manifest.models.clone(),
                caller: Caller { name: name.clone(), weight: manifest.model_weight },
            }),
            outbound: Arc::new(Outbound { app: name.clone(), allow: manifest.outbound.clone() }),
            stats,
            name,
            manifest,
            version,
            evidence,
        }
    }

    pub fn summary<'a>(&self, routes: impl Iterator<Item = &'a Arc<AppRoute>>) -> AppSummary {
        let own = routes.filter(|route| route.app.name == self.name);
        AppSummary {
            name: self.manifest.name.clone(),
            version: self.version.clone(),
            admitted: self.evidence.to_string(),
            routes: own.map(|route| route.summary.clone()).collect(),
            models: self.manifest.models.iter().map(ToString::to_string).collect(),
            outbound: self.manifest.outbound.clone(),
            memory_bytes_max: self.limits.memory.0,
            deadline_ms: self.limits.deadline_ms,
            body_bytes_max: self.limits.body.0,
            instances_max: self.limits.instances,
            requests: Outcome::ALL.iter().map(|outcome| self.stats.requests(*outcome)).sum(),
        }
    }
}
