//! `headland-bench`: ours, the floor and the peers, in turn, in one run, on the same inputs, several rounds; medians,
//! spread and ratios. What is compared is in `hello`, `instantiate` and `infer`; `make bench` runs it.

mod client;
mod hello;
mod infer;
mod instantiate;
mod report;
mod servers;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;

use crate::report::Report;

/// Measure Headland against the floor and its peers.
#[derive(Parser)]
struct Args {
    /// The headland binary
    #[arg(long, default_value = "target/release/headland")]
    binary: PathBuf,
    /// Where scripts/fetch.sh put models and libraries
    #[arg(long, default_value = ".cache")]
    cache: PathBuf,
    /// Rounds; each measures every variant once, in turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of load on each variant in each round
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Write the figures as JSON here too
    #[arg(long)]
    json: Option<PathBuf>,
    /// Serve the plain axum floor on this port (how the bench starts its own floor)
    #[arg(long, hide = true)]
    serve_floor: Option<u16>,
}

/// What every measurement needs.
struct Setup {
    binary: PathBuf,
    cache: PathBuf,
    rounds: usize,
    window: Duration,
}

fn main() -> Result<()> {
    // SAFETY: the process has one thread so far. As the gateway does, so that both run the same executor.
    unsafe { headland_candle::run_each_model_on_one_thread() };
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let Some(port) = args.serve_floor {
        return runtime.block_on(servers::serve_floor(port));
    }
    let setup = Setup {
        binary: args.binary,
        cache: args.cache,
        rounds: args.rounds.max(1),
        window: Duration::from_secs_f64(args.seconds.clamp(0.1, 60.0)),
    };
    let mut report = Report::default();
    runtime.block_on(async {
        hello::measure(&setup, &mut report).await?;
        instantiate::measure(&setup, &mut report).await?;
        infer::measure(&setup, &mut report).await
    })?;
    if let Some(path) = args.json {
        std::fs::write(path, serde_json::to_string_pretty(&report.json())?)?;
    }
    Ok(())
}
