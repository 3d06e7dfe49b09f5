//! `headland-bench`: ours, the floor and the peers, in turn, in one run, on the same inputs, several rounds; medians,
//! spread and ratios, as text, as JSON and as curves for plots. `make bench-compare` runs it.
//!
//! `hello`, `instance`, `live`, `own_cost`, `mlp`, `minilm`, `overload` and `models` measure; `servers` and `peers` start what is
//! measured; `loads` puts load on it; `headland-report` keeps figures; `targets` holds them against what we want to reach and
//! against what was recorded before.

mod about;
mod floor;
mod hello;
mod instance;
mod live;
mod loads;
mod minilm;
mod mlp;
mod models;
mod overload;
mod own_cost;
mod peers;
mod servers;
mod targets;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};

use headland_report::Report;

/// Where a run leaves its figures, in its folder.
const FIGURES: &str = "figures.json";

/// Measure Headland against the floor and its peers.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure, print, and write figures.json and table.md
    Run(RunArgs),
    /// Hold the ratios of a run against the recorded ones; fails where one is worse than its tolerance allows
    Check {
        /// The run's figures.json
        figures: PathBuf,
        /// The recorded ratios
        recorded: PathBuf,
    },
    /// Record the ratios of a run
    Record {
        /// The run's figures.json
        figures: PathBuf,
        /// Where to
        recorded: PathBuf,
    },
    /// Serve the plain axum floor (how a run starts its own)
    #[command(hide = true)]
    Floor {
        /// On this port of loopback
        port: u16,
        /// With the digits model in this ONNX Runtime
        #[arg(long)]
        library: Option<PathBuf>,
    },
}

#[derive(Args)]
struct RunArgs {
    /// The headland binary
    #[arg(long, default_value = "target/release/headland")]
    binary: PathBuf,
    /// Where scripts/fetch.sh put models and libraries, and scripts/bench.sh its Python
    #[arg(long, default_value = ".cache")]
    cache: PathBuf,
    /// Folder for figures, logs and plots
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// Rounds; each measures every variant once, in turn [default: 5; quick: 1]
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of load on each variant in each round [default: 3; quick: 0.6]
    #[arg(long)]
    seconds: Option<f64>,
    /// One short round of everything, to see that it works
    #[arg(long)]
    quick: bool,
    /// Measure these alone
    #[arg(long, value_enum)]
    only: Vec<Group>,
    /// Size of the model that is stored and verified, in GiB [default: 1; quick: 0.05]
    #[arg(long)]
    gib: Option<f64>,
    /// Folder for the gigabytes that are written and removed again, on a disk and not in memory [default: the system's
    /// folder for temporary files]
    #[arg(long)]
    scratch: Option<PathBuf>,
}

/// What is measured together.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    /// The smallest guest under load
    Hello,
    /// What a fresh instance costs in process
    Instance,
    /// Ten thousand guests at once
    Live,
    /// The gateway's own cost over the executor
    OwnCost,
    /// A 25 MB ONNX model, native and through guests, batched and not
    Mlp,
    /// MiniLM against raw ONNX Runtime and the peers
    Minilm,
    /// More requests than can be answered
    Overload,
    /// Storing, verifying, pushing and loading models
    Models,
}

/// What every measurement needs.
struct Setup {
    binary: PathBuf,
    cache: PathBuf,
    out: PathBuf,
    rounds: usize,
    window: Duration,
    /// Size of the large model, in bytes.
    model_bytes: u64,
    scratch: PathBuf,
}

fn main() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Run(args) => run(args).map(|()| ExitCode::SUCCESS),
        Command::Check { figures, recorded } => {
            let (verdict, table) = targets::check(&read(&figures)?, &fs::read_to_string(&recorded)?)?;
            print!("{table}");
            Ok(if verdict { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Record { figures, recorded } => {
            fs::write(&recorded, targets::record(&read(&figures)?)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Floor { port, library } => {
            runtime()?.block_on(floor::serve(port, library.as_deref())).map(|()| ExitCode::SUCCESS)
        }
    }
}

fn run(args: RunArgs) -> Result<()> {
    let only = args.only.clone();
    let setup = Setup::of(args)?;
    let mut report = Report { about: about::read(&setup), ..Report::default() };
    for group in Group::value_variants() {
        if only.is_empty() || only.contains(group) {
            measure(*group, &setup, &mut report).with_context(|| format!("measuring {}", group.name()))?;
            // After each group: what was measured is not lost with what comes after.
            fs::write(setup.out.join(FIGURES), serde_json::to_string_pretty(&report)?)?;
        }
    }
    let table = targets::table(&report);
    fs::write(setup.out.join("table.md"), &table)?;
    println!("\n{table}");
    Ok(())
}

fn measure(group: Group, setup: &Setup, report: &mut Report) -> Result<()> {
    match group {
        Group::Hello => hello::measure(setup, report),
        Group::Instance => runtime()?.block_on(instance::measure(setup, report)),
        Group::Live => live::measure(setup, report),
        Group::OwnCost => own_cost::measure(setup, report),
        Group::Mlp => mlp::measure(setup, report),
        Group::Minilm => minilm::measure(setup, report),
        Group::Overload => overload::measure(setup, report),
        Group::Models => models::measure(setup, report),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

fn read(figures: &Path) -> Result<Report> {
    let text = fs::read_to_string(figures).with_context(|| format!("reading {}", figures.display()))?;
    Ok(serde_json::from_str(&text)?)
}

impl Setup {
    fn of(args: RunArgs) -> Result<Self> {
        let (rounds, seconds, gib) = if args.quick { (1, 0.6, 0.05) } else { (5, 3.0, 1.0) };
        fs::create_dir_all(&args.out).with_context(|| format!("making {}", args.out.display()))?;
        Ok(Setup {
            binary: args.binary,
            cache: args.cache,
            out: args.out,
            rounds: args.rounds.unwrap_or(rounds).max(1),
            window: Duration::from_secs_f64(args.seconds.unwrap_or(seconds).clamp(0.1, 60.0)),
            model_bytes: (args.gib.unwrap_or(gib).clamp(0.01, 64.0) * f64::from(1 << 30)) as u64,
            scratch: args.scratch.unwrap_or_else(std::env::temp_dir),
        })
    }
}

impl Group {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}
