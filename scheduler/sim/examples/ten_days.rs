//! Simulates a fleet and draws it: `cargo run --release -p headland-sim --example ten_days -- OUT_FOLDER [HOURS]`.

use std::path::PathBuf;

use headland_sim::{Planner, SimScenario, map, simulate, timeline};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let out = PathBuf::from(arguments.next().unwrap_or_else(|| "target/sim".to_owned()));
    let standard = SimScenario::default();
    let hours = arguments.next().map_or(Ok(standard.hours), |hours| hours.parse())?;
    let scenario = SimScenario { hours, ..standard };
    let start = std::time::Instant::now();
    let outcome = simulate(&scenario, &mut Planner)?;
    print!("{outcome}");
    println!("simulated in {:.0} s", start.elapsed().as_secs_f64());
    std::fs::create_dir_all(&out)?;
    std::fs::write(out.join("sim-map.svg"), map(&scenario.fleet().input(), &outcome))?;
    std::fs::write(out.join("sim-timeline.svg"), timeline(&outcome))?;
    std::fs::write(out.join("sim.json"), serde_json::to_string(&outcome)?)?;
    Ok(())
}
