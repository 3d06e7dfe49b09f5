//! The loop: hear, follow the records, and, while this control plane leads, plan, check, write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use futures_util::stream::{BoxStream, select_all};
use headland_control_store::{Bus, BusError, ControlStore, Event, Key, KeyError, Prefix, Role, StoreError};
use headland_fleet::{Desired, Document, Heartbeat, Intent, ModelKey, PopRecord, Source, kind, subject};
use headland_package::{ModelName, PopId};
use headland_placement::{Input, Plan, Report};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::books::{Books, KINDS};
use crate::input::{self, Current, Settings};
use crate::leading::{LeadError, Written, era};
use crate::overview::Overview;
use crate::rollout::{Evidence, Rollout, RolloutState, meant};
use crate::view::{FleetView, Heard, LATE_AFTER_MS};
use crate::wanted::{RouteParts, Scene, Term};

/// How often the leader looks whether there is something to decide.
const TICK: Duration = Duration::from_millis(500);
/// Before the first plan, PoPs are listened to for so long: who has not spoken yet is not gone.
const LISTEN_FIRST_MS: u64 = LATE_AFTER_MS;
/// Requests to one record that others change at the same time.
const CAS_TRIES_MAX: usize = 8;

/// What a control plane is made with.
#[derive(Clone, Debug, Default)]
pub struct ControlOptions {
    /// What the operator of the fleet sets.
    pub settings: Settings,
}

/// Why something an operator asked for was not done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bus failed.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// A name that cannot be a key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// It cannot be done as things stand.
    #[error("{0}")]
    Conflict(String),
    /// Others change the same record again and again.
    #[error("{0} is being changed by others; try again")]
    Busy(Key),
}

/// A plan, with what it answers.
#[derive(Debug)]
pub struct Planned {
    /// What was asked.
    pub input: Input,
    /// What was decided.
    pub plan: Plan,
    /// How good that is.
    pub report: Report,
}

/// A control plane. Cheap to clone.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

struct Inner {
    store: Arc<dyn ControlStore>,
    role: watch::Receiver<Role>,
    options: ControlOptions,
    started: Instant,
    known: Mutex<Known>,
}

/// What is known, and what was made of it.
#[derive(Default)]
struct Known {
    view: FleetView,
    books: Books,
    backoff: Backoff,
    evidence: BTreeMap<ModelName, Evidence>,
    /// Kinds of records that were told whole.
    told: BTreeSet<&'static str>,
    /// Since when PoPs are heard without a pause.
    listening_since_ms: Option<u64>,
    last_heard_ms: u64,
    planned: Option<Arc<Planned>>,
    /// Why there was no plan, the last time there was none.
    refused: Option<String>,
}

/// A term of leadership.
struct Leading {
    term: Term,
    written: Written,
}

impl Known {
    fn hear(&mut self, heartbeat: Heartbeat, now_ms: u64) {
        // After a silence of all, it was we who were cut off: the others get time to speak before they count as lost.
        if self.listening_since_ms.is_none() || now_ms.saturating_sub(self.last_heard_ms) > LATE_AFTER_MS {
            self.listening_since_ms = Some(now_ms);
        }
        self.last_heard_ms = now_ms;
        let (pop, region) = (heartbeat.pop.clone(), heartbeat.place.region.clone());
        self.backoff.note(&heartbeat, now_ms);
        for (name, evidence) in &mut self.evidence {
            evidence.note(name, &heartbeat);
        }
        match self.view.hear(heartbeat, now_ms) {
            Heard::Joined => tracing::info!(%pop, %region, "the PoP is there"),
            Heard::Restarted => tracing::info!(%pop, %region, "the PoP started again"),
            Heard::Rival(rival) => {
                tracing::error!(%pop, address = rival.address, "two PoPs go by one name; the second is not listened to");
            }
            Heard::TooMany => {
                tracing::error!(%pop, "there are as many PoPs as a fleet may have; it is not listened to")
            }
            Heard::Again | Heard::Stale => {}
        }
    }

    /// Whether enough is known to plan.
    fn may_plan(&self, now_ms: u64) -> bool {
        let listened = self.listening_since_ms.is_some_and(|since| now_ms.saturating_sub(since) >= LISTEN_FIRST_MS);
        let hears = now_ms.saturating_sub(self.last_heard_ms) <= LATE_AFTER_MS;
        listened && hears && KINDS.iter().all(|kind| self.told.contains(kind))
    }

    /// The versions that are meant without being named, and those on their way to be.
    fn current(&self) -> Current {
        let mut current = Current::new();
        for (name, version) in meant(&self.books) {
            let versions = match self.books.rollout(&name) {
                Some(kept) => kept.record.versions().cloned().collect(),
                None => BTreeSet::from([version]),
            };
            current.insert(name, versions);
        }
        current
    }
}

impl Control {
    /// Starts listening and following; leads whenever `role` says so.
    ///
    /// # Errors
    /// When the bus cannot be listened to.
    pub async fn start(
        store: Arc<dyn ControlStore>,
        bus: Arc<dyn Bus>,
        role: watch::Receiver<Role>,
        options: ControlOptions,
    ) -> Result<(Self, JoinSet<()>), ControlError> {
        let heartbeats = bus.subscribe(Prefix::kind(subject::HEARTBEAT)?).await?;
        let mut watches = Vec::new();
        for kind in KINDS {
            watches.push(store.watch(Prefix::kind(kind)?).map(move |event| (kind, event)).boxed());
        }
        let (known, started) = (Mutex::default(), Instant::now());
        let control = Control(Arc::new(Inner { store, role, options, started, known }));
        let mut tasks = JoinSet::new();
        tasks.spawn(control.clone().listen(heartbeats));
        tasks.spawn(control.clone().follow(select_all(watches).boxed()));
        tasks.spawn(control.clone().lead());
        Ok((control, tasks))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it leads, and in which epoch.
    pub fn role(&self) -> Role {
        *self.0.role.borrow()
    }

    /// The fleet as it looks now.
    pub fn overview(&self) -> Overview {
        let known = self.known();
        Overview::of(&known.view, &known.books, &known.backoff, self.now_ms())
    }

    /// The plan in force, if this control plane leads and has made one.
    pub fn planned(&self) -> Option<Arc<Planned>> {
        self.known().planned.clone()
    }

    /// What the solver would be asked now.
    pub fn input(&self) -> Input {
        let known = self.known();
        self.input_of(&known)
    }

    fn input_of(&self, known: &Known) -> Input {
        let settings = &self.0.options.settings;
        input::input(&known.view, &known.books, &known.backoff, &known.current(), settings, self.now_ms())
    }

    /// Reads from the records.
    pub fn books<T>(&self, read: impl FnOnce(&Books) -> T) -> T {
        read(&self.known().books)
    }

    /// Says what is wanted of a PoP.
    ///
    /// # Errors
    /// [`ControlError::NotFound`] for one that was never heard of, or the store fails.
    pub async fn set_intent(&self, pop: &PopId, intent: Intent) -> Result<(), ControlError> {
        if self.known().view.pop(pop).is_none() {
            let known: Vec<String> = self.known().view.pops().map(|(pop, _)| pop.to_string()).take(10).collect();
            let there = if known.is_empty() {
                "none was heard of".to_owned()
            } else {
                format!("there are {}", known.join(", "))
            };
            return Err(ControlError::NotFound(format!("there is no PoP `{pop}`; {there}")));
        }
        let key = Key::new(kind::POP, [pop.as_str()])?;
        let record = PopRecord { pop: pop.clone(), intent };
        self.put(&key, record.encode().into()).await?;
        tracing::info!(%pop, %intent, "what is wanted of the PoP was changed");
        Ok(())
    }

    /// Changes a rollout as `change` says.
    ///
    /// # Errors
    /// [`ControlError::NotFound`] when there is none, whatever `change` says, or the store fails.
    pub async fn change_rollout(
        &self,
        name: &ModelName,
        change: impl Fn(&Rollout) -> Result<RolloutState, String>,
    ) -> Result<Rollout, ControlError> {
        let missing = || ControlError::NotFound(format!("there is no rollout of `{name}`"));
        let known = self.known().books.rollout(name).map(|kept| kept.record.clone()).ok_or_else(missing)?;
        let state = change(&known).map_err(ControlError::Conflict)?;
        let next = Rollout { state, ..known };
        self.put(&Key::new(kind::ROLLOUT, [name.as_str()])?, next.encode().into()).await?;
        Ok(next)
    }

    /// Writes a record whatever it says now.
    ///
    /// # Errors
    /// [`ControlError::Busy`] when others keep changing it, or the store fails.
    pub async fn put(&self, key: &Key, value: bytes::Bytes) -> Result<(), ControlError> {
        let store = &self.0.store;
        for _ in 0..CAS_TRIES_MAX {
            let written = match store.get(key).await? {
                Some(entry) if entry.value == value => return Ok(()),
                Some(entry) => store.update(key, value.clone(), entry.revision).await,
                None => store.create(key, value.clone()).await,
            };
            match written {
                Ok(_) => return Ok(()),
                Err(StoreError::Conflict { .. } | StoreError::Exists { .. } | StoreError::Unknown { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ControlError::Busy(key.clone()))
    }

    /// Who has a model's files, or an app's.
    pub fn sources(&self, model: Option<&ModelKey>) -> Vec<Source> {
        crate::wanted::sources(&self.known().view, model, self.now_ms())
    }

    async fn listen(self, mut heartbeats: BoxStream<'static, headland_control_store::Message>) {
        while let Some(message) = heartbeats.next().await {
            match Heartbeat::decode(&message.payload) {
                // Whose heartbeat it is, its subject says: a bus can be told who may publish on what.
                Ok(heartbeat) if message.subject.parts() == [heartbeat.pop.as_str()] => {
                    self.known().hear(heartbeat, self.now_ms());
                }
                Ok(heartbeat) => {
                    tracing::warn!(subject = %message.subject, pop = %heartbeat.pop, "a heartbeat in another's name is not heard");
                }
                Err(error) => tracing::warn!(subject = %message.subject, "a heartbeat cannot be read: {error}"),
            }
        }
    }

    async fn follow(self, mut events: BoxStream<'static, (&'static str, Event)>) {
        while let Some((kind, event)) = events.next().await {
            if let Event::Interrupted { reason } = &event {
                tracing::warn!(kind, "the control store cannot be heard: {reason}");
            }
            let mut known = self.known();
            if matches!(event, Event::Snapshot(_)) {
                known.told.insert(kind);
            }
            for (key, error) in known.books.apply(kind, event) {
                tracing::error!(%key, "a record cannot be read, and is left out: {error}");
            }
        }
    }

    async fn lead(self) {
        let mut role = self.0.role.clone();
        let mut leading: Option<Leading> = None;
        loop {
            let now = *role.borrow_and_update();
            match now {
                Role::Standby => {
                    if leading.take().is_some() {
                        tracing::warn!("this control plane leads no more");
                        self.known().planned = None;
                    }
                }
                Role::Leader { epoch } => {
                    if let Err(error) = self.lead_once(epoch.0, &mut leading).await {
                        tracing::warn!(
                            epoch = epoch.0,
                            "what is wanted could not be written, and is tried again: {error}"
                        );
                        // What was written is read again: somebody else may have.
                        leading = None;
                    }
                }
            }
            tokio::select! {
                changed = role.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    /// One look at things by the leader of `epoch`.
    async fn lead_once(&self, epoch: u64, leading: &mut Option<Leading>) -> Result<(), LeadError> {
        let heard_era = {
            let known = self.known();
            if !known.may_plan(self.now_ms()) {
                return Ok(());
            }
            known.view.era()
        };
        let leading = match leading {
            Some(leading) if leading.term.epoch == epoch => leading,
            _ => {
                let now_unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
                let now_unix_ms = u64::try_from(now_unix_ms).unwrap_or(u64::MAX);
                let era = era(&*self.0.store, heard_era, now_unix_ms).await?;
                let term = Term { era, epoch };
                let written = Written::read(&*self.0.store, term).await?;
                tracing::info!(epoch, "this control plane leads");
                leading.insert(Leading { term, written })
            }
        };
        self.follow_rollouts().await?;
        let Some((desired, routes)) = self.decide(leading) else { return Ok(()) };
        let count = leading.written.write(&*self.0.store, desired, routes).await?;
        if count > 0 {
            tracing::info!(epoch, records = count, "wrote what is wanted of the fleet");
        }
        Ok(())
    }

    /// Plans, if enough is known, and says what is wanted. Never awaits, and so sees one state of things.
    fn decide(&self, Leading { term, written }: &Leading) -> Option<(BTreeMap<PopId, Desired>, RouteParts)> {
        let now_ms = self.now_ms();
        let mut known = self.known();
        known.view.forget_old(now_ms);
        known.backoff.forget_old(now_ms);
        if !known.may_plan(now_ms) {
            return None;
        }
        let input = self.input_of(&known);
        if input.pops.is_empty() {
            return None;
        }
        let planned = match known.planned.clone() {
            Some(planned) if planned.input == input => planned,
            before => {
                let solved = solve(&input, before.as_ref().map(|it| &it.plan));
                let (plan, report) = match solved {
                    Ok(solved) => solved,
                    Err(why) => {
                        if known.refused.as_ref() != Some(&why) {
                            tracing::error!("what was wanted stays wanted, for there is no new plan: {why}");
                            known.refused = Some(why);
                        }
                        return None;
                    }
                };
                known.refused = None;
                tell(before.as_deref(), &report);
                let planned = Arc::new(Planned { input, plan, report });
                known.planned = Some(planned.clone());
                planned
            }
        };
        let scene = Scene::new(&known.view, &known.books, &planned.input, &planned.plan, now_ms);
        Some((scene.desired(&written.desired, *term), scene.routes(&written.routes, *term)))
    }

    /// Begins rollouts that a change of a current version asks for, and moves those that run.
    async fn follow_rollouts(&self) -> Result<(), LeadError> {
        let now_ms = self.now_ms();
        let changes: Vec<Rollout> = {
            let mut known = self.known();
            if !known.may_plan(now_ms) {
                return Ok(());
            }
            let mut changes = Vec::new();
            for (name, version) in meant(&known.books) {
                let before = known.books.rollout(&name).map(|kept| kept.record.clone());
                let next = match Rollout::begin(before.as_ref(), &name, &version, &known.books) {
                    Some(next) => Some(next),
                    None => {
                        let evidence = known.evidence.entry(name.clone()).or_insert_with(|| Evidence::since(now_ms));
                        before.as_ref().and_then(|rollout| rollout.step(evidence, now_ms))
                    }
                };
                if let Some(next) = next {
                    known.evidence.insert(name, Evidence::since(now_ms));
                    changes.push(next);
                }
            }
            changes
        };
        for rollout in changes {
            let key = Key::new(kind::ROLLOUT, [rollout.name.as_str()])?;
            let Rollout { name, from, to, wave, state } = &rollout;
            match (from, state) {
                (Some(from), RolloutState::Running) => {
                    tracing::info!(model = %name, %from, %to, wave, "the rollout goes on")
                }
                (Some(from), RolloutState::Back { reason }) => {
                    tracing::error!(model = %name, %from, %to, "the rollout was taken back: {reason}");
                }
                (Some(from), RolloutState::Done) => {
                    tracing::info!(model = %name, %from, %to, "the new version serves everywhere")
                }
                _ => {}
            }
            match self.put(&key, rollout.encode().into()).await {
                Ok(()) => {}
                Err(ControlError::Store(error)) => return Err(error.into()),
                Err(error) => tracing::warn!("a rollout could not be recorded: {error}"),
            }
        }
        Ok(())
    }
}

/// A plan that keeps every constraint, or why there is none. What breaks one is never followed.
fn solve(input: &Input, previous: Option<&Plan>) -> Result<(Plan, Report), String> {
    let (plan, report) = headland_placement::solve(input, previous).map_err(|error| error.to_string())?;
    headland_placement::check(input, previous, &plan).map_err(|error| format!("it breaks a constraint: {error}"))?;
    Ok((plan, report))
}

/// Says what a new plan changes, and what it lacks, where that is new.
fn tell(before: Option<&Planned>, report: &Report) {
    let moves = &report.moves;
    if !moves.loads.is_empty() || !moves.unloads.is_empty() {
        let within = report.gap * 100.0;
        tracing::info!(
            loads = moves.loads.len(),
            unloads = moves.unloads.len(),
            "a new plan, within {within:.1} % of the best possible"
        );
    }
    let lacked: BTreeSet<String> =
        before.map(|it| it.report.unplaced.iter().map(ToString::to_string).collect()).unwrap_or_default();
    for unplaced in report.unplaced.iter().map(ToString::to_string).filter(|text| !lacked.contains(text)) {
        tracing::warn!("not all can be placed: {unplaced}");
    }
}
