//! From the bytes of an app to routes that can serve: everything that takes long, or can fail, before anybody sees it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use headland_package::{AppName, Route, Sha256Digest};
use headland_trust::Verified;
use wasmtime::Engine;
use wasmtime::component::Linker;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p3::bindings::ServicePre;

use crate::app::{App, AppRoute, RouteSummary};
use crate::apps::{Apps, DeployError};
use crate::instance::Pre;
use crate::routing::Pattern;
use crate::source::AppSource;
use crate::state::{GuestState, add_to_concurrent_linker};
use crate::world::{self, World};

/// How long warming up waits for a free instance while requests take them all.
pub const WARM_UP_WAIT_MAX: Duration = Duration::from_secs(10);

/// An app that is compiled and linked, and not yet served.
pub struct Prepared {
    pub(crate) app: Arc<App>,
    pub(crate) routes: Vec<(Pattern, Arc<AppRoute>)>,
}

impl Prepared {
    /// The app's name.
    pub fn name(&self) -> &AppName {
        &self.app.manifest.name
    }

    /// Makes one instance for every route, so that a component that cannot start is found before a request finds it.
    ///
    /// # Errors
    /// [`DeployError::Start`], naming app and component.
    pub async fn warm_up(&self) -> Result<(), DeployError> {
        for (_, route) in &self.routes {
            let broken = |problem| DeployError::Start {
                app: self.name().clone(),
                component: route.summary.component.clone(),
                problem,
            };
            // Instances that wait for reuse are in nobody's way.
            while route.instances.available_permits() == 0 && route.engine.idle().evict() {}
            let slot = tokio::time::timeout(WARM_UP_WAIT_MAX, route.instances.acquire()).await;
            let Ok(Ok(_slot)) = slot else {
                return Err(broken(
                    "every instance of the host is busy; try again when there are fewer requests".into(),
                ));
            };
            route.instantiate().await.map_err(|error| broken(format!("{error:#}")))?;
        }
        Ok(())
    }
}

impl Apps {
    /// Compiles and links an app's components, out of the cache where it can. Blocks for as long as that takes, and
    /// changes nothing that requests see.
    ///
    /// # Errors
    /// [`DeployError`], naming app and component.
    pub fn prepare(&self, source: Verified<AppSource>) -> Result<Prepared, DeployError> {
        let evidence = source.evidence().clone();
        let AppSource { manifest, components, version } = source.into_inner();
        let stats = self.stats_of(&manifest.name);
        let app = Arc::new(App::new(manifest, version, evidence, stats));
        let mut linked: BTreeMap<&str, (Pre, Sha256Digest)> = BTreeMap::new();
        for Route { component, .. } in &app.manifest.routes {
            if !linked.contains_key(&**component) {
                let missing = || DeployError::Missing { app: app.manifest.name.clone(), component: component.clone() };
                let wasm = components.get(component).ok_or_else(missing)?;
                linked.insert(component, self.link(&app, component, wasm)?);
            }
        }
        let route = |route: &Route| {
            let (pre, digest) = linked.get(&*route.component)?.clone();
            let pattern = Pattern { host: route.host.clone(), path: route.path.clone(), weight: route.weight };
            Some((pattern, Arc::new(self.route_of(&app, route, pre, digest))))
        };
        let routes = app.manifest.routes.iter().filter_map(route).collect();
        drop(linked);
        Ok(Prepared { app, routes })
    }

    fn link(&self, app: &App, component: &str, wasm: &[u8]) -> Result<(Pre, Sha256Digest), DeployError> {
        let (app, component) = (app.manifest.name.clone(), component.to_owned());
        let broken = |problem| DeployError::Link { app: app.clone(), component: component.clone(), problem };
        let world = World::of(wasm);
        let (engine, linker) = match world {
            Some(World::Service) => self.concurrent().map_err(|error| {
                broken(format!("there is no address space for a pool of wasi:http 0.3 instances: {error:#}"))
            })?,
            Some(World::Proxy) | None => (self.engine.engine().clone(), self.linker.clone()),
        };
        let (compiled, digest, origin) = match self.cache.load(&engine, wasm) {
            Ok(loaded) => loaded,
            Err(error) => return Err(DeployError::Component { app, component, source: Box::new(error) }),
        };
        tracing::debug!(%app, component, %digest, ?origin, ?world, "component ready");
        let linked = || linker.instantiate_pre(&compiled);
        let pre = match world {
            Some(World::Proxy) => linked().and_then(ProxyPre::new).map(Pre::P2),
            Some(World::Service) => linked().and_then(ServicePre::new).map(Pre::P3),
            None => return Err(broken(world::NEITHER.into())),
        };
        Ok((pre.map_err(|error| broken(format!("{error:#}")))?, digest))
    }

    /// The engine for guests of 0.3, and what they may import.
    fn concurrent(&self) -> wasmtime::Result<(Engine, Linker<GuestState>)> {
        let engine = self.engine.concurrent()?;
        let mut linker = Linker::new(&engine);
        add_to_concurrent_linker(&mut linker)?;
        Ok((engine, linker))
    }

    fn route_of(&self, app: &Arc<App>, route: &Route, pre: Pre, digest: Sha256Digest) -> AppRoute {
        AppRoute {
            app: app.clone(),
            pre,
            models: self.models.clone(),
            instances: self.instances.clone(),
            engine: self.engine.clone(),
            reuse: route.reuse.then(|| self.routes.fetch_add(1, Relaxed)),
            summary: RouteSummary {
                host: route.host.clone(),
                path: route.path.clone(),
                weight: route.weight,
                reuse: route.reuse,
                component: route.component.clone(),
                digest: digest.to_string(),
            },
        }
    }
}
