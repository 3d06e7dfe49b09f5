//! What is written for each PoP: what it holds, where the files are, and what versions its callers mean.

use std::collections::{BTreeMap, BTreeSet};

use headland_fleet::{AppRecord, Desired, DesiredApp, DesiredModel, Source};
use headland_package::{ModelName, ModelVersion, PopId};

use super::{ModelHere, PopHere, Scene, Term, source};
use crate::rollout::{STABLE, meant};
use crate::view::Liveness;

/// PoPs that are named as having a model's files.
pub const SOURCES_MAX: usize = 4;

/// What other names of versions stand for, by model.
pub(super) type AliasesOf = BTreeMap<ModelName, BTreeMap<String, ModelVersion>>;

impl Scene<'_> {
    /// What is wanted of every PoP; what of `before` already says so is taken over as it is.
    pub fn desired(&self, before: &BTreeMap<PopId, Desired>, Term { era, epoch }: Term) -> BTreeMap<PopId, Desired> {
        let aliases = self.aliases();
        let waves = self.waves(&aliases);
        let controls = self.controls();
        let mut all = BTreeMap::new();
        for ((at, here), held) in self.pops.iter().enumerate().zip(self.held()) {
            let model = |(model, keep)| {
                let model: &ModelHere<'_> = &self.models[model];
                DesiredModel {
                    key: model.record.key.clone(),
                    manifest: model.record.manifest,
                    keep,
                    device: device(model, at, here),
                    // Whoever has the files needs nobody to have them from.
                    sources: match model.standing_of(at).is_some_and(|it| it.has_files()) {
                        true => Vec::new(),
                        false => self.sources(at, model, &controls),
                    },
                }
            };
            let models: Vec<DesiredModel> = held.into_iter().map(model).collect();
            let apps = self.books.apps.values().map(|kept| &kept.record).map(|app| DesiredApp {
                name: app.name.clone(),
                version: app.version.clone(),
                manifest: app.manifest,
                sources: self.app_sources(at, app, &controls),
            });
            let apps = apps.collect();
            // What it holds it serves without a control plane, and without routes: the names are told with it.
            let mut own = AliasesOf::new();
            for name in models.iter().map(|model| &model.key.name) {
                if let Some(aliases) = aliases.get(name) {
                    own.entry(name.clone()).or_insert_with(|| aliases.clone());
                }
            }
            for wave in waves.iter().filter(|wave| wave.pops.contains(here.id)) {
                own.insert(wave.name.clone(), wave.aliases.clone());
            }
            let pop = here.id.clone();
            let wanted = Desired { pop, era, epoch, generation: 1, models, apps, aliases: own };
            let wanted = match before.get(here.id) {
                Some(old) if (old.era, old.epoch) == (era, epoch) && self.still_says(old, &wanted) => old.clone(),
                Some(old) => Desired { generation: old.generation.saturating_add(1), ..wanted },
                None => wanted,
            };
            all.insert(here.id.clone(), wanted);
        }
        all
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

    /// Live control planes, which have everything.
    pub(super) fn controls(&self) -> Vec<Source> {
        let controls = self
            .view
            .pops()
            .filter(|(_, there)| there.heartbeat.storage_only && there.liveness(self.now_ms) == Liveness::Live);
        controls.map(|(pop, there)| source(pop, there)).collect()
    }

    /// Who has a model's files.
    pub(super) fn sources(&self, pop: usize, model: &ModelHere<'_>, controls: &[Source]) -> Vec<Source> {
        self.nearest(pop, model.standings.iter().filter(|it| it.has_files()).map(|it| it.pop), controls)
    }

    /// Who has an app's files: control planes, and where none is heard, whoever serves it.
    fn app_sources(&self, pop: usize, app: &AppRecord, controls: &[Source]) -> Vec<Source> {
        let serves = |here: &PopHere<'_>| {
            let mut apps = here.there.heartbeat.apps.iter();
            apps.any(|it| it.failed.is_none() && it.name == app.name && it.version == app.version)
        };
        let holders = (0..self.pops.len()).filter(|&at| controls.is_empty() && serves(&self.pops[at]));
        self.nearest(pop, holders, controls)
    }

    /// The nearest of those that have files. Control planes come last, for they are few.
    fn nearest(&self, pop: usize, holders: impl Iterator<Item = usize>, controls: &[Source]) -> Vec<Source> {
        let own = self.pops[pop].region;
        let mut nearest: Vec<(f64, usize)> = Vec::new();
        for holder in holders {
            if holder == pop || !self.pops[holder].is_live {
                continue;
            }
            let found = (self.distance_ms(own, self.pops[holder].region), holder);
            // Of thousands that have a popular model, only a few nearest are kept while looking.
            let at = nearest.partition_point(|known| known.0.total_cmp(&found.0).then(known.1.cmp(&found.1)).is_lt());
            if at < SOURCES_MAX {
                nearest.truncate(SOURCES_MAX - 1);
                nearest.insert(at, found);
            }
        }
        let source = |(_, at): (f64, usize)| source(self.pops[at].id, self.pops[at].there);
        nearest.into_iter().map(source).chain(controls.iter().cloned()).collect()
    }

    /// What names of versions stand for wherever no wave of a rollout has come.
    pub(super) fn aliases(&self) -> AliasesOf {
        let mut all = AliasesOf::new();
        for (name, current) in meant(self.books) {
            let stable = self.books.rollout(&name).map_or(current, |kept| kept.record.settled().clone());
            all.insert(name, [(STABLE.to_owned(), stable)].into());
        }
        for kept in self.books.aliases.values() {
            if let Some(aliases) = all.get_mut(&kept.record.name) {
                let given = kept.record.aliases.iter().filter(|(alias, _)| *alias != STABLE);
                aliases.extend(given.map(|(alias, version)| (alias.clone(), version.clone())));
            }
        }
        all
    }

    /// Rollouts that are under way, and the PoPs that they have come to.
    fn waves(&self, aliases: &AliasesOf) -> Vec<Wave> {
        let pops: Vec<&PopId> = self.pops.iter().map(|pop| pop.id).collect();
        let mut waves = Vec::new();
        for rollout in self.books.rollouts.values().map(|kept| &kept.record) {
            let (Some(aliases), taken) = (aliases.get(&rollout.name), rollout.taken(&pops)) else { continue };
            if !taken.is_empty() {
                let mut aliases = aliases.clone();
                aliases.insert(STABLE.to_owned(), rollout.to.clone());
                waves.push(Wave { name: rollout.name.clone(), aliases, pops: taken });
            }
        }
        waves
    }
}

/// A rollout under way.
struct Wave {
    name: ModelName,
    /// What the model's names stand for where it has come.
    aliases: BTreeMap<String, ModelVersion>,
    pops: BTreeSet<PopId>,
}

/// Which of the PoP's devices a model is planned for.
fn device(model: &ModelHere<'_>, at: usize, here: &PopHere<'_>) -> Option<String> {
    let position = model.planned.iter().position(|pop| *pop == Some(at))?;
    let replica = model.plan?.replicas.get(position)?;
    here.there.heartbeat.devices.get(usize::from(replica.device.0)).map(|device| device.device.clone())
}

#[cfg(test)]
impl Scene<'_> {
    pub(super) fn sources_of(&self, pop: &str, key: &headland_fleet::ModelKey) -> Vec<Source> {
        let at = self.pops.iter().position(|here| here.id.as_str() == pop).unwrap();
        let model = self.models.iter().find(|model| model.record.key == *key);
        self.sources(at, model.unwrap(), &self.controls())
    }
}
