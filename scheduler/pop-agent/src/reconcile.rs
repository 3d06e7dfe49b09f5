//! What is to be done so that a PoP holds what is wanted of it. Pure: [`reconcile`] compares, the agent does.

use std::collections::{BTreeMap, BTreeSet};

use headland_fleet::{Desired, DesiredApp, DesiredModel, Keep, ModelKey};
use headland_package::{AppName, ModelVersion, Sha256Digest};

/// What a PoP holds of what its fleet gave it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Actual {
    /// Models whose files are here.
    pub models: BTreeMap<ModelKey, Held>,
    /// Apps that serve: version and manifest.
    pub apps: BTreeMap<AppName, (ModelVersion, Sha256Digest)>,
    /// Models that the fleet gave: what is not among them is an operator's own, and left alone.
    pub given_models: BTreeSet<ModelKey>,
    /// Apps that the fleet gave.
    pub given_apps: BTreeSet<AppName>,
}

/// A model that is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its manifest.
    pub manifest: Sha256Digest,
    /// Whether it is in memory.
    pub loaded: bool,
    /// Whether nobody has asked for it for a while.
    pub idle: bool,
    /// Whether requests for it could not go elsewhere yet, though they are to.
    pub is_last: bool,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Take a model out of memory.
    Unload(ModelKey),
    /// Throw a model's files away.
    Discard(ModelKey),
    /// Fetch a model's files.
    Pull(DesiredModel),
    /// Load a model whose files are here.
    Load(DesiredModel),
    /// Stop an app.
    Stop(AppName),
    /// Fetch an app's files and let it serve.
    Deploy(DesiredApp),
}

/// What is to be done, in this order: what makes room comes first.
pub fn reconcile(desired: &Desired, actual: &Actual) -> Vec<Action> {
    let wanted: BTreeMap<&ModelKey, &DesiredModel> = desired.models.iter().map(|model| (&model.key, model)).collect();
    let mut actions = Vec::new();
    for key in &actual.given_models {
        let held = actual.models.get(key);
        let keep = wanted.get(key).map(|model| model.keep);
        // What is only to be stored was loaded by a request, and stays while there are more.
        let goes = |held: &Held| match keep {
            Some(Keep::Loaded) => false,
            Some(Keep::Stored) => held.loaded && held.idle,
            None => held.loaded && !held.is_last,
        };
        if held.is_some_and(goes) {
            actions.push(Action::Unload(key.clone()));
        }
        if held.is_some_and(|held| !held.is_last) && keep.is_none() {
            actions.push(Action::Discard(key.clone()));
        }
    }
    for name in &actual.given_apps {
        if actual.apps.contains_key(name) && !desired.apps.iter().any(|app| app.name == *name) {
            actions.push(Action::Stop(name.clone()));
        }
    }
    for app in &desired.apps {
        if actual.apps.get(&app.name) != Some(&(app.version.clone(), app.manifest)) {
            actions.push(Action::Deploy(app.clone()));
        }
    }
    for model in &desired.models {
        match actual.models.get(&model.key) {
            Some(held) if held.manifest == model.manifest => {
                if model.keep == Keep::Loaded && !held.loaded {
                    actions.push(Action::Load(model.clone()));
                }
            }
            // Loading follows when the files are here.
            _ => actions.push(Action::Pull(model.clone())),
        }
    }
    actions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ModelKey {
        ModelKey { name: name.parse().unwrap(), version: "1".parse().unwrap() }
    }

    fn wanted(name: &str, keep: Keep) -> DesiredModel {
        DesiredModel {
            key: key(name),
            manifest: Sha256Digest::of(name.as_bytes()),
            keep,
            device: None,
            sources: Vec::new(),
        }
    }

    fn desired(models: Vec<DesiredModel>, apps: Vec<DesiredApp>) -> Desired {
        let pop = "a".parse().unwrap();
        Desired { pop, era: 1, epoch: 1, generation: 1, models, apps, aliases: BTreeMap::new() }
    }

    fn held(names: &[(&str, bool)]) -> Actual {
        let held = |(name, loaded): &(&str, bool)| {
            (
                key(name),
                Held { manifest: Sha256Digest::of(name.as_bytes()), loaded: *loaded, idle: *loaded, is_last: false },
            )
        };
        let models: BTreeMap<ModelKey, Held> = names.iter().map(held).collect();
        Actual { given_models: models.keys().cloned().collect(), models, ..Actual::default() }
    }

    #[test]
    fn what_is_missing_is_pulled_and_then_loaded() {
        let desired = desired(vec![wanted("m", Keep::Loaded)], Vec::new());
        assert_eq!(reconcile(&desired, &Actual::default()), [Action::Pull(wanted("m", Keep::Loaded))]);
        assert_eq!(reconcile(&desired, &held(&[("m", false)])), [Action::Load(wanted("m", Keep::Loaded))]);
        assert_eq!(reconcile(&desired, &held(&[("m", true)])), []);
    }

    #[test]
    fn what_is_not_wanted_goes_before_anything_comes_and_an_operators_own_stays() {
        let desired = desired(vec![wanted("new", Keep::Loaded), wanted("kept", Keep::Stored)], Vec::new());
        let mut actual = held(&[("old", true), ("kept", true), ("own", true)]);
        actual.given_models.remove(&key("own"));
        let busy = Held { idle: false, ..actual.models[&key("kept")] };
        let asked_for = Actual { models: [(key("kept"), busy)].into(), ..actual.clone() };
        assert!(!reconcile(&desired, &asked_for).contains(&Action::Unload(key("kept"))), "somebody asks for it");
        let actions = reconcile(&desired, &actual);
        let expected = [
            Action::Unload(key("kept")),
            Action::Unload(key("old")),
            Action::Discard(key("old")),
            Action::Pull(wanted("new", Keep::Loaded)),
        ];
        assert_eq!(actions, expected);
    }

    #[test]
    fn what_is_to_go_stays_until_requests_for_it_can_go_elsewhere() {
        let mut actual = held(&[("m", true)]);
        actual.models.get_mut(&key("m")).unwrap().is_last = true;
        assert_eq!(reconcile(&desired(Vec::new(), Vec::new()), &actual), []);
        actual.models.get_mut(&key("m")).unwrap().is_last = false;
        let goes = [Action::Unload(key("m")), Action::Discard(key("m"))];
        assert_eq!(reconcile(&desired(Vec::new(), Vec::new()), &actual), goes);
    }

    #[test]
    fn an_app_is_deployed_until_it_is_the_one_that_is_wanted() {
        let app = |version: &str| DesiredApp {
            name: "search".parse().unwrap(),
            version: version.parse().unwrap(),
            manifest: Sha256Digest::of(version.as_bytes()),
            sources: Vec::new(),
        };
        let mut actual = Actual::default();
        assert_eq!(reconcile(&desired(Vec::new(), vec![app("1")]), &actual), [Action::Deploy(app("1"))]);
        actual.apps.insert(app("1").name, (app("1").version, app("1").manifest));
        assert_eq!(reconcile(&desired(Vec::new(), vec![app("1")]), &actual), []);
        assert_eq!(reconcile(&desired(Vec::new(), vec![app("2")]), &actual), [Action::Deploy(app("2"))]);
        assert_eq!(reconcile(&desired(Vec::new(), Vec::new()), &actual), [], "it is an operator's own");
        actual.given_apps.insert(app("1").name);
        assert_eq!(reconcile(&desired(Vec::new(), Vec::new()), &actual), [Action::Stop(app("1").name)]);
    }
}
