//! The deployed apps: manifests turned into routes whose components are compiled and linked, ready to instantiate.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use headland_batcher::ModelTable;
use headland_package::{AppManifest, AppName, Limits, Sha256Digest};
use headland_wasi_nn_host::Grants;
use tokio::sync::Semaphore;
use wasmtime::component::Linker;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use crate::cache::{Cache, CacheError};
use crate::outbound::Outbound;
use crate::routing::{self, Pattern};
use crate::state::GuestState;
use crate::{AppStats, GuestEngine};

/// The deployed apps.
pub struct Apps {
    routes: Vec<(Pattern, Arc<AppRoute>)>,
    apps: Vec<Arc<App>>,
    requests: AtomicU64,
}

/// One route, ready to serve.
pub struct AppRoute {
    pub(crate) app: Arc<App>,
    pub(crate) pre: ProxyPre<GuestState>,
    pub(crate) models: Arc<ModelTable>,
    pub(crate) instances: Arc<Semaphore>,
    /// Held so that the epoch ticks for as long as a guest can run.
    _engine: GuestEngine,
    summary: RouteSummary,
}

/// What all routes of an app share.
pub(crate) struct App {
    pub name: Arc<str>,
    pub limits: Limits,
    pub env: Vec<(String, String)>,
    pub grants: Arc<Grants>,
    pub outbound: Arc<Outbound>,
    pub stats: AppStats,
    /// Instances it may have alive.
    pub instances: Arc<Semaphore>,
    manifest: AppManifest,
}

/// An app that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The cache folder or the component file is at fault.
    #[error("app `{app}`")]
    Component {
        /// The app.
        app: AppName,
        /// What is wrong with its component.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The component is fine but needs something that is not offered.
    #[error("app `{app}`: {component} cannot be linked: {problem}")]
    Link {
        /// The app.
        app: AppName,
        /// Its component.
        component: PathBuf,
        /// Which import or export is missing.
        problem: String,
    },
    /// The component links but its instance does not start.
    #[error("app `{app}`: {component} does not start: {problem}")]
    Start {
        /// The app.
        app: AppName,
        /// Its component.
        component: PathBuf,
        /// What stopped it.
        problem: String,
    },
    /// Two apps claim one name, or one host and path.
    #[error("{0}")]
    Conflict(String),
    /// The host could not make its linker.
    #[error("the guest host cannot start: {0}")]
    Host(String),
}

/// An app as the admin plane shows it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct AppSummary {
    /// Its name.
    pub name: AppName,
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
    /// Requests answered so far.
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
    /// Component file.
    pub component: PathBuf,
    /// The component's digest.
    pub digest: String,
}

impl Apps {
    /// Compiles and links the components of `manifests`, out of the cache in `cache_dir` where it can. Blocks for as
    /// long as compiling takes.
    ///
    /// # Errors
    /// [`DeployError`], naming app and file. Nothing is served then.
    pub fn deploy(
        engine: &GuestEngine,
        models: &Arc<ModelTable>,
        manifests: Vec<AppManifest>,
        cache_dir: &Path,
    ) -> Result<Self, DeployError> {
        let linker = linker(engine).map_err(|error| DeployError::Host(format!("{error:#}")))?;
        let instances_max = engine.options().instances_max;
        let cache = Cache::open(cache_dir).map_err(|error| DeployError::Host(error.to_string()))?;
        let mut deployment = Deployment {
            engine,
            linker,
            models,
            cache,
            instances: Arc::new(Semaphore::new(instances_max as usize)),
            compiled: BTreeMap::new(),
        };
        let mut apps: Vec<Arc<App>> = Vec::new();
        let mut routes: Vec<(Pattern, Arc<AppRoute>)> = Vec::new();
        for manifest in manifests {
            let app = App::new(manifest);
            if apps.iter().any(|other| other.name == app.name) {
                return Err(DeployError::Conflict(format!("two manifests are named `{}`", app.name)));
            }
            let app = Arc::new(app);
            for route in &app.manifest.routes {
                let pattern = Pattern { host: route.host.clone(), path: route.path.clone(), weight: route.weight };
                let clash = routes.iter().find(|(other, owner)| {
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
                let route = deployment.route(&app, route)?;
                routes.push((pattern, Arc::new(route)));
            }
            apps.push(app);
        }
        Ok(Apps { routes, apps, requests: AtomicU64::new(0) })
    }

    /// Makes one instance of every component, so that one that cannot start is found before a request finds it.
    ///
    /// # Errors
    /// [`DeployError::Start`], naming app and component.
    pub async fn warm_up(&self) -> Result<(), DeployError> {
        for (_, route) in &self.routes {
            route.instantiate().await.map_err(|error| DeployError::Start {
                app: route.app.manifest.name.clone(),
                component: route.summary.component.clone(),
                problem: format!("{error:#}"),
            })?;
        }
        Ok(())
    }

    /// The route for a request: by host, then by longest path prefix, then by weight.
    pub fn route(&self, host: Option<&str>, path: &str) -> Option<Arc<AppRoute>> {
        let dice = routing::scatter(self.requests.fetch_add(1, Relaxed));
        let index = routing::choose(self.routes.iter().map(|(pattern, _)| pattern), host, path, dice)?;
        self.routes.get(index).map(|(_, route)| route.clone())
    }

    /// Every app, as the admin plane shows it.
    pub fn list(&self) -> Vec<AppSummary> {
        self.apps.iter().map(|app| self.summary(app)).collect()
    }

    /// Every app's name and counters.
    pub fn stats(&self) -> impl Iterator<Item = (&str, &AppStats)> {
        self.apps.iter().map(|app| (&*app.name, &app.stats))
    }

    fn summary(&self, app: &App) -> AppSummary {
        let routes = self.routes.iter().filter(|(_, route)| route.app.name == app.name);
        AppSummary {
            name: app.manifest.name.clone(),
            routes: routes.map(|(_, route)| route.summary.clone()).collect(),
            models: app.manifest.models.iter().map(ToString::to_string).collect(),
            outbound: app.manifest.outbound.clone(),
            memory_bytes_max: app.limits.memory.0,
            deadline_ms: app.limits.deadline_ms,
            body_bytes_max: app.limits.body.0,
            instances_max: app.limits.instances,
            requests: crate::Outcome::ALL.iter().map(|outcome| app.stats.requests(*outcome)).sum(),
        }
    }
}

impl AppRoute {
    /// The app's name.
    pub fn app(&self) -> &Arc<str> {
        &self.app.name
    }
}

impl App {
    fn new(manifest: AppManifest) -> Self {
        let name: Arc<str> = manifest.name.as_str().into();
        App {
            limits: manifest.limits,
            env: manifest.env.clone().into_iter().collect(),
            grants: Arc::new(Grants { app: manifest.name.clone(), models: manifest.models.clone() }),
            outbound: Arc::new(Outbound { app: name.clone(), allow: manifest.outbound.clone() }),
            stats: AppStats::default(),
            instances: Arc::new(Semaphore::new(manifest.limits.instances as usize)),
            name,
            manifest,
        }
    }
}

/// Work in progress of one `deploy`.
struct Deployment<'a> {
    engine: &'a GuestEngine,
    linker: Linker<GuestState>,
    models: &'a Arc<ModelTable>,
    cache: Cache,
    instances: Arc<Semaphore>,
    /// Components already linked, by file: several routes may share one.
    compiled: BTreeMap<PathBuf, (ProxyPre<GuestState>, Sha256Digest)>,
}

impl Deployment<'_> {
    fn route(&mut self, app: &Arc<App>, route: &headland_package::Route) -> Result<AppRoute, DeployError> {
        let (pre, digest) = self.component(app, &route.component)?;
        Ok(AppRoute {
            app: app.clone(),
            pre,
            models: self.models.clone(),
            instances: self.instances.clone(),
            _engine: self.engine.clone(),
            summary: RouteSummary {
                host: route.host.clone(),
                path: route.path.clone(),
                weight: route.weight,
                component: route.component.clone(),
                digest: digest.to_string(),
            },
        })
    }

    fn component(&mut self, app: &App, path: &Path) -> Result<(ProxyPre<GuestState>, Sha256Digest), DeployError> {
        if let Some(known) = self.compiled.get(path) {
            return Ok(known.clone());
        }
        let name = || app.manifest.name.clone();
        let broken = |source: CacheError| DeployError::Component { app: name(), source: Box::new(source) };
        let (component, digest, origin) = self.cache.load(self.engine.engine(), path).map_err(broken)?;
        tracing::debug!(app = &*app.name, component = %path.display(), %digest, ?origin, "component ready");
        let link = |error: wasmtime::Error| DeployError::Link {
            app: name(),
            component: path.to_owned(),
            problem: format!("{error:#}"),
        };
        let pre = self.linker.instantiate_pre(&component).and_then(ProxyPre::new).map_err(link)?;
        self.compiled.insert(path.to_owned(), (pre.clone(), digest));
        Ok((pre, digest))
    }
}

/// Everything a guest can import.
fn linker(engine: &GuestEngine) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine.engine());
    // All of wasi:cli, not the proxy world's part of it: ordinary Rust guests import its environment.
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    headland_wasi_nn_host::add_to_linker(&mut linker)?;
    Ok(linker)
}
