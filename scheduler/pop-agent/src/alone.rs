//! A PoP that is its whole fleet, as under `headland up`. What it holds is what was pushed to it, deployed at it and named when it
//! started; that becomes records, and every two seconds it says how it is, so that the control plane beside it can tell and plan as it
//! does for any fleet.
//!
//! It tells, and is told nothing: there is nobody else whose word could count, so records follow the registry and never the
//! other way round.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headland_batcher::{Model, ModelTable};
use headland_control_store::{Bus, ControlStore, Key};
use headland_fleet::{
    AppReport, Cost, DeviceReport, Document, HEARTBEAT_EVERY_MS, Heartbeat, ModelKey, ModelRecord, ModelReport,
    ModelStanding, Place, PolicyRecord, kind, subject,
};
use headland_lifecycle::models::Progress;
use headland_lifecycle::{AppControl, ModelControl};
use headland_package::{AppName, ModelVersion, PopId, Sha256Digest};
use headland_registry::store::Store;

use crate::agent::AgentError;
use crate::measure::{Meter, counters};
use crate::merge::{Step, merge};
use crate::tell::{Side, TellError, Teller, aliases_key, app_key, model_key};

/// Gives the records of the models that were named when the gateway started, as far as they are loaded.
pub type NamedModels = Box<dyn Fn() -> Vec<ModelRecord> + Send + Sync>;

/// What such a PoP works with.
pub struct AloneParts {
    /// Who this PoP is.
    pub pop: PopId,
    /// Where it stands.
    pub place: Place,
    /// Where its data plane listens.
    pub listen: String,
    /// What it computes with.
    pub devices: Box<dyn Fn() -> Vec<DeviceReport> + Send + Sync>,
    /// Its records.
    pub control: Arc<dyn ControlStore>,
    /// Where it speaks.
    pub bus: Arc<dyn Bus>,
    /// Its registry.
    pub store: Store,
    /// Its models.
    pub models: ModelControl,
    /// Its apps.
    pub apps: AppControl,
    /// What is loaded.
    pub table: Arc<ModelTable>,
    /// Models that did not come by the registry.
    pub named: NamedModels,
    /// What its trust policy says.
    pub policy: Box<dyn Fn() -> Option<PolicyRecord> + Send + Sync>,
}

/// Tells of the PoP until it is dropped.
///
/// # Errors
/// [`AgentError`], before anything is told.
pub async fn live_alone(parts: AloneParts) -> Result<Infallible, AgentError> {
    let subject = Key::new(subject::HEARTBEAT, [parts.pop.as_str()])?;
    let incarnation = getrandom::u64().map_err(|error| AgentError::Random(error.to_string()))?;
    let teller = Teller { control: parts.control.clone(), store: parts.store.clone(), apps: parts.apps.clone() };
    let (address, listen) = (String::new(), parts.listen.clone());
    let said = Heartbeat::new(parts.pop.clone(), incarnation, parts.place.clone(), address, listen);
    let mut alone =
        Alone { parts, teller, said, told: None, known: BTreeSet::new(), meter: Meter::default(), spoke: None };
    let mut ticks = tokio::time::interval(Duration::from_millis(HEARTBEAT_EVERY_MS));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = alone.tell().await {
            tracing::error!("the records are not as the registry is, which is tried again: {error}");
        }
        alone.speak(&subject).await;
    }
}

struct Alone {
    parts: AloneParts,
    teller: Teller,
    /// What was said last.
    said: Heartbeat,
    /// What the records were last told from.
    told: Option<Told>,
    /// The models that the registry has, and those that were named.
    known: BTreeSet<ModelKey>,
    meter: Meter,
    spoke: Option<Instant>,
}

/// Everything that records are made of; as long as it is the same, they are.
#[derive(PartialEq)]
struct Told {
    /// Of the registry.
    changes: u64,
    apps: BTreeMap<AppName, (ModelVersion, Sha256Digest)>,
    named: Vec<ModelRecord>,
    policy: Option<PolicyRecord>,
}

impl Alone {
    /// Has the records say what is here.
    async fn tell(&mut self) -> Result<(), TellError> {
        let parts = &self.parts;
        let now = Told {
            changes: parts.store.changes(),
            apps: parts.apps.deployed(),
            named: (parts.named)(),
            policy: (parts.policy)(),
        };
        if self.told.as_ref() == Some(&now) {
            return Ok(());
        }
        let mut here = self.teller.here().await?;
        here.models.extend(now.named.iter().map(|named| (named.key.clone(), named.manifest)));
        self.known = here.models.keys().cloned().collect();
        self.records(&here, &now).await?;
        self.told = Some(now);
        Ok(())
    }

    /// What the records say is taken for what both sides last agreed on: so it is here that something changed.
    async fn records(&self, here: &Side, now: &Told) -> Result<(), TellError> {
        let (teller, fleet) = (&self.teller, self.teller.fleet().await?);
        for (key, step) in merge(&fleet.models, &here.models, &fleet.models) {
            match (step, now.named.iter().find(|named| named.key == key)) {
                (Step::Tell(_), Some(named)) => teller.put(&model_key(&key)?, named.encode()).await?,
                (Step::Tell(manifest), None) => match teller.tell_model(&key, manifest).await {
                    // What was pushed will be no better at the next look.
                    Err(TellError::Lifecycle(error)) => {
                        tracing::warn!(model = %key, "nothing is planned for it: {error}")
                    }
                    told => told?,
                },
                _ => teller.retract(&model_key(&key)?).await?,
            }
        }
        for (name, step) in merge(&fleet.aliases, &here.aliases, &fleet.aliases) {
            match step {
                Step::Tell(aliases) => teller.tell_aliases(&name, &aliases).await?,
                _ => teller.retract(&aliases_key(&name)?).await?,
            }
        }
        for (name, step) in merge(&fleet.apps, &here.apps, &fleet.apps) {
            match step {
                Step::Tell(deployed) => teller.tell_app(&name, &deployed).await?,
                _ => teller.retract(&app_key(&name)?).await?,
            }
        }
        let policy = Key::new(kind::POLICY, [PolicyRecord::NAME])?;
        match &now.policy {
            Some(record) => teller.put(&policy, record.encode()).await,
            None => teller.retract(&policy).await,
        }
    }

    async fn speak(&mut self, subject: &Key) {
        let parts = &self.parts;
        let loaded = parts.table.all();
        let counted = counters(&loaded);
        let now = Instant::now();
        let window = self.spoke.replace(now).map_or(Duration::ZERO, |last| now - last);
        self.said.sequence += 1;
        self.said.devices = (parts.devices)();
        self.said.window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        self.said.demand = self.meter.demand(&counted, &BTreeMap::new());
        self.said.models = standings(&self.known, &loaded, self.meter.costs(&counted), &parts.models);
        self.said.apps = apps(&parts.apps);
        if let Err(error) = parts.bus.publish(subject, self.said.encode().into()).await {
            tracing::debug!("the control plane does not hear this PoP: {error}");
        }
    }
}

/// How every model stands that is known or loaded.
fn standings(
    known: &BTreeSet<ModelKey>,
    loaded: &[Arc<Model>],
    costs: &BTreeMap<ModelKey, Cost>,
    models: &ModelControl,
) -> Vec<ModelReport> {
    let mut standings: BTreeMap<ModelKey, ModelStanding> = BTreeMap::new();
    for model in loaded {
        let info = model.info();
        let key = ModelKey { name: info.name.clone(), version: info.version.clone() };
        let (device, memory_bytes) = (model.device().to_string(), model.memory_bytes());
        let cost = costs.get(&key).copied();
        standings.insert(key, ModelStanding::Ready { device, memory_bytes, cost });
    }
    for key in known {
        let standing = || match models.progress(&key.name, &key.version) {
            Progress::Waits => ModelStanding::Stored,
            Progress::Loading => ModelStanding::Loading,
            // What memory there is, this gateway knows; no need to believe it less.
            Progress::Failed(reason) => ModelStanding::Failed { reason, no_memory: false },
        };
        standings.entry(key.clone()).or_insert_with(standing);
    }
    standings.into_iter().map(|(key, standing)| ModelReport { key, standing }).collect()
}

fn apps(apps: &AppControl) -> Vec<AppReport> {
    let serving = apps.deployed().into_iter().map(|(name, (version, _))| AppReport { name, version, failed: None });
    let failed = apps.failed().into_iter();
    let failed = failed.map(|(name, version, why)| AppReport { name, version, failed: Some(why) });
    serving.chain(failed).collect()
}
