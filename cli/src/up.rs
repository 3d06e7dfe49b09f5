//! `headland up`: the composition root. Everything is made here once and handed down; nothing below looks for it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::future::BoxFuture;
use headland_access::TokenStore;
use headland_batcher::ModelTable;
use headland_fleet::ModelRecord;
use headland_guest_host::{Apps, GuestEngine, PoolOptions, Prepared};
use headland_lifecycle::{AppControl, AppParts, ModelControl, ModelParts, PolicyFile, PolicyGate};
use headland_registry::Registry;
use headland_registry::store::{Store, StoreOptions};
use headland_server::{Administration, Gateway, Limits, admin_plane, data_plane, serve};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::args::UpOptions;
use crate::background::Named;
use crate::config::{Config, LimitsConfig};
use crate::models::{BuiltIn, FolderLoader};
use crate::{background, files, fleet, logging, memory, named_apps, signals};

/// Time the executors get for what still waits when the last connection is gone: nobody listens to its result any more.
const MODELS_DRAIN_MAX: Duration = Duration::from_secs(5);
/// Time for anything else that is under way at the end.
const ABANDON_AFTER: Duration = Duration::from_secs(1);

/// Runs until told to stop. Refuses to start unless every model and app is usable.
pub fn run(options: UpOptions) -> Result<()> {
    let _flush = logging::init(options.log_format, &options.log)?;
    let config = Config::load(&options)?;
    block_on(fleet::alone::up(config))
}

/// Runs a gateway, of whatever kind, to its end.
pub fn block_on(gateway: impl Future<Output = Result<()>>) -> Result<()> {
    files::raise_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting tokio")?;
    let result = runtime.block_on(gateway);
    // Work that cannot be interrupted (a batch in an executor) does not hold the process back.
    runtime.shutdown_timeout(ABANDON_AFTER);
    result
}

/// Where a gateway is asked. Bound first: a taken port is known before models are loaded for minutes.
pub struct Listeners {
    /// Inference and apps; a control plane has none.
    pub data: Option<TcpListener>,
    /// Administration.
    pub admin: TcpListener,
}

impl Listeners {
    /// Binds what `config` says.
    pub async fn bind(config: &Config, data: bool) -> Result<Self> {
        let data = if data { Some(bind(config.listen, "--listen").await?) } else { None };
        Ok(Listeners { data, admin: bind(config.admin_listen, "--admin-listen").await? })
    }
}

/// Makes everything, loads and deploys what is named, and brings back what was deployed before.
pub async fn start(config: Config) -> Result<Parts> {
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("cannot create the data directory {}", config.data_dir.display()))?;
    let limits = limits(&config.limits);
    let open_metrics = config.admin_listen.ip().is_loopback();
    let mut parts =
        tokio::task::spawn_blocking(move || load(&config, limits, open_metrics)).await.context("loading")??;
    let gateway = parts.administration.gateway.clone();
    for app in std::mem::take(&mut parts.prepared) {
        app.warm_up().await?;
        let name = app.name().clone();
        if gateway.apps().put(app)?.is_some() {
            bail!("two manifests are named `{name}`");
        }
    }
    // Each says why in the log, and in `headland app list`; those that still may serve do.
    parts.administration.apps.restore().await;
    gateway.models().load_on_demand(Arc::new(parts.administration.models.clone()));
    background::start(&parts.administration, std::mem::take(&mut parts.named))?;
    Ok(parts)
}

/// Serves until told to stop, and drains. `peers` is what serves other members of a fleet, if there is one: it goes on until
/// the data plane has drained, and ends with the sender it is given.
pub async fn serve_to_the_end(parts: Parts, listeners: Listeners, peers: Option<PeerServer>) -> Result<()> {
    let Parts { administration, token_file, limits, .. } = parts;
    let gateway = administration.gateway.clone();
    let models = gateway.models().clone();
    let stop = signals::stop()?;
    let data_address = listeners.data.as_ref().map(TcpListener::local_addr).transpose()?;
    announce(&gateway, data_address, listeners.admin.local_addr()?);
    tracing::info!("the admin plane asks for a token; the one in {} may do everything", token_file.display());
    // The admin plane stays until the data plane has drained, so that the drain can be watched.
    let (drained, until_drained) = watch::channel(false);
    let (admin, administration) = (listeners.admin, admin_plane(administration));
    let until = changed(until_drained.clone());
    let admin = tokio::spawn(async move { serve(admin, administration, until, &limits).await });
    let peers = peers.map(|peers| tokio::spawn(peers(Box::pin(changed(until_drained)))));
    let cut = match listeners.data {
        Some(data) => {
            let stopping = gateway.clone().unready_after(stop);
            serve(data, data_plane(gateway.clone()), stopping, &limits).await.cut
        }
        None => {
            stop.await;
            gateway.set_ready(false);
            0
        }
    };
    let unfinished = tokio::task::spawn_blocking(move || drain(&models)).await?;
    drained.send_replace(true);
    // A scrape that is still being answered may take a moment, and no more.
    let _ = tokio::time::timeout(ABANDON_AFTER, admin).await;
    if let Some(peers) = peers {
        let _ = tokio::time::timeout(ABANDON_AFTER, peers).await;
    }
    tracing::info!(connections_cut = cut, models_unfinished = unfinished, "stopped");
    Ok(())
}

/// Serves other members of the fleet until the future it is given is done.
pub type PeerServer = Box<dyn FnOnce(BoxFuture<'static, ()>) -> BoxFuture<'static, ()> + Send>;

/// Lets every model finish what waits for it; returns how many could not in time.
fn drain(models: &ModelTable) -> usize {
    let deadline = Instant::now() + MODELS_DRAIN_MAX;
    let left = || deadline.saturating_duration_since(Instant::now());
    models.all().iter().filter(|model| !model.drain(left())).count()
}

pub async fn bind(address: SocketAddr, option: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; is another gateway running there? choose an address with {option}")
    })
}

async fn changed(mut receiver: watch::Receiver<bool>) {
    // A sender that is gone means the same: the data plane has ended.
    let _ = receiver.wait_for(|drained| *drained).await;
}

fn limits(config: &LimitsConfig) -> Limits {
    let mut limits = Limits::default();
    if let Some(body) = config.body {
        limits.body_bytes_max = usize::try_from(body.0).unwrap_or(usize::MAX);
    }
    if let Some(connections) = config.connections {
        limits.connections_max = connections;
    }
    if let Some(drain_delay_s) = config.drain_delay_s {
        limits.drain_delay = Duration::from_secs(drain_delay_s);
    }
    if let Some(drain_s) = config.drain_s {
        limits.drain_max = Duration::from_secs(drain_s);
    }
    limits
}

/// Everything that is made once.
pub struct Parts {
    /// What the admin plane works with.
    pub administration: Administration,
    /// Where the token for this machine's client commands is.
    pub token_file: PathBuf,
    /// Limits of the listeners.
    pub limits: Limits,
    /// What is said of the models the operator named.
    pub named_models: Vec<ModelRecord>,
    /// The apps the operator named, compiled and not yet deployed.
    prepared: Vec<Prepared>,
    /// What a policy admitted of what the operator named.
    named: Named,
}

/// Everything that takes long: models into memory, components into machine code.
fn load(config: &Config, limits: Limits, open_metrics: bool) -> Result<Parts> {
    let policy = Arc::new(PolicyFile::open(config.policy.clone())?);
    let mut options = StoreOptions::default();
    options.quota_bytes = config.registry_quota.unwrap_or(options.quota_bytes);
    let store = Store::open(&config.data_dir.join("registry"), options)?;
    let tokens = TokenStore::open(&config.data_dir)?;
    let token_file = tokens.ensure_local()?;

    let table = Arc::new(ModelTable::default());
    let budget = memory::budget(&config.memory);
    let backends = Arc::new(BuiltIn::new(&config.data_dir));
    let in_force = policy.watch().borrow().clone();
    let region = config.region.as_deref().unwrap_or_default();
    let loader =
        FolderLoader { backends: &backends, policy: in_force.as_deref(), region, budget: &budget, table: &table };
    let mut named_models = Vec::new();
    let mut named = Named { region: region.to_owned(), ..Named::default() };
    for model in &config.models {
        let (loaded, record) = loader.load(model)?;
        named.models.push((model.clone(), loaded));
        named_models.push(record);
    }
    let pool = config.limits.instances.map_or_else(PoolOptions::default, |instances_max| PoolOptions { instances_max });
    let engine = GuestEngine::new(pool)
        .map_err(|error| anyhow::anyhow!("the guest engine cannot start: {error:#}; try fewer [limits] instances"))?;
    let apps = Arc::new(Apps::new(&engine, &table, &config.data_dir.join("cache/components"))?);
    let mut prepared = Vec::new();
    for path in &config.apps {
        let app = apps.prepare(named_apps::admit(path, in_force.as_deref(), region)?)?;
        named.apps.push((path.clone(), app.name().clone()));
        prepared.push(app);
    }

    let models = ModelControl::new(ModelParts {
        store: store.clone(),
        policy: policy.watch(),
        table: table.clone(),
        backends,
        budget,
        region: config.region.clone(),
    });
    let control = AppControl::open(AppParts {
        store: store.clone(),
        policy: policy.watch(),
        apps: apps.clone(),
        record: config.data_dir.join("state/apps.json"),
        region: config.region.clone(),
    })?;
    let gatekeeper = Arc::new(PolicyGate::new(store.clone(), policy.watch(), models.clone(), control.clone()));
    let registry = Registry { store, gatekeeper, limits: Default::default() };
    let gateway = Gateway::new(table, apps, limits);
    let administration =
        Administration { gateway, models, apps: control, registry, tokens, policy, fleet: None, open_metrics };
    Ok(Parts { administration, token_file, limits, named_models, prepared, named })
}

/// What a person wants to know first: where it listens and what it serves.
fn announce(gateway: &Gateway, data: Option<SocketAddr>, admin: SocketAddr) {
    match data {
        Some(data) => tracing::info!("serving on http://{data}, administration on http://{admin}"),
        None => tracing::info!("administration on http://{admin}"),
    }
    for model in gateway.models().all() {
        tracing::info!("model {} on {}", model.info(), model.device());
    }
    for app in gateway.apps().list() {
        for route in &app.routes {
            tracing::info!("app {} at {}{}", app.name, route.host.as_deref().unwrap_or(""), route.path);
        }
        for asked in app.models.iter().filter(|asked| !loaded(gateway, asked)) {
            tracing::warn!(
                "app {} may use model {asked}, but it is not loaded; it is if the registry has it by then",
                app.name
            );
        }
    }
}

fn loaded(gateway: &Gateway, asked: &str) -> bool {
    asked.parse().is_ok_and(|asked| gateway.models().get(&asked).is_ok())
}
