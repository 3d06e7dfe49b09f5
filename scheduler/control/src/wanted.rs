//! From a plan to what is wanted of every PoP, and where every region's requests go.
//!
//! Pure. Nothing is taken from a PoP before it is ready elsewhere, if there is room for both. Requests are sent only where the
//! model answers, so routes follow what PoPs report and not what was planned for them.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet};

use headland_fleet::{
    Candidate, Desired, DesiredApp, DesiredModel, DeviceReport, Intent, Keep, ModelKey, ModelRecord, ModelStanding,
    ROUTE_PARTS, RoutedModel, Routes, Source,
};
use headland_package::{ModelName, ModelVersion, PopId, RegionName};
use headland_placement::{Input, Location, ModelSpec, Plan};

use crate::books::Books;
use crate::input::id;
use crate::rollout::{STABLE, meant};
use crate::view::{FleetView, Liveness, PopView};

/// PoPs that a region's requests for one model may go to.
pub const CANDIDATES_MAX: usize = 4;
/// PoPs that are named as having a model's files.
pub const SOURCES_MAX: usize = 4;

/// In whose name something is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Term {
    /// The store's era.
    pub era: u64,
    /// The leader's epoch.
    pub epoch: u64,
}

/// Routes by region and part.
pub type RouteParts = BTreeMap<(RegionName, u8), Routes>;

/// What all of this looks at.
pub struct Scene<'a> {
    view: &'a FleetView,
    books: &'a Books,
    input: &'a Input,
    plan: &'a Plan,
    now_ms: u64,
    /// PoPs that hold models and are not lost.
    pops: Vec<(&'a PopId, &'a PopView)>,
    /// Who says what of each model.
    standings: BTreeMap<&'a ModelKey, Vec<Standing<'a>>>,
    /// What a replica takes wherever it takes most, in bytes.
    bytes: BTreeMap<&'a str, u64>,
    /// Where regions are.
    locations: BTreeMap<&'a str, Option<Location>>,
    /// How far apart those are that were measured.
    measured_ms: BTreeMap<(&'a str, &'a str), f64>,
}

/// What a PoP says of a model.
#[derive(Clone, Copy)]
struct Standing<'a> {
    pop: &'a PopId,
    there: &'a PopView,
    standing: &'a ModelStanding,
}

impl Standing<'_> {
    fn is_ready(&self) -> bool {
        matches!(self.standing, ModelStanding::Ready { .. })
    }

    fn has_files(&self) -> bool {
        matches!(self.standing, ModelStanding::Ready { .. } | ModelStanding::Stored)
    }
}

/// What each PoP holds.
pub type Holdings = BTreeMap<PopId, BTreeMap<ModelKey, Keep>>;

impl<'a> Scene<'a> {
    /// The fleet as heard, the records, what the solver was asked and answered, and what time it is.
    pub fn new(view: &'a FleetView, books: &'a Books, input: &'a Input, plan: &'a Plan, now_ms: u64) -> Self {
        let there = |pop: &PopView| !pop.heartbeat.storage_only && pop.liveness(now_ms) != Liveness::Lost;
        let pops: Vec<(&PopId, &PopView)> = view.pops().filter(|(_, pop)| there(pop)).collect();
        let mut standings: BTreeMap<&ModelKey, Vec<Standing<'_>>> = BTreeMap::new();
        for &(pop, there) in &pops {
            for model in &there.heartbeat.models {
                let standing = Standing { pop, there, standing: &model.standing };
                standings.entry(&model.key).or_default().push(standing);
            }
        }
        let most = |spec: &'a ModelSpec| spec.memory.cpu_bytes.max(spec.memory.gpu_bytes).unwrap_or(0);
        let bytes = input.models.iter().map(|spec| (spec.key.as_str(), most(spec))).collect();
        let locations = input.places.iter().map(|place| (place.id.as_str(), place.location)).collect();
        let measured = input.latency.measured.iter();
        let measured_ms = measured.map(|it| ((it.from.as_str(), it.to.as_str()), it.round_trip_ms)).collect();
        Scene { view, books, input, plan, now_ms, pops, standings, bytes, locations, measured_ms }
    }

    fn models(&self) -> impl Iterator<Item = &'a ModelRecord> {
        self.books.models.values().map(|kept| &kept.record)
    }

    fn standings(&self, key: &ModelKey) -> &[Standing<'a>] {
        self.standings.get(key).map_or(&[], Vec::as_slice)
    }

    /// What each PoP is to hold: what is planned, what has not arrived elsewhere yet, and files that wait for a request.
    pub fn holdings(&self) -> Holdings {
        let mut holdings: Holdings = self.pops.iter().map(|(pop, _)| ((*pop).clone(), BTreeMap::new())).collect();
        // What is planned comes before what is kept for a while: it has the first claim on the room.
        let planned: Vec<(&ModelRecord, BTreeSet<PopId>)> =
            self.models().map(|model| (model, self.planned(&model.key))).collect();
        for (model, pops) in &planned {
            for pop in pops {
                if let Some(held) = holdings.get_mut(pop) {
                    held.insert(model.key.clone(), Keep::Loaded);
                }
            }
        }
        for (model, pops) in &planned {
            match pops.is_empty() {
                false => self.retain(model, pops, &mut holdings),
                true => {
                    if let Some(held) = self.waits_at(model).and_then(|pop| holdings.get_mut(pop)) {
                        held.entry(model.key.clone()).or_insert(Keep::Stored);
                    }
                }
            }
        }
        holdings
    }

    fn planned(&self, key: &ModelKey) -> BTreeSet<PopId> {
        let plan = self.plan.model(&id(key));
        plan.into_iter()
            .flat_map(|plan| &plan.replicas)
            .filter_map(|replica| replica.pop.as_str().parse().ok())
            .collect()
    }

    /// Keeps `model` where it answers until all that is planned for it answers too, as far as there is room.
    fn retain(&self, model: &ModelRecord, planned: &BTreeSet<PopId>, holdings: &mut Holdings) {
        let standings = self.standings(&model.key);
        let arrived = standings.iter().filter(|it| it.is_ready() && planned.contains(it.pop)).count();
        if arrived == planned.len() {
            return;
        }
        for it in standings.iter().filter(|it| it.is_ready() && !planned.contains(it.pop)) {
            let Some(held) = holdings.get_mut(it.pop) else { continue };
            let all: u64 = held.keys().chain([&model.key]).map(|key| self.bytes(key)).sum();
            let room = it.there.heartbeat.devices.iter().map(|device| device.memory_bytes).max().unwrap_or(0);
            if all <= room {
                held.entry(model.key.clone()).or_insert(Keep::Loaded);
            }
        }
    }

    fn bytes(&self, key: &ModelKey) -> u64 {
        self.bytes.get(id(key).as_str()).copied().unwrap_or(0)
    }

    /// Where the files of a model wait that nobody asks for: where they lie already, or where there is most room.
    fn waits_at(&self, model: &ModelRecord) -> Option<&'a PopId> {
        let (regions, bytes) = (&model.needs.regions, self.bytes(&model.key));
        let live = |there: &PopView| there.liveness(self.now_ms) == Liveness::Live;
        let has = self.standings(&model.key).iter().find(|it| it.has_files() && live(it.there));
        let has = has.filter(|it| self.books.intent(it.pop) != Intent::Draining).map(|it| it.pop);
        let failed: BTreeSet<&PopId> = self
            .standings(&model.key)
            .iter()
            .filter(|it| matches!(it.standing, ModelStanding::Failed { .. }))
            .map(|it| it.pop)
            .collect();
        let may = |pop: &PopId, there: &PopView| {
            self.books.intent(pop) == Intent::Active
                && live(there)
                && !failed.contains(pop)
                && (regions.is_empty() || regions.contains(&there.heartbeat.place.region))
                && there.heartbeat.devices.iter().any(|device| device.memory_bytes >= bytes)
        };
        let room = |there: &PopView| {
            let free = |device: &DeviceReport| device.memory_bytes.saturating_sub(device.used_bytes);
            there.heartbeat.devices.iter().map(free).max().unwrap_or(0)
        };
        has.or_else(|| {
            let able = self.pops.iter().filter(|(pop, there)| may(pop, there));
            able.max_by_key(|(pop, there)| (room(there), Reverse(*pop))).map(|(pop, _)| *pop)
        })
    }

    /// What is wanted of every PoP; what of `before` already says so is taken over as it is.
    pub fn desired(&self, before: &BTreeMap<PopId, Desired>, Term { era, epoch }: Term) -> BTreeMap<PopId, Desired> {
        let pops: Vec<PopId> = self.pops.iter().map(|(pop, _)| (*pop).clone()).collect();
        let aliases = self.aliases(&pops);
        let mut all = BTreeMap::new();
        for (pop, held) in self.holdings() {
            let model = |(key, keep): (&ModelKey, &Keep)| {
                let record = self.books.model(key)?;
                Some(DesiredModel {
                    key: key.clone(),
                    manifest: record.manifest,
                    keep: *keep,
                    device: self.device(&pop, key),
                    sources: self.sources(&pop, Some(key)),
                })
            };
            let models = held.iter().filter_map(model).collect();
            let apps = self.books.apps.values().map(|kept| &kept.record).map(|app| DesiredApp {
                name: app.name.clone(),
                version: app.version.clone(),
                manifest: app.manifest,
                sources: self.sources(&pop, None),
            });
            let apps = apps.collect();
            let aliases = aliases.get(&pop).cloned().unwrap_or_default();
            let wanted = Desired { pop: pop.clone(), era, epoch, generation: 1, models, apps, aliases };
            let wanted = match before.get(&pop) {
                Some(old) if (old.era, old.epoch) == (era, epoch) && self.still_says(old, &wanted) => old.clone(),
                Some(old) => Desired { generation: old.generation.saturating_add(1), ..wanted },
                None => wanted,
            };
            all.insert(pop, wanted);
        }
        all
    }

    /// Which of the PoP's devices a model is planned for.
    fn device(&self, pop: &PopId, key: &ModelKey) -> Option<String> {
        let plan = self.plan.model(&id(key))?;
        let replica = plan.replicas.iter().find(|replica| replica.pop.as_str() == pop.as_str())?;
        let devices = &self.view.pop(pop)?.heartbeat.devices;
        devices.get(usize::from(replica.device.0)).map(|device| device.device.clone())
    }

    /// Whether `old` wants what `new` wants, from members that are still there: sources come and go all the time, and are no
    /// reason by themselves to write a desired state anew.
    fn still_says(&self, old: &Desired, new: &Desired) -> bool {
        let there =
            |sources: &[Source], now: &[Source]| now.is_empty() || sources.iter().any(|source| self.is_there(source));
        let model = |(old, new): (&DesiredModel, &DesiredModel)| {
            (&old.key, old.manifest, old.keep, &old.device) == (&new.key, new.manifest, new.keep, &new.device)
                && there(&old.sources, &new.sources)
        };
        let app = |(old, new): (&DesiredApp, &DesiredApp)| {
            (&old.name, &old.version, old.manifest) == (&new.name, &new.version, new.manifest)
                && there(&old.sources, &new.sources)
        };
        (old.models.len(), old.apps.len(), &old.aliases) == (new.models.len(), new.apps.len(), &new.aliases)
            && old.models.iter().zip(&new.models).all(model)
            && old.apps.iter().zip(&new.apps).all(app)
    }

    fn is_there(&self, source: &Source) -> bool {
        let known = self.view.pop(&source.pop);
        known.is_some_and(|pop| pop.heartbeat.address == source.address && pop.liveness(self.now_ms) == Liveness::Live)
    }

    /// Who has a model's files, or an app's, the nearest to `pop` first. Control planes have everything.
    fn sources(&self, pop: &PopId, model: Option<&ModelKey>) -> Vec<Source> {
        let own = self.view.pop(pop).map(|there| &there.heartbeat.place.region);
        let distance = |there: &PopView| own.map_or(0.0, |own| self.distance_ms(own, &there.heartbeat.place.region));
        let live = |there: &PopView| there.liveness(self.now_ms) == Liveness::Live;
        let holders = model.map_or(&[][..], |key| self.standings(key));
        let mut nearest: Vec<(f64, Source)> = holders
            .iter()
            .filter(|it| it.has_files() && it.pop != pop && live(it.there))
            .map(|it| (distance(it.there), source(it.pop, it.there)))
            .collect();
        nearest.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
        nearest.truncate(SOURCES_MAX);
        let controls = self.view.pops().filter(|(_, there)| there.heartbeat.storage_only && live(there));
        let controls = controls.map(|(pop, there)| source(pop, there));
        nearest.into_iter().map(|(_, source)| source).chain(controls).collect()
    }

    fn distance_ms(&self, from: &RegionName, to: &RegionName) -> f64 {
        let latency = &self.input.latency;
        let location = |name: &RegionName| self.locations.get(name.as_str()).copied().flatten();
        match self.measured_ms.get(&(from.as_str(), to.as_str())) {
            Some(measured_ms) => *measured_ms,
            None if from == to => latency.local_ms,
            None => latency.estimate_ms(location(from), location(to)),
        }
    }

    /// What the operator's aliases stand for at each PoP, with `stable` as far as a rollout has moved it.
    fn aliases(&self, pops: &[PopId]) -> BTreeMap<PopId, BTreeMap<ModelName, BTreeMap<String, ModelVersion>>> {
        let mut given: BTreeMap<&ModelName, BTreeMap<String, ModelVersion>> = BTreeMap::new();
        for kept in self.books.aliases.values() {
            given.insert(&kept.record.name, kept.record.aliases.clone());
        }
        let meant = meant(self.books);
        let mut all = BTreeMap::new();
        for pop in pops {
            let mut here = BTreeMap::new();
            for (name, current) in &meant {
                let rollout = self.books.rollouts.values().find(|kept| kept.record.name == *name);
                let stable = rollout.map_or(current, |kept| kept.record.version_at(pop, pops));
                let mut aliases = given.get(name).cloned().unwrap_or_default();
                aliases.insert(STABLE.to_owned(), stable.clone());
                here.insert(name.clone(), aliases);
            }
            all.insert(pop.clone(), here);
        }
        all
    }

    /// Where the requests of every region go, by region and part; what of `before` already says so is taken over as it is.
    pub fn routes(&self, before: &RouteParts, Term { era, epoch }: Term) -> RouteParts {
        let regions: BTreeSet<&RegionName> = self.pops.iter().map(|(_, pop)| &pop.heartbeat.place.region).collect();
        let mut all = BTreeMap::new();
        for region in regions {
            let mut parts: BTreeMap<u8, Vec<RoutedModel>> = (0..ROUTE_PARTS).map(|part| (part, Vec::new())).collect();
            for record in self.models() {
                let candidates = self.candidates(region, record);
                if !candidates.is_empty() {
                    let routed = RoutedModel { key: record.key.clone(), digest: record.digest, candidates };
                    parts.entry(Routes::part_of(&record.key.name)).or_default().push(routed);
                }
            }
            for (part, models) in parts {
                let at = (region.clone(), part);
                let old = before.get(&at);
                let routes = match old {
                    // A part that never had anything to say is not written.
                    None if models.is_empty() => continue,
                    Some(old) if (old.era, old.epoch) == (era, epoch) && old.models == models => old.clone(),
                    _ => {
                        let generation = old.map_or(1, |old| old.generation.saturating_add(1));
                        Routes { region: region.clone(), part, era, epoch, generation, models }
                    }
                };
                all.insert(at, routes);
            }
        }
        all
    }

    /// Who may be asked for a model: those that answer, as planned and then the nearest; if none does, those that will.
    fn candidates(&self, region: &RegionName, record: &ModelRecord) -> Vec<Candidate> {
        let standings = self.standings(&record.key);
        let answers = standings.iter().any(Standing::is_ready);
        let place = region.as_str().into();
        let planned: BTreeMap<&str, (usize, f64)> = match self.plan.model(&id(&record.key)) {
            None => BTreeMap::new(),
            Some(plan) => {
                let targets = plan.targets(&place).enumerate();
                targets.map(|(order, (replica, share))| (replica.pop.as_str(), (order, share))).collect()
            }
        };
        let rank = |it: &Standing<'_>| {
            let (order, share) = planned.get(it.pop.as_str()).copied().unwrap_or((usize::MAX, 0.0));
            let is_late = it.there.liveness(self.now_ms) != Liveness::Live;
            Ranked { is_late, order, distance_ms: self.distance_ms(region, &it.there.heartbeat.place.region), share }
        };
        let able = standings.iter().filter(|it| match it.standing {
            ModelStanding::Ready { .. } => true,
            ModelStanding::Loading | ModelStanding::Stored => !answers,
            ModelStanding::Failed { .. } => false,
        });
        let mut found: Vec<(Ranked, Source)> = able.map(|it| (rank(it), source(it.pop, it.there))).collect();
        found.sort_by(|(a, source_a), (b, source_b)| a.cmp(b).then_with(|| source_a.cmp(source_b)));
        found.truncate(CANDIDATES_MAX);
        let sum: f64 = found.iter().map(|(ranked, _)| ranked.share).sum();
        // Until what is planned answers, the best of the others gets everything.
        let share = |index: usize, share: f64| if sum > 0.0 { share / sum } else { f64::from(u8::from(index == 0)) };
        let candidate = |(index, (ranked, source)): (usize, (Ranked, Source))| Candidate {
            source,
            share: share(index, ranked.share),
        };
        found.into_iter().enumerate().map(candidate).collect()
    }
}

/// The order in which candidates are asked.
struct Ranked {
    is_late: bool,
    order: usize,
    distance_ms: f64,
    share: f64,
}

impl Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        let first = (self.is_late, self.order).cmp(&(other.is_late, other.order));
        first.then(self.distance_ms.total_cmp(&other.distance_ms))
    }
}

/// Who has a model's files, or an app's, as far as they say so: control planes have everything.
pub fn sources(view: &FleetView, model: Option<&ModelKey>, now_ms: u64) -> Vec<Source> {
    let has = |there: &PopView| {
        let models = &there.heartbeat.models;
        let standing = models.iter().find(|report| Some(&report.key) == model).map(|report| &report.standing);
        there.heartbeat.storage_only || matches!(standing, Some(ModelStanding::Ready { .. } | ModelStanding::Stored))
    };
    let live = |there: &PopView| there.liveness(now_ms) == Liveness::Live;
    let found = view.pops().filter(|(_, there)| live(there) && has(there));
    found.map(|(pop, there)| source(pop, there)).collect()
}

fn source(pop: &PopId, there: &PopView) -> Source {
    Source { pop: pop.clone(), address: there.heartbeat.address.clone(), control: there.heartbeat.storage_only }
}

#[cfg(test)]
mod tests;
