//! The whole loop over a real store and bus of one process, with PoPs that do as they are told: the fleet comes to what is wanted,
//! whoever leads, and whatever is lost. Time is paused: it passes when everybody waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use headland_control::{Control, ControlOptions};
use headland_control_store::{
    Bus, ControlStore, Election, EmbeddedStore, Epoch, Event, Holder, Key, Leadership, Prefix, RamBus, Role,
};
use headland_fleet::{
    Desired, DeviceReport, Document, Heartbeat, Keep, ModelKey, ModelRecord, ModelReport, ModelStanding, Needs, Place,
    Routes, kind, subject,
};
use headland_package::{Accelerator, Sha256Digest};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Longer than anything here takes, in the time that passes here.
const LONG: Duration = Duration::from_secs(600);

struct World {
    store: Arc<EmbeddedStore>,
    bus: Arc<RamBus>,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(EmbeddedStore::open(dir.path(), Duration::from_secs(10)).await.unwrap());
        World { store, bus: Arc::new(RamBus::default()), _dir: dir }
    }

    async fn control(&self, role: watch::Receiver<Role>) -> (Control, JoinSet<()>) {
        let options = ControlOptions::default();
        Control::start(self.store.clone(), self.bus.clone(), Leadership::told(role), options).await.unwrap()
    }

    async fn put(&self, key: Key, document: &impl Document) {
        let value = document.encode().into();
        match self.store.get(&key).await.unwrap() {
            Some(entry) => drop(self.store.update(&key, value, entry.revision).await.unwrap()),
            None => drop(self.store.create(&key, value).await.unwrap()),
        }
    }

    async fn add_model(&self, name: &str) {
        let record = record(name);
        self.put(Key::new(kind::MODEL, [name, "1"]).unwrap(), &record).await;
    }

    async fn remove_model(&self, name: &str) {
        self.store.delete(&Key::new(kind::MODEL, [name, "1"]).unwrap(), None).await.unwrap();
    }

    /// What is wanted of every PoP, by name.
    async fn desired(&self) -> BTreeMap<String, Desired> {
        let entries = self.store.list(&Prefix::kind(kind::DESIRED).unwrap()).await.unwrap();
        let desired = entries.iter().map(|entry| Desired::decode(&entry.value).unwrap());
        desired.map(|desired| (desired.pop.to_string(), desired)).collect()
    }

    /// Who is asked for a model in a region.
    async fn asked(&self, region: &str, name: &str) -> Vec<String> {
        let part = Routes::part_of(&name.parse().unwrap()).to_string();
        let entry = self.store.get(&Key::new(kind::ROUTES, [region, &part]).unwrap()).await.unwrap();
        let routes = entry.map(|entry| Routes::decode(&entry.value).unwrap().models).unwrap_or_default();
        let model = routes.into_iter().find(|model| model.key.name.as_str() == name);
        let candidates = model.map(|model| model.candidates).unwrap_or_default();
        candidates.into_iter().map(|candidate| candidate.source.pop.to_string()).collect()
    }

    /// A PoP that does at once what is wanted, and says so, until the handle is aborted.
    fn pop(&self, name: &'static str, region: &'static str) -> (JoinHandle<()>, Arc<Mutex<BTreeSet<ModelKey>>>) {
        let (store, bus, held) = (self.store.clone(), self.bus.clone(), Arc::<Mutex<BTreeSet<ModelKey>>>::default());
        let holds = held.clone();
        let task = tokio::spawn(async move {
            let key = Key::new(kind::DESIRED, [name]).unwrap();
            let mut events = store.watch(Prefix::Key(key));
            let mut ticks = tokio::time::interval(Duration::from_secs(2));
            let (mut sequence, mut era) = (0, 0);
            loop {
                tokio::select! {
                    Some(event) = events.next() => {
                        let entries = match event {
                            Event::Snapshot(entries) => entries,
                            Event::Put(entry) => vec![entry],
                            _ => Vec::new(),
                        };
                        for entry in entries {
                            let desired = Desired::decode(&entry.value).unwrap();
                            era = desired.era;
                            let loaded = desired.models.into_iter().filter(|model| model.keep == Keep::Loaded);
                            *holds.lock().unwrap() = loaded.map(|model| model.key).collect();
                        }
                    }
                    _ = ticks.tick() => {
                        sequence += 1;
                        let models: Vec<ModelKey> = holds.lock().unwrap().iter().cloned().collect();
                        let said = heartbeat(name, region, sequence, era, models);
                        bus.publish(&Key::new(subject::HEARTBEAT, [name]).unwrap(), said.encode().into()).await.unwrap();
                    }
                }
            }
        });
        (task, held)
    }
}

fn record(name: &str) -> ModelRecord {
    let key = ModelKey { name: name.parse().unwrap(), version: "1".parse().unwrap() };
    let digest = Sha256Digest::of(name.as_bytes());
    let needs = Needs {
        accelerator: Accelerator::None,
        min_replicas: 1,
        max_replicas: None,
        min_domains: 1,
        regions: Vec::new(),
        memory_bytes: Some(1 << 20),
        priority: 1,
    };
    ModelRecord { key, manifest: digest, digest, bytes: 1 << 20, cache_bytes: 0, needs }
}

fn heartbeat(name: &str, region: &str, sequence: u64, era: u64, models: Vec<ModelKey>) -> Heartbeat {
    let ready = || ModelStanding::Ready { device: "cpu".to_owned(), memory_bytes: 1 << 20, cost: None };
    let place = Place { region: region.parse().unwrap(), location: None, failure_domain: None };
    Heartbeat {
        sequence,
        devices: vec![DeviceReport {
            device: "cpu".to_owned(),
            class: "cpu".to_owned(),
            memory_bytes: 8 << 30,
            used_bytes: 0,
            units: 8,
        }],
        era,
        models: models.into_iter().map(|key| ModelReport { key, standing: ready() }).collect(),
        ..Heartbeat::new(name.parse().unwrap(), 1, place, format!("{name}:1"), String::new())
    }
}

/// Waits until `check` gives something.
async fn until<T, F: Future<Output = Option<T>>>(what: &str, check: impl Fn() -> F) -> T {
    let waiting = async {
        loop {
            if let Some(found) = check().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("never: {what}"))
}

fn leads(epoch: u64) -> watch::Receiver<Role> {
    let (sender, role) = watch::channel(Role::Leader { epoch: Epoch(epoch) });
    // It stays so until the test ends: a sender that is gone would end the control plane.
    std::mem::forget(sender);
    role
}

#[tokio::test(start_paused = true)]
async fn a_model_is_held_by_one_pop_asked_by_all_and_moves_when_that_is_lost() {
    let world = World::new().await;
    let pops = [("a", "eu"), ("b", "us")].map(|(name, region)| (name, world.pop(name, region)));
    let (_control, _tasks) = world.control(leads(1)).await;
    world.add_model("m").await;
    let holder = until("somebody is asked", || async { world.asked("us", "m").await.into_iter().next() }).await;
    assert_eq!(world.asked("eu", "m").await, std::slice::from_ref(&holder));
    let (_, (task, _)) = pops.iter().find(|(name, _)| *name == holder).unwrap();
    task.abort();
    let other = until("somebody else is asked", || async {
        world.asked("us", "m").await.into_iter().next().filter(|asked| *asked != holder)
    });
    assert_ne!(other.await, holder);
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_writes_everything_anew_and_the_old_one_nothing_more() {
    let world = World::new().await;
    let _pop = world.pop("a", "eu");
    world.add_model("m").await;
    let (_old, _old_tasks) = world.control(leads(1)).await;
    until("the first leader wrote", || async { world.desired().await.get("a").filter(|it| it.epoch == 1).map(drop) })
        .await;
    let (_new, _new_tasks) = world.control(leads(2)).await;
    until("the second leader wrote", || async { world.desired().await.get("a").filter(|it| it.epoch == 2).map(drop) })
        .await;
    // The first one does not know that it leads no more, and has something to say.
    world.add_model("n").await;
    until("it is done", || async { (world.desired().await["a"].models.len() == 2).then_some(()) }).await;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(world.desired().await["a"].epoch, 2, "nothing of an older epoch is ever written over a newer one");
    }
}

#[tokio::test(start_paused = true)]
async fn a_standby_takes_over_when_the_leader_stops() {
    let world = World::new().await;
    let _pop = world.pop("a", "eu");
    let elect = |name: &str| {
        let lease = Key::new("lease", ["leader"]).unwrap();
        Election::start(world.store.clone(), lease, Holder::new(name).unwrap())
    };
    let first = elect("first");
    let (control, _tasks) = world.control(first.role()).await;
    until("the first leads", || async { matches!(control.role(), Role::Leader { .. }).then_some(()) }).await;
    let second = elect("second");
    let (standby, _standby_tasks) = world.control(second.role()).await;
    world.add_model("m").await;
    let before = until("the first wrote", || async { world.desired().await.remove("a") }).await;
    assert_eq!(standby.role(), Role::Standby);
    first.stop().await;
    let after = until("the second wrote", || async {
        world.desired().await.remove("a").filter(|desired| desired.epoch > before.epoch)
    });
    assert_eq!(after.await.models, before.models);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_changes_in_a_row_end_in_what_was_wanted_last() {
    let world = World::new().await;
    let (_task, held) = world.pop("a", "eu");
    let (_control, _tasks) = world.control(leads(1)).await;
    for change in 0..1_000 {
        let name = format!("m{}", change % 37);
        match change % 3 {
            0 | 1 => world.add_model(&name).await,
            _ => world.remove_model(&name).await,
        }
        if change % 50 == 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    let entries = world.store.list(&Prefix::kind(kind::MODEL).unwrap()).await.unwrap();
    let last: BTreeSet<ModelKey> = entries.iter().map(|entry| ModelRecord::decode(&entry.value).unwrap().key).collect();
    assert!(!last.is_empty());
    until("the PoP holds just that", || async { (*held.lock().unwrap() == last).then_some(()) }).await;
}

#[tokio::test(start_paused = true)]
async fn a_pop_that_claims_an_era_that_cannot_be_shuts_nobody_out() {
    let world = World::new().await;
    let bus = world.bus.clone();
    let lying = tokio::spawn(async move {
        for sequence in 1.. {
            let said = heartbeat("liar", "eu", sequence, u64::MAX, Vec::new());
            bus.publish(&Key::new(subject::HEARTBEAT, ["liar"]).unwrap(), said.encode().into()).await.unwrap();
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    });
    let _pop = world.pop("a", "eu");
    let (_control, _tasks) = world.control(leads(1)).await;
    let wanted = until("it is written", || async { world.desired().await.remove("a") }).await;
    let a_day_from_now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(24 * 3600);
    assert!(u128::from(wanted.era) <= a_day_from_now.as_millis(), "{wanted:?}");
    lying.abort();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_lost_begins_a_later_era() {
    let world = World::new().await;
    let (task, _) = world.pop("a", "eu");
    let (_control, tasks) = world.control(leads(7)).await;
    let before = until("it is written", || async { world.desired().await.remove("a") }).await;
    drop(tasks);
    task.abort();
    // The new store knows nothing; the PoP remembers the era, and its clock may be ahead of the control plane's.
    let anew = World { bus: world.bus.clone(), ..World::new().await };
    let heard = before.era + 1_000_000;
    let said = move |sequence| heartbeat("a", "eu", sequence, heard, Vec::new());
    let bus = anew.bus.clone();
    let speaking = tokio::spawn(async move {
        for sequence in 1.. {
            bus.publish(&Key::new(subject::HEARTBEAT, ["a"]).unwrap(), said(sequence).encode().into()).await.unwrap();
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    });
    let (_control, _tasks) = anew.control(leads(1)).await;
    let after = until("it is written again", || async { anew.desired().await.remove("a") }).await;
    assert!(after.era > heard && after.epoch < before.epoch, "{after:?}");
    speaking.abort();
}
