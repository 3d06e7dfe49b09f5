//! What people are told of the fleet.

use std::collections::BTreeMap;

use headland_fleet::{DeviceReport, Intent, ModelKey, ModelStanding, Place};
use headland_package::PopId;
use serde::Serialize;

use crate::backoff::{Backoff, Held};
use crate::books::Books;
use crate::view::{FleetView, Liveness, PopView, Rival};

/// The fleet.
#[derive(Clone, Debug, Serialize)]
pub struct Overview {
    /// Every PoP that was heard of in the last day, by name.
    pub pops: Vec<PopSummary>,
    /// Where each model is.
    pub models: Vec<ModelPlaces>,
}

/// A PoP.
#[derive(Clone, Debug, Serialize)]
pub struct PopSummary {
    /// Its name.
    pub pop: PopId,
    /// Whether it is there.
    pub liveness: Liveness,
    /// What operators want of it.
    pub intent: Intent,
    /// How long ago it was heard, in milliseconds.
    pub silent_ms: u64,
    /// Where it stands.
    pub place: Place,
    /// Where its peer plane listens.
    pub address: String,
    /// Where its data plane listens.
    pub listen: String,
    /// Whether it is a control plane, which holds files and runs no models.
    pub control: bool,
    /// What it computes with.
    pub devices: Vec<DeviceReport>,
    /// How its models stand.
    pub models: Vec<PopModel>,
    /// Apps that it was to serve and does not, with the reason.
    pub failed_apps: Vec<String>,
    /// Another PoP that goes by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rival: Option<String>,
}

/// A model at a PoP.
#[derive(Clone, Debug, Serialize)]
pub struct PopModel {
    /// `name:version`.
    pub model: String,
    /// How it stands.
    #[serde(flatten)]
    pub standing: ModelStanding,
}

/// Where a model is.
#[derive(Clone, Debug, Serialize)]
pub struct ModelPlaces {
    /// `name:version`.
    pub model: String,
    /// Requests a second that were asked for lately, over all regions.
    pub requests_per_s: f64,
    /// The PoPs that hold it.
    pub replicas: Vec<Replica>,
    /// The PoPs where it failed to load lately, and is not tried for a while.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub held_back: Vec<Held>,
}

/// A model at a PoP.
#[derive(Clone, Debug, Serialize)]
pub struct Replica {
    /// The PoP.
    pub pop: PopId,
    /// How the model stands there.
    #[serde(flatten)]
    pub standing: ModelStanding,
}

impl Overview {
    /// The fleet as it looks now.
    pub fn of(view: &FleetView, books: &Books, backoff: &Backoff, now_ms: u64) -> Self {
        let mut rates: BTreeMap<ModelKey, f64> = BTreeMap::new();
        for ((_, model), rate) in view.demand().by_region() {
            *rates.entry(model).or_default() += rate;
        }
        let models = books.models.values().map(|kept| {
            let key = &kept.record.key;
            let replicas = view.pops().filter_map(|(pop, there)| {
                let model = there.heartbeat.models.iter().find(|model| model.key == *key)?;
                let is_there = there.liveness(now_ms) != Liveness::Lost;
                is_there.then(|| Replica { pop: pop.clone(), standing: model.standing.clone() })
            });
            let requests_per_s = rates.get(key).copied().unwrap_or(0.0);
            let held_back = backoff.held_of(key, now_ms);
            ModelPlaces { model: key.to_string(), requests_per_s, replicas: replicas.collect(), held_back }
        });
        Overview {
            pops: view.pops().map(|(pop, there)| PopSummary::of(pop, there, books.intent(pop), now_ms)).collect(),
            models: models.collect(),
        }
    }
}

impl PopSummary {
    fn of(pop: &PopId, there: &PopView, intent: Intent, now_ms: u64) -> Self {
        let heartbeat = &there.heartbeat;
        let model = |model: &headland_fleet::ModelReport| PopModel {
            model: model.key.to_string(),
            standing: model.standing.clone(),
        };
        let failed = heartbeat.apps.iter().filter_map(|app| Some(format!("{}: {}", app.name, app.failed.as_ref()?)));
        let rival = |rival: &Rival| {
            format!("another PoP of this name speaks from {}; give it a name of its own", rival.address)
        };
        PopSummary {
            pop: pop.clone(),
            liveness: there.liveness(now_ms),
            intent,
            silent_ms: now_ms.saturating_sub(there.heard_ms),
            place: heartbeat.place.clone(),
            address: heartbeat.address.clone(),
            listen: heartbeat.listen.clone(),
            control: heartbeat.storage_only,
            devices: heartbeat.devices.clone(),
            models: heartbeat.models.iter().map(model).collect(),
            failed_apps: failed.collect(),
            rival: there.rival.as_ref().map(rival),
        }
    }
}
