//! (b) What a fresh instance costs in process: store, instantiate, drop, with every limit on.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use headland_batcher::ModelTable;
use headland_guest_host::{AppSource, Apps, GuestEngine, PoolOptions};
use headland_trust::Verified;

use crate::Setup;
use crate::report::{Report, Section, percentile};

const INSTANCES: usize = 20_000;

pub async fn measure(setup: &Setup, report: &mut Report) -> Result<()> {
    let data = tempfile::tempdir()?;
    let engine = GuestEngine::new(PoolOptions::default()).map_err(|error| anyhow::anyhow!("{error:#}"))?;
    let fixtures = AppSource::open(Path::new("guest-examples/fixtures/headland.app.toml"))?;
    let models = Arc::new(ModelTable::default());
    let apps = Apps::new(&engine, &models, &data.path().join("components"))?;
    apps.put(apps.prepare(Verified::named_by_operator(fixtures, "the benchmark"))?)?;
    let hello = apps.route(None, "/fixtures/hello").context("the hello fixture")?;
    let mut section = Section::new("(b) instance: store, instantiate, drop", "microseconds, less is better");
    for _ in 0..setup.rounds {
        let mut took = Vec::with_capacity(INSTANCES);
        for _ in 0..INSTANCES {
            let started = Instant::now();
            hello.instantiate().await.map_err(|error| anyhow::anyhow!("{error:#}"))?;
            took.push(started.elapsed().as_secs_f64() * 1e6);
        }
        section.add("median", percentile(&took, 0.5));
        section.add("p99", percentile(&took, 0.99));
    }
    report.push(section);
    Ok(())
}
