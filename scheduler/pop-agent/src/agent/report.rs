//! How a PoP is, said every two seconds: what it has, how each model stands, what was asked of it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use headland_control_store::Key;
use headland_fleet::{
    AppReport, Cost, Document, HEARTBEAT_EVERY_MS, Heartbeat, Keep, ModelKey, ModelReport, ModelStanding, subject,
};
use headland_package::AppName;

use super::{Agent, Known, Task};
use crate::measure::counters;

impl Agent {
    pub(super) async fn speak(self, subject: Key) {
        let mut ticks = tokio::time::interval(Duration::from_millis(HEARTBEAT_EVERY_MS));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.say(&subject).await;
        }
    }

    /// Says at once how it is: once more before it ends, so that nobody waits for it.
    pub async fn speak_now(&self) {
        if let Ok(subject) = Key::new(subject::HEARTBEAT, [self.0.parts.pop.as_str()]) {
            self.say(&subject).await;
        }
    }

    async fn say(&self, subject: &Key) {
        let heartbeat = self.heartbeat().await;
        if let Err(error) = self.0.parts.bus.publish(subject, heartbeat.encode().into()).await {
            tracing::debug!("the fleet does not hear this PoP: {error}");
        }
    }

    async fn heartbeat(&self) -> Heartbeat {
        let parts = &self.0.parts;
        let stored: BTreeSet<ModelKey> = match self.actual().await {
            Ok(Some((_, actual))) => actual.models.into_keys().collect(),
            Ok(None) | Err(_) => BTreeSet::new(),
        };
        let (local, routed) = (counters(&parts.table.all()), counters(&parts.table.routed()));
        let mut known = self.known();
        let now = Instant::now();
        let window = known.last_heartbeat.replace(now).map_or(Duration::ZERO, |last| now - last);
        known.sequence += 1;
        let demand = known.meter.demand(&local, &routed);
        let costs = known.meter.costs(&local).clone();
        let models = known.state.models.iter().filter_map(|key| {
            let standing = self.standing(&known, key, stored.contains(key), costs.get(key).copied())?;
            Some(ModelReport { key: key.clone(), standing })
        });
        let models = models.collect();
        let app = |name: &AppName| {
            let wanted = known.state.desired.as_ref()?.apps.iter().find(|app| app.name == *name)?;
            let failed = known.failed.get(&Task::App(name.clone())).map(|failed| failed.reason.clone());
            Some(AppReport { name: name.clone(), version: wanted.version.clone(), failed })
        };
        let (address, listen) = (parts.address.clone(), parts.listen.clone());
        Heartbeat {
            sequence: known.sequence,
            devices: (parts.devices)(),
            era: known.fence.era(),
            epoch: known.fence.epoch(),
            generation: known.state.desired.as_ref().map_or(0, |desired| desired.generation),
            models,
            apps: known.state.apps.iter().filter_map(app).collect(),
            demand,
            window_ms: u64::try_from(window.as_millis()).unwrap_or(u64::MAX),
            round_trips: (parts.round_trips)(),
            corrupt_sources: known.accused.iter().cloned().collect(),
            leaving: (parts.is_leaving)(),
            ..Heartbeat::new(parts.pop.clone(), self.0.incarnation, parts.place.clone(), address, listen)
        }
    }

    /// How a model stands here; `None` if it is not here, and nobody wants it to be.
    fn standing(&self, known: &Known, key: &ModelKey, is_stored: bool, cost: Option<Cost>) -> Option<ModelStanding> {
        let wanted = known.state.desired.as_ref().and_then(|it| it.models.iter().find(|model| model.key == *key));
        if let Some(model) = self.0.parts.table.peek(&key.name, &key.version) {
            let (device, memory_bytes) = (model.device().to_string(), model.memory_bytes());
            return Some(ModelStanding::Ready { device, memory_bytes, cost });
        }
        let task = Task::Model(key.clone());
        if known.busy.contains(&task) {
            return Some(ModelStanding::Loading);
        }
        match (known.failed.get(&task), wanted, is_stored) {
            (Some(failed), Some(_), _) => {
                Some(ModelStanding::Failed { reason: failed.reason.clone(), no_memory: failed.no_memory })
            }
            (_, Some(model), true) if model.keep == Keep::Loaded => Some(ModelStanding::Loading),
            (_, _, true) => Some(ModelStanding::Stored),
            (None, Some(_), false) => Some(ModelStanding::Loading),
            (_, None, false) => None,
        }
    }
}
