//! SIGTERM and SIGINT: the first one drains, the second one ends at once.

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

/// A future that resolves at the first signal. From then on a second signal ends the process.
pub fn stop() -> Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("draining; requests in flight finish, a second signal ends at once");
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::warn!("second signal: ending at once");
            std::process::exit(130);
        });
    })
}
