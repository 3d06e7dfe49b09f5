//! The agent itself: hears what is wanted, has it done, says how it is.
//!
//! The tasks share [`Inner`]. Each ends with the agent; none of them is ever waited for by a request.

mod report;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use headland_batcher::ModelTable;
use headland_control_store::{Bus, ControlStore, Event, Key, KeyError, Prefix};
use headland_fleet::{
    Desired, DesiredApp, DesiredModel, DeviceReport, Document, Keep, ModelKey, Place, RoundTrip, RoutedModel, Routes,
    kind, subject,
};
use headland_lifecycle::models::catalog;
use headland_lifecycle::{AppControl, LifecycleError, ModelControl, apps};
use headland_package::{AppName, ModelName, ModelRef, ModelSelector, ModelVersion, PopId, Sha256Digest};
use headland_registry::store::Store;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use crate::fence::{Fence, Passage};
use crate::measure::Meter;
use crate::pull::{PullError, Puller, Wanted};
use crate::reconcile::{Action, Actual, Held, reconcile};
use crate::state::{State, StateError};

/// How often what is held is compared with what is wanted, if nothing happens.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Models and apps that are pulled at one time.
pub const PULLS_AT_ONCE_MAX: usize = 2;
/// How long something that failed is not tried again, the first time.
pub const RETRY_FIRST: Duration = Duration::from_secs(5);
/// The longest it is not tried.
pub const RETRY_LONGEST: Duration = Duration::from_secs(300);
/// How long a model that is to go waits for its requests to find another PoP.
pub const HAND_OVER_MAX: Duration = Duration::from_secs(60);
/// A model that is only to be stored is put out when nobody has asked for it for so long.
pub const IDLE: Duration = Duration::from_secs(120);
/// Members that are named as having sent something wrong.
const ACCUSED_MAX: usize = 16;

/// Aliases of all models.
pub type AllAliases = BTreeMap<ModelName, BTreeMap<String, ModelVersion>>;
/// What a part of the region's routes says.
type Routed = (Vec<RoutedModel>, AllAliases);

/// Told where models are that are not held here.
pub type SetRoutes = Box<dyn Fn(Vec<RoutedModel>, AllAliases) + Send + Sync>;

/// Told of a member that sent something wrong.
pub type Accuse = Box<dyn Fn(&PopId) + Send + Sync>;

/// Makes what fetches files, given whom to tell of members that send something wrong.
pub type MakePuller = Box<dyn Fn(Accuse) -> Puller + Send + Sync>;

/// What the agent works with.
pub struct AgentParts {
    /// Who this PoP is.
    pub pop: PopId,
    /// Where it stands.
    pub place: Place,
    /// Where its peer plane listens, as others reach it.
    pub address: String,
    /// Where its data plane listens.
    pub listen: String,
    /// What it computes with.
    pub devices: Box<dyn Fn() -> Vec<DeviceReport> + Send + Sync>,
    /// Whether this PoP is about to stop.
    pub is_leaving: Box<dyn Fn() -> bool + Send + Sync>,
    /// How far other PoPs are.
    pub round_trips: Box<dyn Fn() -> Vec<RoundTrip> + Send + Sync>,
    /// The control store.
    pub control: Arc<dyn ControlStore>,
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// The registry that files go to.
    pub store: Store,
    /// Loads models.
    pub models: ModelControl,
    /// Serves apps.
    pub apps: AppControl,
    /// What is loaded.
    pub table: Arc<ModelTable>,
    /// Fetches files. It is given what to tell of members that send something wrong.
    pub puller: MakePuller,
    /// Sends requests elsewhere.
    pub set_routes: SetRoutes,
    /// What is remembered over restarts.
    pub memory: PathBuf,
}

/// A PoP's part in its fleet. Cheap to clone.
#[derive(Clone)]
pub struct Agent(Arc<Inner>);

struct Inner {
    parts: AgentParts,
    puller: Puller,
    incarnation: u64,
    known: Mutex<Known>,
    /// What is wanted has changed, or something was done.
    changed: Notify,
    pulls: Semaphore,
}

#[derive(Default)]
struct Known {
    state: State,
    fence: Fence,
    /// The parts of the region's routes, and what was seen of them.
    routes: BTreeMap<Key, (Fence, Routed)>,
    /// What is being done.
    busy: HashSet<Task>,
    failed: BTreeMap<Task, Failed>,
    /// Models that are to go, and since when their requests have nowhere to go.
    handing_over: BTreeMap<ModelKey, Instant>,
    accused: BTreeSet<PopId>,
    meter: Meter,
    last_heartbeat: Option<Instant>,
    sequence: u64,
}

/// What one thing at a time is done about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Task {
    Model(ModelKey),
    App(AppName),
}

/// Something that was tried and failed.
#[derive(Clone, Debug)]
struct Failed {
    /// What of it was wanted: another manifest is tried at once.
    manifest: Option<Sha256Digest>,
    reason: String,
    no_memory: bool,
    times: u32,
    until: Instant,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
enum DoError {
    #[error(transparent)]
    Pull(#[from] PullError),
    #[error(transparent)]
    Lifecycle(#[from] Arc<LifecycleError>),
    #[error("`{0}` cannot be kept in a registry")]
    Name(String),
}

impl From<LifecycleError> for DoError {
    fn from(error: LifecycleError) -> Self {
        DoError::Lifecycle(Arc::new(error))
    }
}

/// Why an agent does not start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Its memory cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// Its name cannot be a key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// There is no randomness.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
}

impl Agent {
    /// Starts the agent; its tasks end when the set is dropped. Reads a file, and so blocks for a moment.
    ///
    /// # Errors
    /// [`AgentError`].
    pub fn start(parts: AgentParts) -> Result<(Self, JoinSet<()>), AgentError> {
        let state = State::read(&parts.memory)?;
        let mut fence = Fence::default();
        if let Some(desired) = &state.desired {
            fence.pass(desired.era, desired.epoch, desired.generation);
        }
        let desired_key = Key::new(kind::DESIRED, [parts.pop.as_str()])?;
        let routes = Prefix::under(kind::ROUTES, [parts.place.region.as_str()])?;
        let heartbeat = Key::new(subject::HEARTBEAT, [parts.pop.as_str()])?;
        let incarnation = getrandom::u64().map_err(|error| AgentError::Random(error.to_string()))?;
        let agent = Agent(Arc::new_cyclic(|agent: &std::sync::Weak<Inner>| {
            let agent = agent.clone();
            let accuse = move |pop: &PopId| {
                if let Some(inner) = agent.upgrade() {
                    Agent(inner).accuse(pop);
                }
            };
            let known = Mutex::new(Known { state, fence, ..Known::default() });
            let puller = (parts.puller)(Box::new(accuse));
            Inner {
                puller,
                incarnation,
                known,
                changed: Notify::new(),
                pulls: Semaphore::new(PULLS_AT_ONCE_MAX),
                parts,
            }
        }));
        let mut tasks = JoinSet::new();
        tasks.spawn(agent.clone().follow_desired(desired_key));
        tasks.spawn(agent.clone().follow_routes(routes));
        tasks.spawn(agent.clone().work());
        tasks.spawn(agent.clone().speak(heartbeat));
        agent.publish_routes();
        Ok((agent, tasks))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether everything that is wanted is here and answers.
    pub fn has_converged(&self) -> bool {
        let known = self.known();
        let Some(desired) = &known.state.desired else { return false };
        let ready = |model: &DesiredModel| {
            model.keep == Keep::Stored || self.0.parts.table.peek(&model.key.name, &model.key.version).is_some()
        };
        known.busy.is_empty() && desired.models.iter().all(ready)
    }

    fn accuse(&self, pop: &PopId) {
        tracing::error!(source = %pop, "a member sent other bytes than their digest says; they were thrown away");
        let mut known = self.known();
        if known.accused.len() < ACCUSED_MAX {
            known.accused.insert(pop.clone());
        }
    }

    async fn follow_desired(self, key: Key) {
        let mut events = self.0.parts.control.watch(Prefix::Key(key));
        while let Some(event) = events.next().await {
            let entries = match event {
                Event::Snapshot(entries) => entries,
                Event::Put(entry) => vec![entry],
                // A record that is gone says nothing: what was wanted stays wanted.
                Event::Deleted { .. } => Vec::new(),
                Event::Interrupted { reason } => {
                    tracing::warn!("the fleet's store cannot be heard, and what is held stays: {reason}");
                    Vec::new()
                }
            };
            for entry in entries {
                match Desired::decode(&entry.value) {
                    Ok(desired) if desired.pop == self.0.parts.pop => self.want(desired).await,
                    Ok(desired) => {
                        tracing::error!(pop = %desired.pop, "what is wanted of another PoP stands under our name")
                    }
                    Err(error) => tracing::error!("what is wanted of this PoP cannot be read: {error}"),
                }
            }
        }
    }

    /// Takes up what is wanted, if it is news.
    async fn want(&self, desired: Desired) {
        let state = {
            let mut known = self.known();
            match known.fence.pass(desired.era, desired.epoch, desired.generation) {
                Passage::Known => return,
                Passage::Old => {
                    let (epoch, seen) = (desired.epoch, known.fence.epoch());
                    tracing::warn!(epoch, seen, "what a leader wants that was left behind is not done");
                    return;
                }
                Passage::New => {}
            }
            let (epoch, generation, models) = (desired.epoch, desired.generation, desired.models.len());
            tracing::info!(epoch, generation, models, "the fleet wants something new of this PoP");
            known.state.models.extend(desired.models.iter().map(|model| model.key.clone()));
            known.state.apps.extend(desired.apps.iter().map(|app| app.name.clone()));
            known.state.desired = Some(desired);
            known.state.clone()
        };
        self.remember(state).await;
        self.publish_routes();
        self.0.changed.notify_one();
    }

    async fn remember(&self, state: State) {
        let path = self.0.parts.memory.clone();
        match tokio::task::spawn_blocking(move || state.write(&path)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!("what the fleet wants is not remembered over a restart: {error}"),
            Err(error) => tracing::error!("remembering what the fleet wants was interrupted: {error}"),
        }
    }

    async fn follow_routes(self, prefix: Prefix) {
        let mut events = self.0.parts.control.watch(prefix);
        while let Some(event) = events.next().await {
            let entries = match event {
                Event::Snapshot(entries) => entries,
                Event::Put(entry) => vec![entry],
                Event::Deleted { .. } | Event::Interrupted { .. } => Vec::new(),
            };
            let mut is_news = false;
            for entry in entries {
                match Routes::decode(&entry.value) {
                    Ok(routes) => {
                        let mut known = self.known();
                        let (fence, known) = known.routes.entry(entry.key).or_default();
                        if fence.pass(routes.era, routes.epoch, routes.generation) == Passage::New {
                            *known = (routes.models, routes.aliases);
                            is_news = true;
                        }
                    }
                    Err(error) => tracing::error!(key = %entry.key, "routes cannot be read: {error}"),
                }
            }
            if is_news {
                self.publish_routes();
            }
        }
    }

    fn publish_routes(&self) {
        let known = self.known();
        let mut models = Vec::new();
        let mut aliases = AllAliases::new();
        for (_, (routed, named)) in known.routes.values() {
            models.extend(routed.iter().cloned());
            aliases.extend(named.clone());
        }
        aliases.extend(known.state.desired.iter().flat_map(|desired| desired.aliases.clone()));
        drop(known);
        (self.0.parts.set_routes)(models, aliases);
    }

    /// Compares and does, whenever something changes.
    async fn work(self) {
        let mut running = JoinSet::new();
        loop {
            match self.actual().await {
                Ok(Some((desired, actual))) => {
                    for action in reconcile(&desired, &actual) {
                        self.begin(action, &mut running);
                    }
                }
                Ok(None) => {}
                Err(error) => tracing::error!("what is held here cannot be told: {error}"),
            }
            tokio::select! {
                () = self.0.changed.notified() => {}
                Some(_) = running.join_next() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// What is wanted, and what is held of it.
    async fn actual(&self) -> Result<Option<(Desired, Actual)>, LifecycleError> {
        let State { desired, models: given_models, apps: given_apps } = self.known().state.clone();
        let Some(desired) = desired else { return Ok(None) };
        let (store, names) = (self.0.parts.store.clone(), given_models.clone());
        let stored = tokio::task::spawn_blocking(move || stored(&store, &names)).await;
        let stored = stored.unwrap_or_else(|error| Err(LifecycleError::Broken(error.to_string())))?;
        let held = |(key, manifest): (ModelKey, Sha256Digest)| {
            let loaded = self.0.parts.models.is_loaded(&key.name, manifest);
            let model = self.0.parts.table.peek(&key.name, &key.version);
            let idle = model.is_none_or(|model| model.idle() >= IDLE);
            let is_last = self.is_last(&key, &desired);
            (key, Held { manifest, loaded, idle, is_last })
        };
        let models = stored.into_iter().map(held).collect();
        let apps = self.0.parts.apps.deployed();
        Ok(Some((desired, Actual { models, apps, given_models, given_apps })))
    }

    /// Whether a model that is to go has nowhere yet where its requests could go: routes name it, and nobody there has described
    /// it. That is waited for, but not for ever.
    fn is_last(&self, key: &ModelKey, desired: &Desired) -> bool {
        let wanted = desired.models.iter().any(|model| model.key == *key);
        let elsewhere = || {
            let routed = self.0.parts.table.routed();
            routed.iter().any(|model| model.info().name == key.name && model.info().version == key.version)
        };
        let mut known = self.known();
        let is_routed = known.routes.values().any(|(_, (models, _))| models.iter().any(|model| model.key == *key));
        if wanted || !is_routed || elsewhere() {
            known.handing_over.remove(key);
            return false;
        }
        known.handing_over.entry(key.clone()).or_insert_with(Instant::now).elapsed() < HAND_OVER_MAX
    }

    /// Begins one action, unless something is being done about it, or was tried too recently.
    fn begin(&self, action: Action, running: &mut JoinSet<()>) {
        let (task, manifest) = match &action {
            Action::Unload(key) | Action::Discard(key) => (Task::Model(key.clone()), None),
            Action::Pull(model) | Action::Load(model) => (Task::Model(model.key.clone()), Some(model.manifest)),
            Action::Stop(name) => (Task::App(name.clone()), None),
            Action::Deploy(app) => (Task::App(app.name.clone()), Some(app.manifest)),
        };
        {
            let mut known = self.known();
            let waits = |failed: &Failed| failed.manifest == manifest && Instant::now() < failed.until;
            if known.busy.contains(&task) || known.failed.get(&task).is_some_and(waits) {
                return;
            }
            known.busy.insert(task.clone());
        }
        let agent = self.clone();
        running.spawn(async move {
            let done = agent.perform(action).await;
            agent.note(&task, manifest, done);
        });
    }

    async fn perform(&self, action: Action) -> Result<(), DoError> {
        let parts = &self.0.parts;
        match action {
            Action::Unload(key) => match parts.models.unload(&asked(&key)) {
                // It may have gone by itself.
                Ok(_) | Err(LifecycleError::NotFound(_)) => Ok(()),
                Err(error) => Err(error.into()),
            },
            Action::Discard(key) => {
                parts.models.remove_version(&key.name, &key.version, true).await?;
                let state = {
                    let mut known = self.known();
                    known.state.models.remove(&key);
                    known.state.clone()
                };
                self.remember(state).await;
                Ok(())
            }
            Action::Pull(model) => self.pull_model(&model).await,
            Action::Load(model) => {
                // It may be a signature that is missing, and has been made since.
                if self.known().failed.contains_key(&Task::Model(model.key.clone())) {
                    self.pull_model(&model).await?;
                }
                let device = model.device.as_deref().and_then(|device| device.parse().ok());
                parts.models.load_on(&asked(&model.key), device).await?;
                Ok(())
            }
            Action::Stop(name) => {
                parts.apps.remove(&name).await?;
                Ok(())
            }
            Action::Deploy(app) => self.deploy(&app).await,
        }
    }

    async fn pull_model(&self, model: &DesiredModel) -> Result<(), DoError> {
        let named = || DoError::Name(model.key.to_string());
        let wanted = Wanted {
            repository: catalog::repository(&model.key.name).ok_or_else(named)?,
            tag: catalog::tag(&model.key.version).ok_or_else(named)?,
            manifest: model.manifest,
            sources: model.sources.clone(),
        };
        self.pull(&wanted, &model.key.to_string()).await
    }

    async fn deploy(&self, app: &DesiredApp) -> Result<(), DoError> {
        let named = || DoError::Name(format!("{}:{}", app.name, app.version));
        let wanted = Wanted {
            repository: apps::catalog::repository(&app.name).ok_or_else(named)?,
            tag: catalog::tag(&app.version).ok_or_else(named)?,
            manifest: app.manifest,
            sources: app.sources.clone(),
        };
        self.pull(&wanted, &format!("{}:{}", app.name, app.version)).await?;
        self.0.parts.apps.deploy(&app.name, &app.version).await?;
        Ok(())
    }

    async fn pull(&self, wanted: &Wanted, label: &str) -> Result<(), DoError> {
        let Ok(_permit) = self.0.pulls.acquire().await else { return Err(PullError::Interrupted.into()) };
        let started = Instant::now();
        self.0.puller.pull(wanted).await?;
        tracing::info!(artifact = label, took_ms = started.elapsed().as_millis(), "its files are here");
        Ok(())
    }

    fn note(&self, task: &Task, manifest: Option<Sha256Digest>, done: Result<(), DoError>) {
        let mut known = self.known();
        known.busy.remove(task);
        match done {
            Ok(()) => drop(known.failed.remove(task)),
            Err(error) => {
                let times = known.failed.get(task).map_or(0, |failed| failed.times).saturating_add(1);
                let wait = RETRY_FIRST.saturating_mul(1 << (times - 1).min(16)).min(RETRY_LONGEST);
                let no_memory =
                    matches!(&error, DoError::Lifecycle(error) if matches!(**error, LifecycleError::NoMemory { .. }));
                tracing::error!(?task, retry_s = wait.as_secs(), "what the fleet wants could not be done: {error}");
                let reason = error.to_string();
                let until = Instant::now() + wait;
                known.failed.insert(task.clone(), Failed { manifest, reason, no_memory, times, until });
            }
        }
        drop(known);
        self.0.changed.notify_one();
    }
}

fn asked(key: &ModelKey) -> ModelRef {
    ModelRef { name: key.name.clone(), selector: ModelSelector::Version(key.version.clone()) }
}

/// Of `names`, what the registry has, with its manifest.
fn stored(store: &Store, names: &BTreeSet<ModelKey>) -> Result<Vec<(ModelKey, Sha256Digest)>, LifecycleError> {
    let mut found = Vec::new();
    for key in names {
        let (Some(repository), Some(tag)) = (catalog::repository(&key.name), catalog::tag(&key.version)) else {
            continue;
        };
        if let Some(manifest) = store.tag(&repository, &tag)? {
            found.push((key.clone(), manifest));
        }
    }
    Ok(found)
}
