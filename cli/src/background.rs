//! What goes on beside the requests: a changed policy is read, garbage of the registry is collected.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use headland_batcher::Model;
use headland_lifecycle::PolicyWatch;
use headland_package::{AppName, folder};
use headland_registry::store::Store;
use headland_server::{Administration, Gateway};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::ModelConfig;
use crate::{models, named_apps};

/// How often the policy's file is looked at.
const POLICY_LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the registry is cleared of what nothing names any more.
const GARBAGE_EVERY: Duration = Duration::from_secs(3600);

/// What the operator named at the start and a policy admitted: it is judged again when that changes.
#[derive(Default)]
pub struct Named {
    /// Folders, and the models they became.
    pub models: Vec<(ModelConfig, Arc<Model>)>,
    /// Manifests, and the apps they became.
    pub apps: Vec<(PathBuf, AppName)>,
    /// Where this gateway stands.
    pub region: String,
}

/// Starts everything; it ends with the runtime.
pub fn start(administration: &Administration, named: Named) -> Result<()> {
    let (policy, gateway) = (administration.policy.watch(), administration.gateway.clone());
    tokio::spawn(judge_named(policy, gateway, Arc::new(named)));
    let hangup = signal(SignalKind::hangup()).context("listening for SIGHUP")?;
    tokio::spawn(follow_policy(administration.clone(), hangup));
    tokio::spawn(collect_garbage(administration.registry.store.clone()));
    Ok(())
}

/// Reads the policy again when its file changes, or at SIGHUP, and unloads what it does not admit any more.
async fn follow_policy(administration: Administration, mut hangup: Signal) {
    let policy = &administration.policy;
    loop {
        tokio::select! {
            _ = tokio::time::sleep(POLICY_LOOK_EVERY) => {
                if !policy.has_changed() {
                    continue;
                }
            }
            _ = hangup.recv() => {}
        }
        match policy.reload() {
            Ok(()) => {
                tracing::info!("the trust policy was read again");
                administration.models.apply_policy().await;
                administration.apps.apply_policy().await;
            }
            Err(error) => {
                let error = anyhow::Error::from(error);
                tracing::error!("the trust policy stays as it was, for the new one cannot be used: {error:#}");
            }
        }
    }
}

/// Takes out what a new policy does not admit any more. It comes back when the gateway starts and the policy admits it.
async fn judge_named(mut policy: PolicyWatch, gateway: Arc<Gateway>, named: Arc<Named>) {
    while policy.changed().await.is_ok() {
        let Some(in_force) = policy.borrow_and_update().clone() else { continue };
        let (gateway, named) = (gateway.clone(), named.clone());
        let judged = tokio::task::spawn_blocking(move || {
            for (config, model) in &named.models {
                let info = model.info();
                let judged = folder::open(&config.path)
                    .map_err(anyhow::Error::from)
                    .and_then(|files| models::admit(config, &info.name, &info.version, files, Some(&in_force)));
                if let Err(error) = judged
                    && gateway.models().remove(model)
                {
                    tracing::warn!(model = %info, "unloaded: {error:#}");
                }
            }
            for (path, name) in &named.apps {
                if let Err(error) = named_apps::admit(path, Some(&in_force), &named.region)
                    && gateway.apps().remove(name).is_some()
                {
                    tracing::warn!(app = %name, "stopped: {error:#}");
                }
            }
        });
        if let Err(error) = judged.await {
            tracing::error!("judging what was named at the start was interrupted: {error}");
        }
    }
}

async fn collect_garbage(store: Store) {
    loop {
        let collecting = store.clone();
        match tokio::task::spawn_blocking(move || collecting.collect_garbage()).await {
            Ok(Ok(report)) => tracing::debug!(?report, "registry cleared of garbage"),
            Ok(Err(error)) => tracing::warn!("garbage of the registry stays: {error}"),
            Err(error) => tracing::error!("collecting garbage was interrupted: {error}"),
        }
        tokio::time::sleep(GARBAGE_EVERY).await;
    }
}
