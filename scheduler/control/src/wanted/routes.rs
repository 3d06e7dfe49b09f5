//! What is written for each region: where its requests go, and what version they mean.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use headland_fleet::{Candidate, ModelRecord, ModelStanding, ROUTE_PARTS, RoutedModel, Routes, Source};
use headland_package::PopId;
use headland_placement::Share;

use super::desired::AliasesOf;
use super::{LostHolder, ModelHere, PopHere, RouteParts, Scene, Standing, Term, source};
use crate::view::PopView;

/// PoPs that a region's requests for one model may go to.
pub const CANDIDATES_MAX: usize = 4;

/// What a part of a region's routes is to say of models, while it is only compared: most of it says what it said before, and the
/// candidates of thousands of models in hundreds of regions are not copied for that.
#[derive(Default)]
struct Part<'a> {
    models: Vec<(&'a ModelRecord, Range<usize>)>,
    candidates: Vec<Chosen<'a>>,
}

/// A candidate.
#[derive(Clone, Copy)]
struct Chosen<'a> {
    id: &'a PopId,
    there: &'a PopView,
    share: f64,
}

impl Chosen<'_> {
    fn is(&self, candidate: &Candidate) -> bool {
        let Candidate { source: Source { pop, address, control }, share } = candidate;
        let heartbeat = &self.there.heartbeat;
        pop == self.id
            && *address == heartbeat.address
            && *control == heartbeat.storage_only
            && share.to_bits() == self.share.to_bits()
    }

    fn named(&self) -> Candidate {
        Candidate { source: source(self.id, self.there), share: self.share }
    }
}

impl Part<'_> {
    fn says(&self, models: &[RoutedModel]) -> bool {
        let same = |((record, range), old): (&(&ModelRecord, Range<usize>), &RoutedModel)| {
            let chosen = &self.candidates[range.clone()];
            record.key == old.key
                && record.digest == old.digest
                && chosen.len() == old.candidates.len()
                && chosen.iter().zip(&old.candidates).all(|(chosen, old)| chosen.is(old))
        };
        self.models.len() == models.len() && self.models.iter().zip(models).all(same)
    }

    fn named(&self) -> Vec<RoutedModel> {
        let model = |(record, range): &(&ModelRecord, Range<usize>)| {
            let candidates = self.candidates[range.clone()].iter().map(Chosen::named).collect();
            RoutedModel { key: record.key.clone(), digest: record.digest, candidates }
        };
        self.models.iter().map(model).collect()
    }
}

impl Scene<'_> {
    /// Where the requests of every region go, by region and part; what of `before` already says so is taken over as it is.
    pub fn routes(&self, before: &RouteParts, Term { era, epoch }: Term) -> RouteParts {
        let has_pops = |region: usize| self.pops.iter().any(|pop| pop.region == region);
        let here: Vec<usize> = (0..self.regions.len()).filter(|&region| has_pops(region)).collect();
        let mut parts: Vec<Vec<Part<'_>>> = Vec::with_capacity(here.len());
        parts.resize_with(here.len(), || (0..ROUTE_PARTS).map(|_| Part::default()).collect());
        for model in &self.models {
            let at = usize::from(Routes::part_of(&model.record.key.name));
            let asked = Asked::new(self, model);
            for (&region, parts) in here.iter().zip(&mut parts) {
                let Part { models, candidates } = &mut parts[at];
                let first = candidates.len();
                asked.candidates(region, candidates);
                if candidates.len() > first {
                    models.push((model.record, first..candidates.len()));
                }
            }
        }
        // They are the same in every region.
        let mut aliases = vec![AliasesOf::new(); usize::from(ROUTE_PARTS)];
        for (name, of_name) in self.aliases() {
            aliases[usize::from(Routes::part_of(&name))].insert(name, of_name);
        }
        let mut all = BTreeMap::new();
        for (region, parts) in here.into_iter().map(|region| self.regions[region]).zip(parts) {
            for ((number, part), aliases) in (0..).zip(parts).zip(&aliases) {
                let at = (region.clone(), number);
                let old = before.get(&at);
                let routes = match old {
                    // A part that never had anything to say is not written.
                    None if part.models.is_empty() && aliases.is_empty() => continue,
                    Some(old)
                        if (old.era, old.epoch) == (era, epoch)
                            && part.says(&old.models)
                            && old.aliases == *aliases =>
                    {
                        old.clone()
                    }
                    _ => {
                        let generation = old.map_or(1, |old| old.generation.saturating_add(1));
                        let (region, models, aliases) = (region.clone(), part.named(), aliases.clone());
                        Arc::new(Routes { region, part: number, era, epoch, generation, models, aliases })
                    }
                };
                all.insert(at, routes);
            }
        }
        all
    }
}

/// A model, and who may be asked for it: those that answer; if none does, those that will, and those that did.
struct Asked<'s, 'a> {
    scene: &'s Scene<'a>,
    model: &'s ModelHere<'a>,
    /// Those that were heard just now and stay.
    live: Able,
    /// The others.
    late: Able,
    /// Those that are lost, if nobody else answers: who was cut off from here may well be reached from elsewhere.
    lost: &'s [LostHolder<'a>],
    /// What the plan says for each region.
    planned: HashMap<&'a str, &'a [Share]>,
}

/// PoPs that may be asked, in the order of their positions: all, and by region.
#[derive(Default)]
struct Able {
    pops: Vec<usize>,
    by_region: BTreeMap<usize, Vec<usize>>,
}

impl<'s, 'a> Asked<'s, 'a> {
    fn new(scene: &'s Scene<'a>, model: &'s ModelHere<'a>) -> Self {
        let answers = model.standings.iter().any(Standing::is_ready);
        let able = model.standings.iter().filter(|it| match it.standing {
            ModelStanding::Ready { .. } => true,
            ModelStanding::Loading | ModelStanding::Stored => !answers,
            ModelStanding::Failed { .. } => false,
        });
        let lost = scene.lost.get(&model.record.key).filter(|_| !answers).map_or(&[][..], Vec::as_slice);
        let (mut live, mut late) = (Able::default(), Able::default());
        for it in able {
            let pop = &scene.pops[it.pop];
            let able = if pop.is_live { &mut live } else { &mut late };
            able.pops.push(it.pop);
            able.by_region.entry(pop.region).or_default().push(it.pop);
        }
        let routes = model.plan.into_iter().flat_map(|plan| &plan.routes);
        let planned = routes.map(|route| (route.place.as_str(), route.to.as_slice())).collect();
        Asked { scene, model, live, late, lost, planned }
    }

    /// The best few for the requests of a region, put behind what is in `found`: as planned, and then the nearest; whoever was not
    /// heard just now, or is about to stop, comes last.
    fn candidates(&self, region: usize, found: &mut Vec<Chosen<'a>>) {
        let scene = self.scene;
        let planned = self.planned.get(scene.regions[region].as_str()).copied().unwrap_or_default();
        let mut best: Vec<(usize, f64)> = Vec::with_capacity(CANDIDATES_MAX);
        for able in [&self.live, &self.late] {
            for share in planned {
                let pop = self.model.planned.get(share.replica as usize).copied().flatten();
                if let Some(pop) = pop.filter(|pop| able.pops.binary_search(pop).is_ok()) {
                    add(&mut best, pop, share.share);
                }
            }
            if best.len() < CANDIDATES_MAX {
                able.nearest(scene, region).for_each(|pop| add(&mut best, pop, 0.0));
            }
        }
        let sum: f64 = best.iter().map(|(_, share)| share).sum();
        // Until what is planned answers, the best of the others gets everything.
        let share = |index: usize, share: f64| if sum > 0.0 { share / sum } else { f64::from(u8::from(index == 0)) };
        for (index, &(pop, planned)) in best.iter().enumerate() {
            let PopHere { id, there, .. } = scene.pops[pop];
            found.push(Chosen { id, there, share: share(index, planned) });
        }
        let mut lost: Vec<&LostHolder<'_>> = self.lost.iter().collect();
        lost.sort_by(|a, b| {
            let distance_ms = |lost: &LostHolder<'_>| scene.distance_ms(region, lost.region);
            distance_ms(a).total_cmp(&distance_ms(b)).then_with(|| a.id.cmp(b.id))
        });
        for (index, lost) in (best.len()..CANDIDATES_MAX).zip(lost) {
            found.push(Chosen { id: lost.id, there: lost.there, share: share(index, 0.0) });
        }
    }
}

/// Puts a PoP behind the others, if there is room, and it is not among them with another of its devices.
fn add(best: &mut Vec<(usize, f64)>, pop: usize, share: f64) {
    match best.iter().position(|(known, _)| *known == pop) {
        Some(at) => best[at].1 += share,
        None if best.len() < CANDIDATES_MAX => best.push((pop, share)),
        None => {}
    }
}

impl Able {
    /// Enough of them, those of the nearest regions first.
    fn nearest(&self, scene: &Scene<'_>, from: usize) -> impl Iterator<Item = usize> {
        let mut regions: Vec<(f64, usize)> = Vec::with_capacity(CANDIDATES_MAX + 1);
        for &region in self.by_region.keys() {
            let found = (scene.distance_ms(from, region), region);
            let at = regions.partition_point(|known| known.0.total_cmp(&found.0).then(known.1.cmp(&found.1)).is_lt());
            if at < CANDIDATES_MAX {
                regions.truncate(CANDIDATES_MAX - 1);
                regions.insert(at, found);
            }
        }
        // Each region has one at least; where all are among the planned, the next ones do.
        regions.into_iter().flat_map(|(_, region)| self.by_region[&region].iter().copied().take(CANDIDATES_MAX))
    }
}
