//! Commands of the simulator.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Subcommand)]
pub enum SimCommand {
    /// Let the control plane run a fleet in simulated time, and say how it fared
    Run(RunSim),
    /// Print a scenario, to be changed and run
    Show {
        /// `world`, `day`, `small`, or a file
        scenario: String,
    },
}

/// `headland sim run`
#[derive(Args)]
#[command(after_help = "Examples:
  headland sim run small
      60 PoPs for half a day: seconds
  headland sim run day --out sim
      4,300 PoPs in real cities for a day, with crashes, partitions and a lost region; a map and plots in sim/
  headland sim show world > mine.toml; headland sim run mine.toml --seed 7
      ten days, changed as you like

Equal scenarios and seeds give equal results, bit for bit. No network and no running fleet is needed.")]
pub struct RunSim {
    /// `world` (ten days of 4,300 PoPs), `day`, `small`, or a TOML file as `headland sim show` prints
    pub scenario: String,
    /// Draw everything random from this instead
    #[arg(long)]
    pub seed: Option<u64>,
    /// Simulate so many hours instead
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=8_784))]
    pub hours: Option<u32>,
    /// Write sim-map.svg, sim-timeline.svg and sim.json there
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
