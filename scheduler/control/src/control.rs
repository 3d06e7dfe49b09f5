//! The loop: hear, follow the records, and, while this control plane leads, plan, check, write.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use futures_util::stream::{BoxStream, select_all};
use headland_control_store::{Bus, BusError, ControlStore, Event, Key, KeyError, Leadership, Prefix, Role, StoreError};
use headland_fleet::{Document, Heartbeat, Intent, ModelKey, PolicyRecord, PopRecord, Source, kind, subject};
use headland_package::{ModelName, PopId};
use headland_placement::Input;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::books::{Books, KINDS};
use crate::controller::{Aspect, Controller, Planned, Wanted};
use crate::input::Settings;
use crate::leading::{ERA_AHEAD_MS_MAX, LeadError, Leave, Written, era};
use crate::overview::Overview;
use crate::policy::Rules;
use crate::rollout::{Rollout, RolloutState};
use crate::wanted::Term;

/// How often the leader looks whether there is something to decide.
const TICK: Duration = Duration::from_millis(500);
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
    /// What was asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
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

/// A control plane. Cheap to clone.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

struct Inner {
    store: Arc<dyn ControlStore>,
    leadership: Leadership,
    started: Instant,
    controller: Mutex<Controller>,
}

/// A term of leadership.
struct Leading {
    term: Term,
    written: Written,
    /// What the last decision that was written depended on.
    decided: Option<Aspect>,
}

impl Control {
    /// Starts listening and following; leads whenever `leadership` says so.
    ///
    /// # Errors
    /// When the bus cannot be listened to.
    pub async fn start(
        store: Arc<dyn ControlStore>,
        bus: Arc<dyn Bus>,
        leadership: Leadership,
        options: ControlOptions,
    ) -> Result<(Self, JoinSet<()>), ControlError> {
        let heartbeats = bus.subscribe(Prefix::kind(subject::HEARTBEAT)?).await?;
        let mut watches = Vec::new();
        for kind in KINDS {
            watches.push(store.watch(Prefix::kind(kind)?).map(move |event| (kind, event)).boxed());
        }
        let controller = Mutex::new(Controller::new(options.settings));
        let control = Control(Arc::new(Inner { store, leadership, started: Instant::now(), controller }));
        let mut tasks = JoinSet::new();
        tasks.spawn(control.clone().listen(heartbeats));
        tasks.spawn(control.clone().follow(select_all(watches).boxed()));
        tasks.spawn(control.clone().lead());
        Ok((control, tasks))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn controller(&self) -> MutexGuard<'_, Controller> {
        self.0.controller.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it leads, and in which epoch.
    pub fn role(&self) -> Role {
        *self.0.leadership.role().borrow()
    }

    /// Whether there is one PoP, which holds what its own operators say, as under `headland up`: the plan is advice.
    pub fn is_alone(&self) -> bool {
        self.controller().is_alone()
    }

    /// The fleet as it looks now.
    pub fn overview(&self) -> Overview {
        self.controller().overview(self.now_ms())
    }

    /// The plan in force, if this control plane leads and has made one.
    pub fn planned(&self) -> Option<Arc<Planned>> {
        self.controller().planned().cloned()
    }

    /// What the solver would be asked now.
    pub fn input(&self) -> Input {
        self.controller().input(self.now_ms())
    }

    /// Reads from the records.
    pub fn books<T>(&self, read: impl FnOnce(&Books) -> T) -> T {
        read(self.controller().books())
    }

    /// Says what is wanted of a PoP.
    ///
    /// # Errors
    /// [`ControlError::NotFound`] for one that was never heard of, or the store fails.
    pub async fn set_intent(&self, pop: &PopId, intent: Intent) -> Result<(), ControlError> {
        if self.controller().view().pop(pop).is_none() {
            let known: Vec<String> = self.controller().view().pops().map(|(pop, _)| pop.to_string()).take(10).collect();
            let there = if known.is_empty() {
                "none was heard of".to_owned()
            } else {
                format!("there are {}", known.join(", "))
            };
            return Err(ControlError::NotFound(format!("there is no PoP `{pop}`; {there}")));
        }
        if intent == Intent::Draining && self.is_alone() {
            let why = format!("`{pop}` is the only PoP: there is no other that could take over what it holds");
            return Err(ControlError::Conflict(why));
        }
        let key = Key::new(kind::POP, [pop.as_str()])?;
        let record = PopRecord { pop: pop.clone(), intent };
        self.put(&key, record.encode().into()).await?;
        tracing::info!(%pop, %intent, "what is wanted of the PoP was changed");
        Ok(())
    }

    /// Says what the fleet's trust policy is, for plans to be made by it.
    ///
    /// # Errors
    /// [`ControlError::Invalid`] names the rule that cannot be used; or the store fails.
    pub async fn set_policy(&self, policy: &PolicyRecord) -> Result<(), ControlError> {
        Rules::of(policy).map_err(ControlError::Invalid)?;
        self.put(&Key::new(kind::POLICY, [PolicyRecord::NAME])?, policy.encode().into()).await?;
        tracing::info!(rules = policy.rules.len(), "plans are made by another trust policy");
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
        let known = self.controller().books().rollout(name).map(|kept| kept.record.clone()).ok_or_else(missing)?;
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
        self.controller().sources(model, self.now_ms())
    }

    async fn listen(self, mut heartbeats: BoxStream<'static, headland_control_store::Message>) {
        while let Some(message) = heartbeats.next().await {
            match Heartbeat::decode(&message.payload) {
                // Whose heartbeat it is, its subject says: a bus can be told who may publish on what.
                Ok(heartbeat) if message.subject.parts() == [heartbeat.pop.as_str()] => {
                    self.controller().hear(heartbeat, self.now_ms());
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
            for (key, error) in self.controller().read(kind, event) {
                tracing::error!(%key, "a record cannot be read, and is left out: {error}");
            }
        }
    }

    async fn lead(self) {
        let mut role = self.0.leadership.role();
        let mut leading: Option<Leading> = None;
        loop {
            let now = *role.borrow_and_update();
            match now {
                Role::Standby => {
                    if leading.take().is_some() {
                        // Who is alone gives up its lease only when it ends.
                        if !self.is_alone() {
                            tracing::warn!("this control plane leads no more");
                        }
                        self.controller().stand_by();
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
        if !self.controller().may_plan(self.now_ms()) {
            return Ok(());
        }
        let leave = Leave::new(&self.0.leadership, epoch);
        leave.check()?;
        let leading = match leading {
            Some(leading) if leading.term.epoch == epoch => leading,
            _ => {
                let now_unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
                let now_unix_ms = u64::try_from(now_unix_ms).unwrap_or(u64::MAX);
                let heard_era = self.heard_era(now_unix_ms.saturating_add(ERA_AHEAD_MS_MAX));
                let era = era(&*self.0.store, heard_era, now_unix_ms).await?;
                let term = Term { era, epoch };
                let written = Written::read(&*self.0.store, term).await?;
                if !self.is_alone() {
                    tracing::info!(epoch, "this control plane leads");
                }
                leading.insert(Leading { term, written, decided: None })
            }
        };
        if !self.is_alone() {
            self.follow_rollouts(leave).await?;
        }
        // Looked at and decided in one go, and so from one state of things.
        let (aspect, wanted) = {
            let mut controller = self.controller();
            let aspect = controller.aspect(self.now_ms());
            if leading.decided == Some(aspect) {
                return Ok(());
            }
            let wanted = match controller.is_alone() {
                true => controller.plan(self.now_ms()).map(|_| Wanted::default()),
                false => controller.decide(leading.term, leading.written.wanted(), self.now_ms()),
            };
            (aspect, wanted)
        };
        let Some(wanted) = wanted else { return Ok(()) };
        let count = leading.written.write(&*self.0.store, leave, wanted).await?;
        leading.decided = Some(aspect);
        if count > 0 {
            tracing::info!(epoch, records = count, "wrote what is wanted of the fleet");
        }
        Ok(())
    }

    /// The latest era that PoPs have heard of, as far as that can be.
    fn heard_era(&self, latest: u64) -> u64 {
        let controller = self.controller();
        for (pop, there) in controller.view().pops().filter(|(_, there)| there.heartbeat.era > latest) {
            let era = there.heartbeat.era;
            tracing::warn!(%pop, era, "it says it knows a store that was made long after now, which is not believed");
        }
        controller.view().era(latest)
    }

    /// Begins rollouts that a change of a current version asks for, and moves those that run.
    async fn follow_rollouts(&self, leave: Leave<'_>) -> Result<(), LeadError> {
        let changes = self.controller().rollouts(self.now_ms());
        for rollout in changes {
            leave.check()?;
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
