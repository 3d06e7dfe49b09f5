//! `headland pop`: a gateway that holds what its fleet wants of it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use headland_batcher::Aliases;
use headland_fleet::{DeviceReport, Place, ROUND_TRIPS_MAX, RoundTrip, RoutedModel};
use headland_identity::Member;
use headland_lifecycle::ModelControl;
use headland_nn_core::Device;
use headland_package::ModelName;
use headland_pop_agent::pull::Puller;
use headland_pop_agent::{Agent, AgentParts, AllAliases, Throttle};
use headland_remote::{Candidate, Peers, Route};
use headland_server::Gateway;

use super::certificates;
use super::files::PeerFiles;
use super::member::Joined;
use crate::args::PopOptions;
use crate::config::Config;
use crate::memory::Gpu;
use crate::up::{Listeners, block_on, serve_to_the_end, start};
use crate::{logging, memory};

/// How long a PoP that ends tries to say so.
const FAREWELL_MAX: Duration = Duration::from_millis(500);

/// Runs until told to stop.
pub fn run(options: PopOptions) -> Result<()> {
    let _flush = logging::init(options.up.log_format, &options.up.log)?;
    let config = Config::load(&options.up)?;
    block_on(pop(options, config))
}

async fn pop(options: PopOptions, config: Config) -> Result<()> {
    let region = config.region.clone().context("a PoP stands in a region; say which with --region")?;
    let place =
        Place { region: region.parse()?, location: options.location, failure_domain: options.failure_domain.clone() };
    let pop = options.pop.clone().context("say what this PoP is called with --pop")?;
    let joined = Joined::new(&options.fleet, Some(&Member::pop(pop.clone())), 1).await?;
    let listeners = Listeners::bind(&config, true).await?;
    let listen = listeners.data.as_ref().map(|data| data.local_addr()).transpose()?;
    let memory = config.data_dir.join("state/fleet.json");
    let parts = start(config).await?;
    let administration = &parts.administration;
    let peers = joined.peers(&parts, options.hedge);
    let (files, store) = (Arc::new(PeerFiles::new(peers.clone())), administration.registry.store.clone());
    let throttle = Arc::new(Throttle::new(options.pull_rate.map(|mib| mib.saturating_mul(1 << 20))));
    let (agent, tasks) = Agent::start(AgentParts {
        pop,
        place,
        address: joined.address.clone(),
        listen: listen.map(|listen| listen.to_string()).unwrap_or_default(),
        devices: devices(administration.models.clone(), memory::gpus()),
        is_leaving: is_leaving(administration.gateway.clone()),
        round_trips: round_trips(peers.clone()),
        control: joined.control(),
        bus: joined.bus.clone(),
        store: store.clone(),
        models: administration.models.clone(),
        apps: administration.apps.clone(),
        table: administration.gateway.models().clone(),
        puller: Box::new(move |accuse| Puller::new(store.clone(), files.clone(), throttle.clone(), accuse)),
        set_routes: Box::new(move |models, aliases| set_routes(&peers, models, aliases)),
        memory,
    })?;
    let fresh = tokio::spawn(certificates::keep_fresh(joined.identity.clone(), joined.bus.clone()));
    let server = joined.serve(&parts);
    let served = serve_to_the_end(parts, listeners, Some(server)).await;
    // The bus may be away; nobody waits for it at the end.
    let _ = tokio::time::timeout(FAREWELL_MAX, agent.speak_now()).await;
    fresh.abort();
    drop(tasks);
    served
}

fn set_routes(peers: &Arc<Peers>, models: Vec<RoutedModel>, aliases: AllAliases) {
    let candidate = |candidate: headland_fleet::Candidate| Candidate {
        pop: candidate.source.pop,
        address: candidate.source.address,
        share: candidate.share,
    };
    let route = |model: RoutedModel| Route {
        name: model.key.name,
        version: model.key.version,
        digest: model.digest,
        // Every graph that is loaded computes its answer from its inputs alone.
        repeatable: true,
        candidates: model.candidates.into_iter().map(candidate).collect(),
    };
    let aliases: std::collections::BTreeMap<ModelName, Aliases> = aliases;
    peers.set_routes(models.into_iter().map(route).collect(), aliases);
}

/// A gateway that is told to stop is ready no more while it drains.
fn is_leaving(gateway: Arc<Gateway>) -> Box<dyn Fn() -> bool + Send + Sync> {
    Box::new(move || !gateway.is_ready())
}

/// How far other PoPs are, to a tenth of a millisecond: what changes less is no reason to plan anew.
fn round_trips(peers: Arc<Peers>) -> Box<dyn Fn() -> Vec<RoundTrip> + Send + Sync> {
    Box::new(move || {
        let known = peers.round_trips().into_iter().take(ROUND_TRIPS_MAX);
        known.map(|(pop, took)| RoundTrip { pop, ms: (took.as_secs_f64() * 1e4).round() / 10.0 }).collect()
    })
}

/// What this machine computes with, and how much of it is taken.
pub(super) fn devices(models: ModelControl, gpus: Vec<Gpu>) -> Box<dyn Fn() -> Vec<DeviceReport> + Send + Sync> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let units = u32::try_from(processors).unwrap_or(u32::MAX);
    Box::new(move || {
        let usage = models.budget().usage();
        let report = |(device, used_bytes, limit): (Device, u64, Option<u64>)| {
            let gpu = gpus.iter().find(|gpu| gpu.device == device);
            let class = match (device, gpu) {
                (Device::Cpu, _) => format!("cpu-{units}"),
                (_, Some(gpu)) => gpu.name.clone(),
                (device, None) => device.to_string(),
            };
            let memory_bytes = limit.or(gpu.map(|gpu| gpu.memory_bytes)).unwrap_or(0);
            let units = if device == Device::Cpu { units } else { 1 };
            DeviceReport { device: device.to_string(), class, memory_bytes, used_bytes, units }
        };
        let mut reports: Vec<DeviceReport> = usage.into_iter().map(report).collect();
        for gpu in &gpus {
            if !reports.iter().any(|report| report.device == gpu.device.to_string()) {
                reports.push(report((gpu.device, 0, None)));
            }
        }
        reports
    })
}
