//! `headland control`: a gateway without a data plane, that keeps everything people push to it, and decides for its fleet while
//! it leads.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use headland_control::{Control, ControlOptions as Settings};
use headland_control_store::{Bus, Election, Holder, Key};
use headland_fleet::{Document, HEARTBEAT_EVERY_MS, Heartbeat, ModelKey, Place, Source, subject};
use headland_identity::{FleetCa, Role};
use headland_pop_agent::pull::Puller;
use headland_pop_agent::{KeeperParts, Throttle, keep};
use tokio::task::JoinSet;

use super::certificates;
use super::files::PeerFiles;
use super::member::Joined;
use crate::args::ControlOptions;
use crate::config::Config;
use crate::logging;
use crate::up::{Listeners, block_on, serve_to_the_end, start};

/// How long a control plane waits before it asks NATS for its buckets again.
const PREPARE_EVERY: Duration = Duration::from_secs(2);
/// Where a control plane stands that does not say so.
const NOWHERE: &str = "control";

/// Runs until told to stop.
pub fn run(options: ControlOptions) -> Result<()> {
    let _flush = logging::init(options.up.log_format, &options.up.log)?;
    let config = Config::load(&options.up)?;
    block_on(control(options, config))
}

async fn control(options: ControlOptions, config: Config) -> Result<()> {
    let authority = options.authority.as_deref().map(FleetCa::open).transpose()?;
    let joined = Joined::new(&options.fleet, None, options.nats_replicas).await?;
    let member = joined.identity.member().clone();
    anyhow::ensure!(
        member.role == Role::Control,
        "{member} is no control plane; make an identity with `headland control issue --control`"
    );
    let region = config.region.clone().unwrap_or_else(|| NOWHERE.to_owned()).parse().context("--region")?;
    let listeners = Listeners::bind(&config, false).await?;
    let admin = listeners.admin.local_addr()?;
    let memory = config.data_dir.join("state/agreed.json");
    while let Err(error) = joined.store.prepare().await {
        tracing::warn!("the fleet's store is not ready, and is tried again: {error}");
        tokio::time::sleep(PREPARE_EVERY).await;
    }
    let mut parts = start(config).await?;
    // Who leads is told where to be asked.
    let holder = Holder::new(&format!("{} at http://{admin}", member.id))?;
    let election = Election::start(joined.store.clone(), Key::new("lease", ["leader"])?, holder);
    let (control, mut tasks) =
        Control::start(joined.control(), joined.bus.clone(), election.leadership(), Settings::default()).await?;
    parts.administration.fleet = Some(control.clone());

    let peers = joined.peers(&parts, false);
    let (store, files) = (parts.administration.registry.store.clone(), Arc::new(PeerFiles::new(peers)));
    let accused = |pop: &headland_package::PopId| tracing::error!(source = %pop, "a member sent other bytes than their digest says");
    let own = member.id.clone();
    let sources = {
        let control = control.clone();
        move |model: Option<&ModelKey>| -> Vec<Source> {
            control.sources(model).into_iter().filter(|source| source.pop != own).collect()
        }
    };
    tasks.spawn(keep(KeeperParts {
        control: joined.control(),
        store: store.clone(),
        models: parts.administration.models.clone(),
        apps: parts.administration.apps.clone(),
        puller: Puller::new(store, files, Arc::new(Throttle::new(None)), accused),
        sources: Box::new(sources),
        memory,
    }));
    let place = Place { region, location: None, failure_domain: None };
    tasks.spawn(speak(joined.bus.clone(), own_heartbeat(&joined, place, admin.to_string())?));
    tasks.spawn(certificates::keep_fresh(joined.identity.clone(), joined.bus.clone()));
    if let Some(authority) = authority {
        answer(authority, &joined, &mut tasks);
    }
    let server = joined.serve(&parts);
    let served = serve_to_the_end(parts, listeners, Some(server)).await;
    // A standby takes over at once, and not only when the lease has ended.
    election.stop().await;
    drop(tasks);
    served
}

fn answer(authority: FleetCa, joined: &Joined, tasks: &mut JoinSet<()>) {
    let bus = joined.bus.clone();
    tasks.spawn(async move {
        if let Err(error) = certificates::answer(authority, bus).await {
            tracing::error!("certificates are not renewed by this control plane: {error:#}");
        }
    });
}

/// What a control plane says of itself: that it has every file.
fn own_heartbeat(joined: &Joined, place: Place, listen: String) -> Result<Heartbeat> {
    let incarnation =
        getrandom::u64().map_err(|error| anyhow::anyhow!("the system gives no random numbers: {error}"))?;
    let pop = joined.identity.member().id.clone();
    Ok(Heartbeat::of_storage(pop, incarnation, place, joined.address.clone(), listen))
}

async fn speak(bus: Arc<dyn Bus>, mut heartbeat: Heartbeat) {
    let Ok(subject) = Key::new(subject::HEARTBEAT, [heartbeat.pop.as_str()]) else { return };
    let mut ticks = tokio::time::interval(Duration::from_millis(HEARTBEAT_EVERY_MS));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        heartbeat.sequence += 1;
        if let Err(error) = bus.publish(&subject, heartbeat.encode().into()).await {
            tracing::debug!("the fleet does not hear this control plane: {error}");
        }
    }
}
