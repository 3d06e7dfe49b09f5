//! From a plan to what is wanted of every PoP, and where every region's requests go.
//!
//! Pure. Nothing is taken from a PoP before it is ready elsewhere, if there is room for both (`holdings.rs`). What a PoP is told
//! stays as it was where nothing in it has changed (`desired.rs`). Requests are sent only where the model answers, so routes follow
//! what PoPs report and not what was planned for them (`routes.rs`); who was lost is asked while nobody else answers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use headland_fleet::{Keep, ModelKey, ModelRecord, ModelReport, ModelStanding, Routes, Source};
use headland_package::{PopId, RegionName};
use headland_placement::{Input, ModelPlan, Plan};

use crate::books::Books;
use crate::input::id;
use crate::view::{FleetView, Liveness, PopView};

mod desired;
mod holdings;
mod routes;

pub use desired::SOURCES_MAX;
pub use routes::CANDIDATES_MAX;

/// In whose name something is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Term {
    /// The store's era.
    pub era: u64,
    /// The leader's epoch.
    pub epoch: u64,
}

/// Routes by region and part. What a decision leaves as it was is shared with the one before.
pub type RouteParts = BTreeMap<(RegionName, u8), Arc<Routes>>;

/// What each PoP holds.
pub type Holdings = BTreeMap<PopId, BTreeMap<ModelKey, Keep>>;

/// What all of this looks at. A fleet has thousands of PoPs and models, and is looked at twice a second: what is needed again and
/// again is found once, and goes by position.
pub struct Scene<'a> {
    view: &'a FleetView,
    books: &'a Books,
    now_ms: u64,
    /// PoPs that hold models and are not lost, by name.
    pops: Vec<PopHere<'a>>,
    /// PoPs that are lost and had a model when they were last heard.
    lost: HashMap<&'a ModelKey, Vec<LostHolder<'a>>>,
    /// Models by name and version.
    models: Vec<ModelHere<'a>>,
    /// Regions where somebody stands, control planes too.
    regions: Vec<&'a RegionName>,
    /// Round trips between regions, row by row.
    apart_ms: Vec<f64>,
}

/// A PoP that is there.
#[derive(Clone, Copy)]
struct PopHere<'a> {
    id: &'a PopId,
    there: &'a PopView,
    region: usize,
    /// Whether it was heard just now, and is not about to stop.
    is_live: bool,
}

/// A PoP that answered for a model when it was last heard.
struct LostHolder<'a> {
    id: &'a PopId,
    there: &'a PopView,
    region: usize,
}

/// A model, and what is said and planned of it.
struct ModelHere<'a> {
    record: &'a ModelRecord,
    /// What a replica takes wherever it takes most, in bytes.
    bytes: u64,
    /// What PoPs say, in the order of their positions.
    standings: Vec<Standing<'a>>,
    plan: Option<&'a ModelPlan>,
    /// For each of the plan's replicas, the position of its PoP, if that is there.
    planned: Vec<Option<usize>>,
}

/// What a PoP says of a model.
#[derive(Clone, Copy)]
struct Standing<'a> {
    /// The PoP's position.
    pop: usize,
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

impl<'a> ModelHere<'a> {
    /// What a PoP says of it.
    fn standing_of(&self, pop: usize) -> Option<&Standing<'a>> {
        self.standings.binary_search_by_key(&pop, |it| it.pop).ok().map(|at| &self.standings[at])
    }
}

impl<'a> Scene<'a> {
    /// The fleet as heard, the records, what the solver was asked and answered, and what time it is.
    pub fn new(view: &'a FleetView, books: &'a Books, input: &'a Input, plan: &'a Plan, now_ms: u64) -> Self {
        let mut regions: Vec<&RegionName> = view.pops().map(|(_, pop)| &pop.heartbeat.place.region).collect();
        regions.sort_unstable();
        regions.dedup();
        let region_at: HashMap<&RegionName, usize> = regions.iter().copied().zip(0..).collect();
        let (mut pops, mut lost) = (Vec::new(), HashMap::<_, Vec<_>>::new());
        for (id, there) in view.pops().filter(|(_, there)| !there.heartbeat.storage_only) {
            let liveness = there.liveness(now_ms);
            let region = region_at.get(&there.heartbeat.place.region).copied().unwrap_or(0);
            if liveness == Liveness::Lost {
                let ready = |model: &&ModelReport| matches!(model.standing, ModelStanding::Ready { .. });
                for model in there.heartbeat.models.iter().filter(ready) {
                    lost.entry(&model.key).or_default().push(LostHolder { id, there, region });
                }
            } else {
                let is_live = liveness == Liveness::Live && !there.heartbeat.leaving;
                pops.push(PopHere { id, there, region, is_live });
            }
        }
        let mut standings: HashMap<&ModelKey, Vec<Standing<'_>>> = HashMap::new();
        for (pop, here) in pops.iter().enumerate() {
            for model in &here.there.heartbeat.models {
                standings.entry(&model.key).or_default().push(Standing { pop, standing: &model.standing });
            }
        }
        let pop_at: HashMap<&str, usize> = pops.iter().enumerate().map(|(at, pop)| (pop.id.as_str(), at)).collect();
        let bytes: HashMap<&str, u64> = input
            .models
            .iter()
            .map(|spec| (spec.key.as_str(), spec.memory.cpu_bytes.max(spec.memory.gpu_bytes).unwrap_or(0)))
            .collect();
        let model = |record: &'a ModelRecord| {
            let (key, standings) = (id(&record.key), standings.remove(&record.key).unwrap_or_default());
            let plan = plan.model(&key);
            let replicas = plan.into_iter().flat_map(|plan| &plan.replicas);
            let planned = replicas.map(|replica| pop_at.get(replica.pop.as_str()).copied()).collect();
            ModelHere { record, bytes: bytes.get(key.as_str()).copied().unwrap_or(0), standings, plan, planned }
        };
        let mut models: Vec<ModelHere<'a>> = books.models.values().map(|kept| &kept.record).map(model).collect();
        models.sort_by(|a, b| a.record.key.cmp(&b.record.key));
        let apart_ms = apart_ms(&regions, input);
        Scene { view, books, now_ms, pops, lost, models, regions, apart_ms }
    }

    fn distance_ms(&self, from: usize, to: usize) -> f64 {
        self.apart_ms[from * self.regions.len() + to]
    }
}

/// Round trips between regions: as measured, or else by their places on Earth.
fn apart_ms(regions: &[&RegionName], input: &Input) -> Vec<f64> {
    let latency = &input.latency;
    let at: HashMap<&str, usize> = regions.iter().enumerate().map(|(at, region)| (region.as_str(), at)).collect();
    let mut locations = vec![None; regions.len()];
    for place in &input.places {
        if let Some(&at) = at.get(place.id.as_str()) {
            locations[at] = place.location;
        }
    }
    let mut apart_ms = Vec::with_capacity(regions.len() * regions.len());
    for (a, from) in locations.iter().enumerate() {
        let to = |(b, to)| if a == b { latency.local_ms } else { latency.estimate_ms(*from, to) };
        apart_ms.extend(locations.iter().copied().enumerate().map(to));
    }
    for measured in &latency.measured {
        if let (Some(from), Some(to)) = (at.get(measured.from.as_str()), at.get(measured.to.as_str())) {
            apart_ms[from * regions.len() + to] = measured.round_trip_ms;
        }
    }
    apart_ms
}

/// Who has a model's files, or those of apps, as far as they say so: control planes have everything, unless they lost it.
pub fn sources(view: &FleetView, model: Option<&ModelKey>, now_ms: u64) -> Vec<Source> {
    let has = |there: &PopView| {
        let models = &there.heartbeat.models;
        let standing = models.iter().find(|report| Some(&report.key) == model).map(|report| &report.standing);
        let has_model = matches!(standing, Some(ModelStanding::Ready { .. } | ModelStanding::Stored));
        there.heartbeat.storage_only || has_model || (model.is_none() && serves_apps(there))
    };
    let live = |there: &PopView| there.liveness(now_ms) == Liveness::Live;
    let found = view.pops().filter(|(_, there)| live(there) && has(there));
    found.map(|(pop, there)| source(pop, there)).collect()
}

fn serves_apps(there: &PopView) -> bool {
    there.heartbeat.apps.iter().any(|app| app.failed.is_none())
}

fn source(pop: &PopId, there: &PopView) -> Source {
    Source { pop: pop.clone(), address: there.heartbeat.address.clone(), control: there.heartbeat.storage_only }
}

#[cfg(test)]
mod tests;
