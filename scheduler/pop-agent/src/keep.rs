//! What a control plane keeps: everything. People push to its registry and deploy at it as at any gateway; what they change
//! becomes records of the fleet, and what they changed at another control plane comes here.
//!
//! Whichever control plane is lost, another has every file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use headland_control_store::{ControlStore, Key, KeyError, StoreError};
use headland_fleet::{Document, Era, ModelKey, Source, kind};
use headland_lifecycle::models::catalog;
use headland_lifecycle::{AppControl, LifecycleError, ModelControl, apps};
use headland_package::{AppName, ModelName, ModelVersion, Sha256Digest};
use headland_registry::store::Store;
use serde::{Deserialize, Serialize};

use crate::merge::{Step, merge};
use crate::pull::{PullError, Puller, Wanted};
use crate::tell::{AliasesOf, Side, TellError, Teller, aliases_key, app_key, model_key};

/// How often both sides are compared.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What both sides last agreed on, as it is kept on disk. JSON has no keys but text.
#[derive(Default, Serialize, Deserialize)]
struct Agreed {
    /// The store that it was agreed with.
    era: u64,
    models: Vec<(ModelKey, Sha256Digest)>,
    aliases: Vec<(ModelName, AliasesOf)>,
    apps: Vec<(AppName, (ModelVersion, Sha256Digest))>,
}

impl Document for Agreed {
    const WHAT: &'static str = "control plane's memory";
}

/// Who may have a model's files, or an app's.
pub type FindSources = Box<dyn Fn(Option<&ModelKey>) -> Vec<Source> + Send + Sync>;

/// What a keeper works with.
pub struct KeeperParts {
    /// The fleet's records.
    pub control: Arc<dyn ControlStore>,
    /// The registry here.
    pub store: Store,
    /// Its models.
    pub models: ModelControl,
    /// Its apps.
    pub apps: AppControl,
    /// Fetches what others have.
    pub puller: Puller,
    /// Who may have a model's files, or an app's.
    pub sources: FindSources,
    /// What both sides last agreed on.
    pub memory: PathBuf,
}

/// Why one thing was not brought into agreement.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Tell(#[from] TellError),
    #[error(transparent)]
    Pull(#[from] PullError),
    #[error(transparent)]
    Lifecycle(#[from] Arc<LifecycleError>),
    #[error("`{0}` cannot be kept in a registry")]
    Name(String),
    #[error("the work was interrupted")]
    Interrupted,
}

impl From<LifecycleError> for KeepError {
    fn from(error: LifecycleError) -> Self {
        KeepError::Lifecycle(Arc::new(error))
    }
}

/// Brings the registry here and the fleet's records into agreement, again and again.
pub async fn keep(parts: KeeperParts) {
    let (era, agreed) = read(&parts.memory);
    let teller = Teller { control: parts.control.clone(), store: parts.store.clone(), apps: parts.apps.clone() };
    let mut keeper = Keeper { era, agreed, parts, teller, said: BTreeMap::new() };
    loop {
        if let Err(error) = keeper.look().await {
            keeper.say("the registry and the fleet".to_owned(), &error);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

struct Keeper {
    parts: KeeperParts,
    teller: Teller,
    era: u64,
    agreed: Side,
    /// What was said last of each thing that fails: the same is not said every second.
    said: BTreeMap<String, String>,
}

impl Keeper {
    async fn look(&mut self) -> Result<(), KeepError> {
        // A store that has no era yet has no leader yet.
        let Some(era) = self.current_era().await? else { return Ok(()) };
        if era != self.era {
            // The store was lost and made anew: what it does not have was not removed, and is told again.
            tracing::info!(era, "the fleet's store is another one than before; everything here is told to it");
            (self.era, self.agreed) = (era, Side::default());
        }
        let here = self.teller.here().await?;
        let fleet = self.teller.fleet().await?;
        let before = self.agreed.clone();
        for (key, step) in merge(&before.models, &here.models, &fleet.models) {
            let done = self.model(&key, &step).await;
            self.settle(key.to_string(), done, |agreed| settle(&mut agreed.models, key, step));
        }
        for (name, step) in merge(&before.aliases, &here.aliases, &fleet.aliases) {
            let done = self.alias(&name, &step, here.aliases.get(&name)).await;
            self.settle(format!("the aliases of {name}"), done, |agreed| settle(&mut agreed.aliases, name, step));
        }
        for (name, step) in merge(&before.apps, &here.apps, &fleet.apps) {
            let done = self.app(&name, &step).await;
            self.settle(format!("app {name}"), done, |agreed| settle(&mut agreed.apps, name, step));
        }
        if self.agreed != before {
            self.remember().await?;
        }
        Ok(())
    }

    async fn current_era(&self) -> Result<Option<u64>, KeepError> {
        let entry = self.parts.control.get(&Key::new(kind::FLEET, ["era"])?).await?;
        Ok(entry.and_then(|entry| Era::decode(&entry.value).ok()).map(|era| era.began_unix_ms))
    }

    fn settle(&mut self, what: String, done: Result<(), KeepError>, note: impl FnOnce(&mut Side)) {
        match done {
            Ok(()) => {
                self.said.remove(&what);
                note(&mut self.agreed);
            }
            Err(error) => self.say(what, &error),
        }
    }

    fn say(&mut self, what: String, error: &KeepError) {
        let text = error.to_string();
        if self.said.get(&what) != Some(&text) {
            tracing::error!(what, "not yet the same here and in the fleet; it is tried again: {text}");
            self.said.insert(what, text);
        }
    }

    async fn model(&self, key: &ModelKey, step: &Step<Sha256Digest>) -> Result<(), KeepError> {
        match step {
            Step::Tell(manifest) => {
                self.teller.tell_model(key, *manifest).await?;
                tracing::info!(model = %key, "the fleet has a new model");
            }
            Step::Retract => self.teller.retract(&model_key(key)?).await?,
            Step::Take(manifest) => {
                let named = || KeepError::Name(key.to_string());
                let wanted = Wanted {
                    repository: catalog::repository(&key.name).ok_or_else(named)?,
                    tag: catalog::tag(&key.version).ok_or_else(named)?,
                    manifest: *manifest,
                    sources: (self.parts.sources)(Some(key)),
                };
                self.parts.puller.pull(&wanted).await?;
            }
            Step::Drop => match self.parts.models.remove_version(&key.name, &key.version, true).await {
                Ok(()) | Err(LifecycleError::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            },
            Step::Agree(_) | Step::Forget => {}
        }
        Ok(())
    }

    async fn alias(&self, name: &ModelName, step: &Step<AliasesOf>, here: Option<&AliasesOf>) -> Result<(), KeepError> {
        let none = AliasesOf::new();
        let wanted = match step {
            Step::Tell(aliases) => return Ok(self.teller.tell_aliases(name, aliases).await?),
            Step::Retract => return Ok(self.teller.retract(&aliases_key(name)?).await?),
            Step::Agree(_) | Step::Forget => return Ok(()),
            Step::Take(aliases) => aliases,
            Step::Drop => &none,
        };
        let here = here.unwrap_or(&none);
        for (alias, version) in wanted.iter().filter(|(alias, version)| here.get(*alias) != Some(version)) {
            let alias = alias.parse().map_err(|_| KeepError::Name(alias.clone()))?;
            self.parts.models.set_alias(name, &alias, version).await?;
        }
        for alias in here.keys().filter(|alias| !wanted.contains_key(*alias)) {
            let alias = alias.parse().map_err(|_| KeepError::Name(alias.clone()))?;
            self.parts.models.remove_alias(name, &alias).await?;
        }
        Ok(())
    }

    async fn app(&self, name: &AppName, step: &Step<(ModelVersion, Sha256Digest)>) -> Result<(), KeepError> {
        match step {
            Step::Tell(deployed) => {
                self.teller.tell_app(name, deployed).await?;
                tracing::info!(app = %name, version = %deployed.0, "the fleet has a new app");
            }
            Step::Retract => self.teller.retract(&app_key(name)?).await?,
            Step::Take((version, manifest)) => {
                let named = || KeepError::Name(format!("{name}:{version}"));
                let wanted = Wanted {
                    repository: apps::catalog::repository(name).ok_or_else(named)?,
                    tag: catalog::tag(version).ok_or_else(named)?,
                    manifest: *manifest,
                    sources: (self.parts.sources)(None),
                };
                self.parts.puller.pull(&wanted).await?;
                self.parts.apps.deploy(name, version).await?;
            }
            Step::Drop => match self.parts.apps.remove(name).await {
                Ok(()) | Err(LifecycleError::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            },
            Step::Agree(_) | Step::Forget => {}
        }
        Ok(())
    }

    async fn remember(&self) -> Result<(), KeepError> {
        let Side { models, aliases, apps } = self.agreed.clone();
        let agreed = Agreed {
            era: self.era,
            models: models.into_iter().collect(),
            aliases: aliases.into_iter().collect(),
            apps: apps.into_iter().collect(),
        };
        let path = self.parts.memory.clone();
        let write = move || crate::state::replace(&path, &agreed.encode());
        let written = tokio::task::spawn_blocking(write).await.map_err(|_| KeepError::Interrupted)?;
        if let Err(error) = written {
            // What is not remembered is compared again after a restart, and found the same.
            tracing::warn!("what the fleet agreed on is not remembered: {error}");
        }
        Ok(())
    }
}

fn settle<K: Ord, V>(agreed: &mut BTreeMap<K, V>, key: K, step: Step<V>) {
    match step {
        Step::Tell(value) | Step::Take(value) | Step::Agree(value) => drop(agreed.insert(key, value)),
        Step::Retract | Step::Drop | Step::Forget => drop(agreed.remove(&key)),
    }
}

/// What was agreed on before. Without it nothing is taken for removed, and nothing is lost.
fn read(path: &Path) -> (u64, Side) {
    let agreed = match fs::read(path) {
        Ok(bytes) => Agreed::decode(&bytes).map_err(|error| error.to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Agreed::default()),
        Err(error) => Err(error.to_string()),
    };
    let Agreed { era, models, aliases, apps } = agreed.unwrap_or_else(|error| {
        tracing::warn!("what the fleet agreed on before is not known any more: {}: {error}", path.display());
        Agreed::default()
    });
    let side = Side {
        models: models.into_iter().collect(),
        aliases: aliases.into_iter().collect(),
        apps: apps.into_iter().collect(),
    };
    (era, side)
}
