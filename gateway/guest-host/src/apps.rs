//! The table of deployed apps: which route a request takes, and the one step in which that changes.
//!
//! [`Apps::prepare`] makes an app ready (`prepare.rs`), [`Apps::put`] makes it visible. Requests under way finish on the
//! version they began with.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, Weak};

use headland_batcher::ModelTable;
use headland_package::AppName;
use tokio::sync::Semaphore;
use wasmtime::component::Linker;

use crate::app::{App, AppRoute, AppSummary};
use crate::cache::Cache;
use crate::prepare::Prepared;
use crate::routing::{self, Pattern};
use crate::state::{GuestState, add_to_linker};
use crate::{AppStats, GuestEngine};

/// The deployed apps, and what it takes to deploy one.
pub struct Apps {
    pub(crate) engine: GuestEngine,
    pub(crate) linker: Linker<GuestState>,
    pub(crate) models: Arc<ModelTable>,
    pub(crate) cache: Cache,
    /// Instances the host may have alive.
    pub(crate) instances: Arc<Semaphore>,
    /// Held for as long as it takes to look a route up, or to swap one table for the next.
    table: RwLock<Table>,
    /// The counters of every app that is deployed, being deployed, or still answering.
    stats: Mutex<BTreeMap<AppName, Weak<AppStats>>>,
    requests: AtomicU64,
    /// Routes made so far, for telling their waiting instances apart.
    pub(crate) routes: AtomicU64,
}

#[derive(Default)]
struct Table {
    routes: Vec<(Pattern, Arc<AppRoute>)>,
    apps: BTreeMap<AppName, Arc<App>>,
}

/// An app that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// A component is none.
    #[error("app `{app}`: component {component}")]
    Component {
        /// The app.
        app: AppName,
        /// Its component.
        component: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A route names a component that did not come along.
    #[error("app `{app}`: its manifest names component {component}, which is not among its files")]
    Missing {
        /// The app.
        app: AppName,
        /// The component.
        component: String,
    },
    /// The component is fine but needs something that is not offered.
    #[error("app `{app}`: {component} cannot be linked: {problem}")]
    Link {
        /// The app.
        app: AppName,
        /// Its component.
        component: String,
        /// Which import or export is missing.
        problem: String,
    },
    /// The component links but its instance does not start.
    #[error("app `{app}`: {component} does not start: {problem}")]
    Start {
        /// The app.
        app: AppName,
        /// Its component.
        component: String,
        /// What stopped it.
        problem: String,
    },
    /// Two apps claim one host and path.
    #[error("{0}")]
    Conflict(String),
    /// The host could not make its linker, or may not use its cache.
    #[error("the guest host cannot start: {0}")]
    Host(String),
}

impl Apps {
    /// No apps yet. What they compile to is kept in `cache_dir`.
    ///
    /// # Errors
    /// [`DeployError::Host`].
    pub fn new(engine: &GuestEngine, models: &Arc<ModelTable>, cache_dir: &Path) -> Result<Self, DeployError> {
        let mut linker = Linker::new(engine.engine());
        add_to_linker(&mut linker).map_err(|error| DeployError::Host(format!("{error:#}")))?;
        Ok(Apps {
            engine: engine.clone(),
            linker,
            models: models.clone(),
            cache: Cache::open(cache_dir).map_err(|error| DeployError::Host(error.to_string()))?,
            instances: Arc::new(Semaphore::new(engine.options().instances_max as usize)),
            table: RwLock::default(),
            stats: Mutex::default(),
            requests: AtomicU64::new(0),
            routes: AtomicU64::new(0),
        })
    }

    /// Lets an app serve, in one step, in place of the app of its name, which is returned as it was.
    ///
    /// # Errors
    /// [`DeployError::Conflict`] with an app of another name; nothing has changed then.
    pub fn put(&self, prepared: Prepared) -> Result<Option<AppSummary>, DeployError> {
        let Prepared { app, routes } = prepared;
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.check(&app, &routes)?;
        let mut next = table.without(&app.manifest.name);
        next.routes.extend(routes);
        next.apps.insert(app.manifest.name.clone(), app.clone());
        let before = std::mem::replace(&mut *table, next);
        // What only the old table held goes after the lock.
        drop(table);
        Ok(before.summary(&app.manifest.name))
    }

    /// Takes an app out; what it was, or `None` if there was none.
    pub fn remove(&self, name: &AppName) -> Option<AppSummary> {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let next = table.without(name);
        let before = std::mem::replace(&mut *table, next);
        drop(table);
        before.summary(name)
    }

    /// The route for a request: by host, then by longest path prefix, then by weight.
    pub fn route(&self, host: Option<&str>, path: &str) -> Option<Arc<AppRoute>> {
        let dice = routing::scatter(self.requests.fetch_add(1, Relaxed));
        let table = self.read();
        let index = routing::choose(table.routes.iter().map(|(pattern, _)| pattern), host, path, dice)?;
        table.routes.get(index).map(|(_, route)| route.clone())
    }

    /// Every app, by name, as the admin plane shows it.
    pub fn list(&self) -> Vec<AppSummary> {
        let table = self.read();
        table.apps.keys().filter_map(|name| table.summary(name)).collect()
    }

    /// One app, as the admin plane shows it.
    pub fn get(&self, name: &AppName) -> Option<AppSummary> {
        self.read().summary(name)
    }

    /// Every app's name and counters.
    pub fn stats(&self) -> Vec<(Arc<str>, Arc<AppStats>)> {
        self.read().apps.values().map(|app| (app.name.clone(), app.stats.clone())).collect()
    }

    /// The counters of an app: those it has, if any version of it is deployed or still answering.
    pub(crate) fn stats_of(&self, name: &AppName) -> Arc<AppStats> {
        let mut all = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stats) = all.get(name).and_then(Weak::upgrade) {
            return stats;
        }
        all.retain(|_, stats| stats.strong_count() > 0);
        let stats = Arc::new(AppStats::default());
        all.insert(name.clone(), Arc::downgrade(&stats));
        stats
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Routes of equal host and path share requests by weight, which only an app itself may decide.
    fn check(&self, app: &App, routes: &[(Pattern, Arc<AppRoute>)]) -> Result<(), DeployError> {
        for (pattern, _) in routes {
            let clash = self.routes.iter().find(|(other, owner)| {
                other.host == pattern.host && other.path == pattern.path && owner.app.name != app.name
            });
            if let Some((_, owner)) = clash {
                return Err(DeployError::Conflict(format!(
                    "apps `{}` and `{}` both claim path `{}` of host `{}`",
                    owner.app.name,
                    app.name,
                    pattern.path,
                    pattern.host.as_deref().unwrap_or("any")
                )));
            }
        }
        Ok(())
    }

    fn without(&self, name: &AppName) -> Table {
        let others = self.routes.iter().filter(|(_, route)| route.app.manifest.name != *name);
        let mut apps = self.apps.clone();
        apps.remove(name);
        Table { routes: others.cloned().collect(), apps }
    }

    fn summary(&self, name: &AppName) -> Option<AppSummary> {
        let app = self.apps.get(name)?;
        Some(app.summary(self.routes.iter().map(|(_, route)| route)))
    }
}
