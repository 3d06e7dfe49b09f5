//! What a guest costs in process, without HTTP: a fresh instance alone, and a whole request through one, with every limit on.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use axum::body::{Body, to_bytes};
use axum::http::Request;
use headland_batcher::ModelTable;
use headland_guest_host::{AppRoute, AppSource, Apps, GuestEngine, PoolOptions, RequestContext};
use headland_trust::Verified;

use crate::Setup;
use headland_report::{Report, Section, percentile};

const INSTANCES: usize = 20_000;
const BODY_BYTES_MAX: usize = 1 << 16;
pub const TITLE: &str = "a guest instance, one thread";
pub const MADE_P50: &str = "store, instantiate, drop: p50";
pub const MADE_P99: &str = "store, instantiate, drop: p99";
pub const ASKED_P50: &str = "request to whole answer in process: p50";

pub async fn measure(setup: &Setup, report: &mut Report) -> Result<()> {
    let data = tempfile::tempdir()?;
    let engine = GuestEngine::new(PoolOptions::default()).map_err(|error| anyhow::anyhow!("{error:#}"))?;
    let source = AppSource::open(Path::new("benches/app/headland.app.toml"))?;
    let models = Arc::new(ModelTable::default());
    let apps = Apps::new(&engine, &models, &data.path().join("components"))?;
    apps.put(apps.prepare(Verified::named_by_operator(source, "the benchmark"))?)?;
    let hello = apps.route(None, "/bench/hello").context("the hello guest")?;
    let mut section = Section::new(TITLE, "microseconds, less is better");
    for _ in 0..setup.rounds {
        let (mut made, mut asked) = (Vec::with_capacity(INSTANCES), Vec::with_capacity(INSTANCES));
        for _ in 0..INSTANCES {
            let started = Instant::now();
            hello.instantiate().await.map_err(|error| anyhow::anyhow!("{error:#}"))?;
            made.push(started.elapsed().as_secs_f64() * 1e6);
        }
        for _ in 0..INSTANCES {
            let started = Instant::now();
            ask(&hello).await?;
            asked.push(started.elapsed().as_secs_f64() * 1e6);
        }
        section.add(MADE_P50, percentile(&made, 0.5));
        section.add(MADE_P99, percentile(&made, 0.99));
        section.add(ASKED_P50, percentile(&asked, 0.5));
        section.add("request to whole answer in process: p99", percentile(&asked, 0.99));
    }
    report.push(section);
    Ok(())
}

async fn ask(hello: &Arc<AppRoute>) -> Result<()> {
    let request = Request::get("/bench/hello").header("host", "bench").body(Body::empty())?;
    let answer = hello.handle(request, RequestContext { request_id: "bench".into() }).await?;
    anyhow::ensure!(answer.status() == 200, "the hello guest answered {}", answer.status());
    to_bytes(Body::new(answer.into_body()), BODY_BYTES_MAX).await.context("the hello guest's body")?;
    Ok(())
}
