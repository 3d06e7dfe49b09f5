//! `headland-bench`: ours, the floor and the peers, in turn, in one run, on the same inputs, several rounds; medians,
//! spread and ratios. What is compared is in `hello`, `instantiate`, `infer` and `models`; `make bench` runs it.

mod client;
mod hello;
mod infer;
mod instantiate;
mod models;
mod report;
mod servers;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, ValueEnum};

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
    /// Measure this alone
    #[arg(long, value_enum)]
    only: Option<Group>,
    /// Size of the model that is stored and verified, in GiB
    #[arg(long, default_value_t = 1.0)]
    gib: f64,
    /// Folder for the gigabytes that are written and removed again, on a disk and not in memory [default: the system's
    /// folder for temporary files]
    #[arg(long)]
    scratch: Option<PathBuf>,
    /// Write the figures as JSON here too
    #[arg(long)]
    json: Option<PathBuf>,
    /// Serve the plain axum floor on this port (how the bench starts its own floor)
    #[arg(long, hide = true)]
    serve_floor: Option<u16>,
}

/// What is measured together.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    /// (a) The smallest guest under load
    Hello,
    /// (b) What a fresh instance costs
    Instantiate,
    /// (c) The gateway's own cost over the executor
    Infer,
    /// (d) to (g) Storing, verifying, pushing and loading models
    Models,
}

/// What every measurement needs.
struct Setup {
    binary: PathBuf,
    cache: PathBuf,
    rounds: usize,
    window: Duration,
    /// Size of the large model, in bytes.
    model_bytes: u64,
    scratch: PathBuf,
}

fn main() -> Result<()> {
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
        model_bytes: (args.gib.clamp(0.01, 64.0) * f64::from(1 << 30)) as u64,
        scratch: args.scratch.unwrap_or_else(std::env::temp_dir),
    };
    let mut report = Report::default();
    for group in Group::value_variants() {
        if args.only.is_none_or(|only| only == *group) {
            runtime.block_on(measure(*group, &setup, &mut report))?;
        }
    }
    if let Some(path) = args.json {
        std::fs::write(path, serde_json::to_string_pretty(&report.json())?)?;
    }
    Ok(())
}

async fn measure(group: Group, setup: &Setup, report: &mut Report) -> Result<()> {
    match group {
        Group::Hello => hello::measure(setup, report).await,
        Group::Instantiate => instantiate::measure(setup, report).await,
        Group::Infer => infer::measure(setup, report).await,
        Group::Models => models::measure(setup, report).await,
    }
}
