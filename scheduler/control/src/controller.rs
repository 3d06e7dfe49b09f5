//! What a control plane knows, and what it decides from that. Pure: whoever calls says what time it is, brings what was heard
//! and read, and writes what comes out. [`crate::Control`] does so in a fleet, `scheduler/sim` in simulated time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headland_control_store::{Event, Key};
use headland_fleet::{Desired, DocumentError, Heartbeat, ModelKey, ModelStanding, Source};
use headland_package::{ModelName, PopId};
use headland_placement::{Input, Plan, Report};

use crate::backoff::Backoff;
use crate::books::{Books, KINDS};
use crate::input::{self, Current, Settings};
use crate::overview::Overview;
use crate::rollout::{Evidence, Rollout, meant};
use crate::view::{FleetView, Heard, LATE_AFTER_MS};
use crate::wanted::{RouteParts, Scene, Term};

/// Before the first plan, PoPs are listened to for so long: who has not spoken yet is not gone.
pub const LISTEN_FIRST_MS: u64 = LATE_AFTER_MS;

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

/// What is to be written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// What is wanted of each PoP.
    pub desired: BTreeMap<PopId, Desired>,
    /// Where the requests of each region go.
    pub routes: RouteParts,
}

/// What a decision depends on, in short: as long as it is the same, nothing else would be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aspect {
    records: u64,
    news: u64,
    silent: (usize, usize),
    asking: usize,
    held: (u64, usize),
}

/// Hears, reads, decides.
#[derive(Debug, Default)]
pub struct Controller {
    settings: Settings,
    view: FleetView,
    books: Books,
    backoff: Backoff,
    evidence: BTreeMap<ModelName, Evidence>,
    /// Counts what was told of records.
    records: u64,
    /// Kinds of records that were told whole.
    told: BTreeSet<&'static str>,
    /// Since when PoPs are heard without a pause.
    listening_since_ms: Option<u64>,
    last_heard_ms: u64,
    planned: Option<Arc<Planned>>,
    /// Why there was no plan, the last time there was none.
    refused: Option<String>,
}

impl Controller {
    /// Knows nothing yet.
    pub fn new(settings: Settings) -> Self {
        Controller { settings, ..Controller::default() }
    }

    /// Takes in how a PoP is.
    pub fn hear(&mut self, heartbeat: Heartbeat, now_ms: u64) {
        // After a silence of all, it was we who were cut off: the others get time to speak before they count as lost.
        if self.listening_since_ms.is_none() || now_ms.saturating_sub(self.last_heard_ms) > LATE_AFTER_MS {
            self.listening_since_ms = Some(now_ms);
        }
        self.last_heard_ms = now_ms;
        let (pop, region) = (heartbeat.pop.clone(), heartbeat.place.region.clone());
        // A PoP that is alone tries again whenever it is asked to.
        if !self.settings.alone {
            self.backoff.note(&heartbeat, now_ms);
        }
        for demand in &heartbeat.demand {
            if let Some(evidence) = self.evidence.get_mut(&demand.key.name) {
                evidence.note(demand);
            }
        }
        for model in &heartbeat.models {
            if let (ModelStanding::Ready { cost: Some(cost), .. }, Some(evidence)) =
                (&model.standing, self.evidence.get_mut(&model.key.name))
            {
                evidence.ran(&model.key.version, cost.latency_us);
            }
        }
        match self.view.hear(heartbeat, now_ms) {
            Heard::Joined if self.settings.alone => {}
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

    /// Takes in what the store tells of records of `kind`, one of [`KINDS`]; what of it could not be read.
    pub fn read(&mut self, kind: &'static str, event: Event) -> Vec<(Key, DocumentError)> {
        if matches!(event, Event::Snapshot(_)) {
            self.told.insert(kind);
        }
        self.records += 1;
        self.books.apply(kind, event)
    }

    /// Whether enough is known to plan.
    pub fn may_plan(&self, now_ms: u64) -> bool {
        // Whoever is alone waits for nobody.
        let listen_first_ms = if self.settings.alone { 0 } else { LISTEN_FIRST_MS };
        let listened = self.listening_since_ms.is_some_and(|since| now_ms.saturating_sub(since) >= listen_first_ms);
        let hears = now_ms.saturating_sub(self.last_heard_ms) <= LATE_AFTER_MS;
        listened && hears && KINDS.iter().all(|kind| self.told.contains(kind))
    }

    /// Rollouts that a change of a current version asks for, and the next step of those that run.
    pub fn rollouts(&mut self, now_ms: u64) -> Vec<Rollout> {
        if !self.may_plan(now_ms) {
            return Vec::new();
        }
        let mut changes = Vec::new();
        for (name, version) in meant(&self.books) {
            let before = self.books.rollout(&name).map(|kept| kept.record.clone());
            let next = match Rollout::begin(before.as_ref(), &name, &version, &self.books) {
                Some(next) => Some(next),
                None => {
                    let evidence = self.evidence.entry(name.clone()).or_insert_with(|| Evidence::since(now_ms));
                    before.as_ref().and_then(|rollout| rollout.step(evidence, now_ms))
                }
            };
            if let Some(next) = next {
                self.evidence.insert(name, Evidence::since(now_ms));
                changes.push(next);
            }
        }
        changes
    }

    /// What a decision would depend on now, once what is too old is forgotten.
    pub fn aspect(&mut self, now_ms: u64) -> Aspect {
        self.forget_old(now_ms);
        Aspect {
            records: self.records,
            news: self.view.news(),
            silent: self.view.silent(now_ms),
            asking: self.view.demand().pops(),
            held: self.backoff.count(now_ms),
        }
    }

    fn forget_old(&mut self, now_ms: u64) {
        self.view.forget_old(now_ms);
        self.backoff.forget_old(now_ms);
    }

    /// Plans, if enough is known, and says what is wanted; what `before` wanted already is taken over as it is.
    pub fn decide(&mut self, term: Term, before: &Wanted, now_ms: u64) -> Option<Wanted> {
        let planned = self.plan(now_ms)?;
        let scene = Scene::new(&self.view, &self.books, &planned.input, &planned.plan, now_ms);
        Some(Wanted { desired: scene.desired(&before.desired, term), routes: scene.routes(&before.routes, term) })
    }

    /// The plan for what is known now, if that is enough; the one in force, where it answers the same question.
    pub fn plan(&mut self, now_ms: u64) -> Option<Arc<Planned>> {
        self.forget_old(now_ms);
        if !self.may_plan(now_ms) {
            return None;
        }
        let input = self.input(now_ms);
        if input.pops.is_empty() {
            return None;
        }
        let before = self.planned.clone();
        if let Some(planned) = before.as_ref().filter(|planned| planned.input == input) {
            return Some(planned.clone());
        }
        let solved = solve(&input, before.as_ref().map(|it| &it.plan));
        let (plan, report) = match solved {
            Ok(solved) => solved,
            Err(why) => {
                if self.refused.as_ref() != Some(&why) {
                    tracing::error!("what was wanted stays wanted, for there is no new plan: {why}");
                    self.refused = Some(why);
                }
                return None;
            }
        };
        self.refused = None;
        // Who is alone follows no plan, and is told of it when it asks.
        if !self.settings.alone {
            tell(before.as_deref(), &report);
        }
        let planned = Arc::new(Planned { input, plan, report });
        self.planned = Some(planned.clone());
        Some(planned)
    }

    /// What the solver would be asked now.
    pub fn input(&self, now_ms: u64) -> Input {
        input::input(&self.view, &self.books, &self.backoff, &self.current(), &self.settings, now_ms)
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

    /// Whether there is one PoP, which holds what its own operators say: the plan is advice.
    pub fn is_alone(&self) -> bool {
        self.settings.alone
    }

    /// The plan in force, if one was made since the last [`Controller::stand_by`].
    pub fn planned(&self) -> Option<&Arc<Planned>> {
        self.planned.as_ref()
    }

    /// Forgets the plan: somebody else leads.
    pub fn stand_by(&mut self) {
        self.planned = None;
    }

    /// The fleet as it looks now.
    pub fn overview(&self, now_ms: u64) -> Overview {
        Overview::of(&self.view, &self.books, &self.backoff, now_ms)
    }

    /// The fleet as heard.
    pub fn view(&self) -> &FleetView {
        &self.view
    }

    /// The records.
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// Who has a model's files, or an app's.
    pub fn sources(&self, model: Option<&ModelKey>, now_ms: u64) -> Vec<Source> {
        crate::wanted::sources(&self.view, model, now_ms)
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
