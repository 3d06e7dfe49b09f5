//! `headland up`: the composition root. Everything is made here once and handed down; nothing below looks for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use headland_batcher::ModelTable;
use headland_guest_host::{Apps, GuestEngine, PoolOptions};
use headland_package::AppManifest;
use headland_server::{Gateway, Limits, admin_plane, data_plane, serve};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::args::UpOptions;
use crate::config::{Config, LimitsConfig};
use crate::models::{self, Backends};
use crate::{files, logging, signals};

/// Time the executors get for what still waits when the last connection is gone: nobody listens to its result any more.
const MODELS_DRAIN_MAX: Duration = Duration::from_secs(5);
/// Time for anything else that is under way at the end.
const ABANDON_AFTER: Duration = Duration::from_secs(1);

/// Runs until told to stop. Refuses to start unless every model and app is usable.
pub fn run(options: UpOptions) -> Result<()> {
    logging::init(options.log_format, &options.log)?;
    let config = Config::load(&options)?;
    files::raise_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting tokio")?;
    let result = runtime.block_on(up(config));
    // Work that cannot be interrupted (a batch in an executor) does not hold the process back.
    runtime.shutdown_timeout(ABANDON_AFTER);
    result
}

async fn up(config: Config) -> Result<()> {
    // Bound first: a taken port is known before models are loaded for minutes.
    let data = bind(config.listen, "--listen").await?;
    let admin = bind(config.admin_listen, "--admin-listen").await?;
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("cannot create the data directory {}", config.data_dir.display()))?;

    let limits = limits(&config.limits);
    let (models, apps) = tokio::task::spawn_blocking(move || load(&config)).await.context("loading")??;
    apps.warm_up().await?;
    let gateway = Gateway::new(models.clone(), Arc::new(apps), limits);

    let stop = signals::stop()?;
    announce(&gateway, data.local_addr()?, admin.local_addr()?);
    // The admin plane stays until the data plane has drained, so that the drain can be watched.
    let (drained, until_drained) = watch::channel(false);
    let administration = admin_plane(gateway.clone());
    let admin = tokio::spawn(async move { serve(admin, administration, changed(until_drained), &limits).await });
    let outcome = serve(data, data_plane(gateway.clone()), gateway.clone().unready_after(stop), &limits).await;
    let unfinished = tokio::task::spawn_blocking(move || drain(&models)).await?;
    drained.send_replace(true);
    // A scrape that is still being answered may take a moment, and no more.
    let _ = tokio::time::timeout(ABANDON_AFTER, admin).await;
    tracing::info!(connections_cut = outcome.cut, models_unfinished = unfinished, "stopped");
    Ok(())
}

/// Lets every model finish what waits for it; returns how many could not in time.
fn drain(models: &ModelTable) -> usize {
    let deadline = Instant::now() + MODELS_DRAIN_MAX;
    let left = || deadline.saturating_duration_since(Instant::now());
    models.all().iter().filter(|model| !model.drain(left())).count()
}

async fn bind(address: SocketAddr, option: &str) -> Result<TcpListener> {
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

/// Everything that takes long: models into memory, components into machine code.
fn load(config: &Config) -> Result<(Arc<ModelTable>, Apps)> {
    let table = Arc::new(ModelTable::default());
    let mut backends = Backends::new(&config.data_dir);
    for model in &config.models {
        models::load(model, &mut backends, &table)?;
    }
    let manifests: Vec<AppManifest> =
        config.apps.iter().map(|path| AppManifest::read(path)).collect::<Result<_, _>>()?;
    let pool = config.limits.instances.map_or_else(PoolOptions::default, |instances_max| PoolOptions { instances_max });
    let engine = GuestEngine::new(pool)
        .map_err(|error| anyhow::anyhow!("the guest engine cannot start: {error:#}; try fewer [limits] instances"))?;
    let apps = Apps::deploy(&engine, &table, manifests, &config.data_dir.join("cache/components"))?;
    Ok((table, apps))
}

/// What a person wants to know first: where it listens and what it serves.
fn announce(gateway: &Gateway, data: SocketAddr, admin: SocketAddr) {
    tracing::info!("serving on http://{data}, administration on http://{admin}");
    for model in gateway.models().all() {
        tracing::info!("model {}:{} on {}", model.info().name, model.info().version, model.device());
    }
    for app in gateway.apps().list() {
        for route in &app.routes {
            tracing::info!("app {} at {}{}", app.name, route.host.as_deref().unwrap_or(""), route.path);
        }
        for asked in app.models.iter().filter(|asked| !loaded(gateway, asked)) {
            tracing::warn!("app {} may use model {asked}, but it is not loaded; add --model", app.name);
        }
    }
}

fn loaded(gateway: &Gateway, asked: &str) -> bool {
    asked.parse().is_ok_and(|asked| gateway.models().get(&asked).is_ok())
}
