//! `headland sim`: the fleet's control plane in simulated time.

use std::io::IsTerminal;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use headland_sim::{Outcome, SimScenario, map, simulate, timeline};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::args::{RunSim, SimCommand};
use crate::client::print;

const BAR: &str = "simulated [{bar:30}] {pos}/{len} hours, {eta} left";
/// The largest scenario file.
const SCENARIO_BYTES_MAX: u64 = 64 << 10;

/// Runs one of them.
pub fn run(command: SimCommand) -> Result<()> {
    match command {
        SimCommand::Run(options) => run_scenario(&options),
        SimCommand::Show { scenario } => {
            let text = toml::to_string(&scenario_of(&scenario)?)?;
            print(false, &Value::Null, |_| text.clone())
        }
    }
}

fn run_scenario(options: &RunSim) -> Result<()> {
    let mut scenario = scenario_of(&options.scenario)?;
    scenario.seed = options.seed.unwrap_or(scenario.seed);
    scenario.hours = options.hours.unwrap_or(scenario.hours);
    if let Some(out) = &options.out {
        std::fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    }
    let terminal = std::io::stderr().is_terminal();
    let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(u64::from(scenario.hours)), target);
    if let Ok(style) = ProgressStyle::with_template(BAR) {
        bar.set_style(style.progress_chars("=> "));
    }
    let start = Instant::now();
    let outcome = simulate(&scenario, |hours| bar.set_position(u64::from(hours)))?;
    bar.finish_and_clear();
    if let Some(out) = &options.out {
        draw(out, &scenario, &outcome)?;
    }
    print(options.json, &serde_json::to_value(&outcome)?, |_| outcome.to_string())?;
    eprintln!("simulated in {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn draw(out: &Path, scenario: &SimScenario, outcome: &Outcome) -> Result<()> {
    let files = [
        ("sim-map.svg", map(&scenario.fleet().input(), outcome)),
        ("sim-timeline.svg", timeline(outcome)),
        ("sim.json", serde_json::to_string(outcome)?),
    ];
    for (name, content) in files {
        let path = out.join(name);
        std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// One that comes with the program, or one out of a file.
fn scenario_of(given: &str) -> Result<SimScenario> {
    if let Some(known) = SimScenario::named(given) {
        return Ok(known);
    }
    let path = Path::new(given);
    let Ok(about) = std::fs::metadata(path) else {
        let names = SimScenario::NAMES.join("`, `");
        bail!("there is no scenario `{given}`: it is none of `{names}`, and no file");
    };
    if about.len() > SCENARIO_BYTES_MAX {
        bail!("{given} has {} bytes, and a scenario at most {SCENARIO_BYTES_MAX}", about.len());
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {given}"))?;
    toml::from_str(&text).with_context(|| format!("{given} is no scenario; `headland sim show world` prints one"))
}
