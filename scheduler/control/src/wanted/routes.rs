//! What is written for each region: where its requests go, and what version they mean.

use std::collections::{BTreeMap, HashMap};

use headland_fleet::{Candidate, ModelStanding, ROUTE_PARTS, RoutedModel, Routes};
use headland_placement::Share;

use super::desired::AliasesOf;
use super::{LostHolder, ModelHere, RouteParts, Scene, Standing, Term, source};

/// PoPs that a region's requests for one model may go to.
pub const CANDIDATES_MAX: usize = 4;

/// What a part of a region's routes says.
type Part = (Vec<RoutedModel>, AliasesOf);

impl Scene<'_> {
    /// Where the requests of every region go, by region and part; what of `before` already says so is taken over as it is.
    pub fn routes(&self, before: &RouteParts, Term { era, epoch }: Term) -> RouteParts {
        let has_pops = |region: usize| self.pops.iter().any(|pop| pop.region == region);
        let here: Vec<usize> = (0..self.regions.len()).filter(|&region| has_pops(region)).collect();
        let mut parts: Vec<Vec<Part>> = vec![vec![Part::default(); usize::from(ROUTE_PARTS)]; here.len()];
        for model in &self.models {
            let part = usize::from(Routes::part_of(&model.record.key.name));
            let asked = Asked::new(self, model);
            for (&region, parts) in here.iter().zip(&mut parts) {
                let candidates = asked.candidates(region);
                if !candidates.is_empty() {
                    let (key, digest) = (model.record.key.clone(), model.record.digest);
                    parts[part].0.push(RoutedModel { key, digest, candidates });
                }
            }
        }
        for (name, aliases) in self.aliases() {
            let part = usize::from(Routes::part_of(&name));
            for parts in &mut parts {
                parts[part].1.insert(name.clone(), aliases.clone());
            }
        }
        let mut all = BTreeMap::new();
        for (region, parts) in here.into_iter().map(|region| self.regions[region]).zip(parts) {
            for (part, (models, aliases)) in (0..).zip(parts) {
                let at = (region.clone(), part);
                let old = before.get(&at);
                let routes = match old {
                    // A part that never had anything to say is not written.
                    None if models.is_empty() && aliases.is_empty() => continue,
                    Some(old)
                        if (old.era, old.epoch) == (era, epoch) && old.models == models && old.aliases == aliases =>
                    {
                        old.clone()
                    }
                    _ => {
                        let generation = old.map_or(1, |old| old.generation.saturating_add(1));
                        Routes { region: region.clone(), part, era, epoch, generation, models, aliases }
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

    /// The best few for the requests of a region: as planned, and then the nearest; whoever was not heard just now, or is about to stop, comes last.
    fn candidates(&self, region: usize) -> Vec<Candidate> {
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
        let candidate = |(index, (pop, planned)): (usize, (usize, f64))| Candidate {
            source: source(scene.pops[pop].id, scene.pops[pop].there),
            share: share(index, planned),
        };
        let mut lost: Vec<&LostHolder<'_>> = self.lost.iter().collect();
        lost.sort_by(|a, b| {
            let distance_ms = |lost: &LostHolder<'_>| scene.distance_ms(region, lost.region);
            distance_ms(a).total_cmp(&distance_ms(b)).then_with(|| a.id.cmp(b.id))
        });
        let room = CANDIDATES_MAX - best.len();
        let lost = (best.len()..).zip(lost.into_iter().take(room)).map(|(index, lost)| Candidate {
            source: source(lost.id, lost.there),
            share: f64::from(u8::from(index == 0)),
        });
        best.iter().copied().enumerate().map(candidate).chain(lost).collect()
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
