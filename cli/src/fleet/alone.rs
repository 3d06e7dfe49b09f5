//! `headland up` as its own fleet: a control plane over the store of one process, and one PoP, which is this gateway.
//!
//! What is loaded and deployed here is decided as in any gateway, by those who push, deploy and ask. The control plane hears of it
//! as it hears of any PoP, keeps the records, and plans; `headland pop`, `placement` and `plan` ask it as they ask any other.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use headland_control::input::Settings;
use headland_control::{Control, ControlOptions};
use headland_control_store::{Election, EmbeddedStore, FILE_NAME, Holder, Key, RamBus, StoreError};
use headland_fleet::{ModelRecord, Place};
use headland_package::PopId;
use headland_pop_agent::{AloneParts, NamedModels, live_alone};
use headland_server::Gateway;
use tokio::task::{JoinHandle, JoinSet};

use super::pop::devices;
use crate::config::Config;
use crate::memory::{self, Gpu};
use crate::policy;
use crate::up::{Listeners, Parts, serve_to_the_end, start};

/// What the one PoP is called, and its region where the operator does not say.
const LOCAL: &str = "local";
/// How long the one candidate leads without saying so again: nobody waits to take over.
const LEASE: Duration = Duration::from_secs(60);

/// Serves until told to stop.
pub async fn up(config: Config) -> Result<()> {
    let listeners = Listeners::bind(&config, true).await?;
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("cannot create the data directory {}", config.data_dir.display()))?;
    let data_dir = config.data_dir.clone();
    let region = config.region.clone().unwrap_or_else(|| LOCAL.to_owned()).parse().context("--region")?;
    let place = Place { region, location: None, failure_domain: None };
    // Neither waits for the models to be loaded.
    let gpus = tokio::task::spawn_blocking(memory::gpus);
    let (parts, store) = tokio::join!(start(config), open(&data_dir));
    let mut parts = parts?;
    let fleet = Fleet::start(&mut parts, &listeners, Arc::new(store?), place, gpus).await?;
    let served = serve_to_the_end(parts, listeners, None).await;
    fleet.stop().await;
    served
}

/// Opens the records. They follow the registry, so that a file that cannot be read is no reason not to serve: it is put aside.
async fn open(data_dir: &Path) -> Result<EmbeddedStore> {
    match EmbeddedStore::open(data_dir, LEASE).await {
        Err(error @ StoreError::Unreadable { .. }) => {
            let aside = put_aside(&data_dir.join(FILE_NAME)).with_context(|| error.to_string())?;
            tracing::warn!("{error}; it is at {} now, and the records are made anew", aside.display());
            Ok(EmbeddedStore::open(data_dir, LEASE).await?)
        }
        opened => Ok(opened?),
    }
}

fn put_aside(path: &Path) -> std::io::Result<PathBuf> {
    let aside = path.with_extension("damaged");
    std::fs::rename(path, &aside)?;
    Ok(aside)
}

/// The control plane of one gateway.
struct Fleet {
    election: Election,
    _tasks: JoinSet<()>,
}

impl Fleet {
    async fn start(
        parts: &mut Parts,
        listeners: &Listeners,
        store: Arc<EmbeddedStore>,
        place: Place,
        gpus: JoinHandle<Vec<Gpu>>,
    ) -> Result<Self> {
        let (pop, bus): (PopId, _) = (LOCAL.parse()?, Arc::new(RamBus::default()));
        let listen = listeners.data.as_ref().map(|data| data.local_addr()).transpose()?;
        let holder = Holder::new(&format!("{LOCAL} at http://{}", listeners.admin.local_addr()?))?;
        let election = Election::start(store.clone(), Key::new("lease", ["leader"])?, holder);
        let options = ControlOptions { settings: Settings { alone: true, ..Settings::default() } };
        let (control, mut tasks) = Control::start(store.clone(), bus.clone(), election.leadership(), options).await?;
        let administration = &mut parts.administration;
        administration.fleet = Some(control);
        let in_force = administration.policy.watch();
        let named = named(administration.gateway.clone(), std::mem::take(&mut parts.named_models));
        let administration = administration.clone();
        tasks.spawn(async move {
            // A driver may take its time, and nothing else waits for it.
            let gpus = gpus.await.unwrap_or_default();
            let Err(error) = live_alone(AloneParts {
                pop,
                place,
                listen: listen.map(|listen| listen.to_string()).unwrap_or_default(),
                devices: devices(administration.models.clone(), gpus),
                control: store,
                bus,
                store: administration.registry.store.clone(),
                models: administration.models.clone(),
                apps: administration.apps.clone(),
                table: administration.gateway.models().clone(),
                named,
                policy: Box::new(move || in_force.borrow().as_deref().map(policy::record)),
            })
            .await;
            tracing::error!("`headland pop`, `placement` and `plan` know nothing of this gateway: {error}");
        });
        Ok(Fleet { election, _tasks: tasks })
    }

    async fn stop(self) {
        self.election.stop().await;
    }
}

/// The models that the operator named, as far as the policy has left them.
fn named(gateway: Arc<Gateway>, records: Vec<ModelRecord>) -> NamedModels {
    Box::new(move || {
        let is_loaded = |record: &&ModelRecord| {
            let loaded = gateway.models().peek(&record.key.name, &record.key.version);
            loaded.is_some_and(|loaded| loaded.info().digest == record.digest)
        };
        records.iter().filter(is_loaded).cloned().collect()
    })
}
