//! What goes on beside the requests: a changed policy is read, garbage of the registry is collected.

use std::time::Duration;

use anyhow::{Context, Result};
use headland_registry::store::Store;
use headland_server::Administration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How often the policy's file is looked at.
const POLICY_LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the registry is cleared of what nothing names any more.
const GARBAGE_EVERY: Duration = Duration::from_secs(3600);

/// Starts everything; it ends with the runtime.
pub fn start(administration: &Administration) -> Result<()> {
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
