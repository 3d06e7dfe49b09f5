//! A host with real components. Those are built by `guest-examples/build.sh`; without them the tests skip, unless
//! `REQUIRE_GUESTS` is set.
#![allow(dead_code, reason = "each test uses its share")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headland_batcher::ModelTable;
use headland_guest_host::{
    AppRoute, AppSource, Apps, GuestEngine, GuestError, Outcome, PoolOptions, Prepared, RequestContext,
};
use headland_package::AppManifest;
use headland_trust::Verified;
use http::Request;
use http_body_util::{BodyExt, Empty};

/// How long anything here may take before the test gives up.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Host {
    pub apps: Apps,
    _cache: tempfile::TempDir,
}

pub fn host() -> Host {
    host_of(ModelTable::default())
}

pub fn host_of(models: ModelTable) -> Host {
    let engine = GuestEngine::new(PoolOptions { instances_max: 8 }).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let apps = Apps::new(&engine, &Arc::new(models), &cache.path().join("components")).unwrap();
    Host { apps, _cache: cache }
}

pub fn guest(name: &str) -> Option<Bytes> {
    let path = Path::new("../../guest-examples/dist").join(name);
    match std::fs::read(&path) {
        Ok(wasm) => Some(wasm.into()),
        Err(error) => {
            assert!(std::env::var_os("REQUIRE_GUESTS").is_none(), "REQUIRE_GUESTS is set, and {path:?}: {error}");
            println!("skipped: {} is not built; run guest-examples/build.sh", path.display());
            None
        }
    }
}

/// An app with one component at one path.
pub fn source(name: &str, version: &str, path: &str, component: &str, more: &str) -> Option<Verified<AppSource>> {
    let toml = format!("name = '{name}'\n[[route]]\npath = '{path}'\ncomponent = '{component}'\n{more}");
    let manifest = AppManifest::parse(&toml, Path::new("headland.app.toml")).unwrap();
    let components = BTreeMap::from([(component.to_owned(), guest(component)?)]);
    let source = AppSource { manifest, components, version: Some(version.parse().unwrap()) };
    Some(Verified::named_by_operator(source, "a test"))
}

impl Host {
    pub fn prepare(&self, name: &str, version: &str, path: &str, component: &str, more: &str) -> Option<Prepared> {
        Some(self.apps.prepare(source(name, version, path, component, more)?).unwrap())
    }

    /// Prepared, warmed up and served, as a deployment does it.
    pub async fn deploy(&self, version: &str, component: &str, more: &str) -> Option<()> {
        let prepared = self.prepare("x", version, "/", component, more)?;
        prepared.warm_up().await.unwrap();
        self.apps.put(prepared).unwrap();
        Some(())
    }

    pub fn route(&self) -> Arc<AppRoute> {
        self.apps.route(None, "/").unwrap()
    }

    pub async fn get(&self) -> Result<Bytes, GuestError> {
        self.ask("").await
    }

    pub async fn ask(&self, query: &str) -> Result<Bytes, GuestError> {
        let request = Request::get(format!("http://x.test/{query}")).body(Empty::<Bytes>::new()).unwrap();
        let response = self.route().handle(request, context()).await?;
        Ok(response.into_body().collect().await.unwrap().to_bytes())
    }

    pub fn count(&self, outcome: Outcome) -> u64 {
        self.apps.stats().iter().map(|(_, stats)| stats.requests(outcome)).sum()
    }

    pub async fn until_no_instance_is_alive(&self) {
        let idle = async {
            while self.apps.stats().iter().any(|(_, stats)| stats.instances() > 0) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, idle).await.unwrap();
    }
}

pub fn request<B>(body: B) -> Request<B> {
    Request::get("http://x.test/").body(body).unwrap()
}

pub fn context() -> RequestContext {
    RequestContext { request_id: "test".into() }
}
