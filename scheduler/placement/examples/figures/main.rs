//! Makes the figures of docs/placement.md: quality, speed, growth and the side-by-side, as text, JSON and SVG.
//!
//!     cargo run --release -p headland-placement --example figures -- OUT_FOLDER

use std::collections::BTreeMap;
use std::path::PathBuf;

use headland_placement::scenario::Scenario;
use headland_placement::*;

mod chart;
mod lru;

use chart::{Chart, Series};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Times are of the processor, medians of so many runs.
const RUNS: usize = 3;

fn main() -> anyhow::Result<()> {
    let out = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "target/placement".to_owned()));
    std::fs::create_dir_all(&out)?;
    let quality = quality()?;
    let speed = speed()?;
    let changes = changes()?;
    let sides = sides()?;
    let pops = growth(&[500, 1_000, 2_000, 4_300, 8_600], |pops| Scenario {
        pops,
        gpu_pops: pops * 3 / 43,
        ..Scenario::standard(1)
    })?;
    let models = growth(&[125, 250, 500, 1_000, 2_000], |models| Scenario { models, ..Scenario::standard(1) })?;
    std::fs::write(out.join("placement-growth-pops.svg"), plot("PoPs", "PoPs (1,000 models)", &pops))?;
    std::fs::write(out.join("placement-growth-models.svg"), plot("models", "models (4,300 PoPs)", &models))?;
    let json = serde_json::json!({
        "quality": quality, "speed_ms": speed, "changes_ms": changes, "sides": sides, "growth_pops": pops, "growth_models": models,
    });
    std::fs::write(out.join("placement.json"), serde_json::to_string_pretty(&json)?)?;
    println!("\nfigures and plots: {}", out.display());
    Ok(())
}

/// Objective, bound and gap of the standard scenario out of several seeds.
fn quality() -> anyhow::Result<Vec<(u64, f64, f64, f64)>> {
    println!("| seed | objective | lower bound | gap |\n|---|---|---|---|");
    let mut rows = Vec::new();
    for seed in 1..=5 {
        let input = Scenario::standard(seed).input();
        let (plan, report) = solve(&input, None)?;
        check(&input, None, &plan)?;
        let (total, gap) = (report.cost.total(), report.gap * 100.0);
        println!("| {seed} | {total:.0} | {:.0} | {gap:.2} % |", report.lower_bound);
        rows.push((seed, total, report.lower_bound, gap));
    }
    Ok(rows)
}

/// How long the standard scenario takes from nothing and after small changes, and what moves.
fn speed() -> anyhow::Result<Vec<(String, f64)>> {
    let input = Scenario::standard(1).input();
    let (plan, _) = solve(&input, None)?;
    println!("\n| | median | loads | unloads | gap |\n|---|---|---|---|---|");
    let mut rows = Vec::new();
    let cases = [
        "",
        "scale m0001:1 by 1",
        "lose pop london1",
        "lose pop tokyo3",
        "scale m0001:1 by 3",
        "scale m0010:1 by 3",
        "scale m0100:1 by 3",
        "scale m0500:1 by 3",
        "add pop new like london1",
        "lose region oc",
    ];
    for case in cases {
        let (name, mut input) = (if case.is_empty() { "from nothing" } else { case }, input.clone());
        let previous = if case.is_empty() { None } else { Some(&plan) };
        if !case.is_empty() {
            WhatIf::parse(case)?.apply(&mut input)?;
        }
        let (ms, report) = timed(&input, previous)?;
        let moves = &report.moves;
        println!(
            "| {name} | {ms:.1} ms | {} | {} | {:.2} % |",
            moves.loads.len(),
            moves.unloads.len(),
            report.gap * 100.0
        );
        rows.push((name.to_owned(), ms));
    }
    Ok(rows)
}

/// How long a hundred PoPs lost and a hundred models tripled take, each for itself: the fifty that hold most, or are asked
/// for most, and fifty of all the others.
fn changes() -> anyhow::Result<Vec<(String, Vec<f64>)>> {
    let input = Scenario::standard(1).input();
    let (plan, _) = solve(&input, None)?;
    let mut held: BTreeMap<PopId, usize> = BTreeMap::new();
    plan.replicas().for_each(|replica| *held.entry(replica.pop).or_default() += 1);
    let pops = held.into_iter().map(|(pop, held)| (held as f64, format!("lose pop {pop}")));
    let asked = |demand: &Demand| demand.rates.iter().map(|rate| rate.requests_per_s).sum();
    let models = input.demand.iter().map(|demand| (asked(demand), format!("scale {} by 3", demand.model)));
    println!("\n| a hundred times | half take at most | nine of ten | all | the longest |\n|---|---|---|---|---|");
    let mut rows = Vec::new();
    for (name, cases) in [("one PoP lost", pops.collect()), ("one model's demand tripled", models.collect())] {
        let mut times = Vec::new();
        for case in some(cases) {
            let mut input = input.clone();
            WhatIf::parse(&case)?.apply(&mut input)?;
            times.push((timed(&input, Some(&plan))?.0, case));
        }
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].0;
        let longest = times.last().map_or("", |(_, case)| case);
        println!("| {name} | {:.1} ms | {:.1} ms | {:.1} ms | {longest} |", at(0.5), at(0.9), at(1.0));
        rows.push((name.to_owned(), times.into_iter().map(|(ms, _)| ms).collect()));
    }
    Ok(rows)
}

/// The fifty cases that weigh most, and fifty of the others, evenly.
fn some(mut cases: Vec<(f64, String)>) -> Vec<String> {
    cases.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let others = cases.split_off(cases.len().min(50));
    let step = (others.len() / 50).max(1);
    cases.into_iter().chain(others.into_iter().step_by(step).take(50)).map(|(_, case)| case).collect()
}

fn timed(input: &Input, previous: Option<&Plan>) -> anyhow::Result<(f64, Report)> {
    let mut times = Vec::new();
    let mut last = None;
    for _ in 0..RUNS {
        let start_ms = processor_ms();
        let (plan, report) = solve(input, previous)?;
        times.push(processor_ms() - start_ms);
        check(input, previous, &plan)?;
        last = Some(report);
    }
    times.sort_by(f64::total_cmp);
    Ok((times[RUNS / 2], last.ok_or_else(|| anyhow::anyhow!("nothing was run"))?))
}

/// What this thread has used of a processor: it tells little of what else runs on the machine.
fn processor_ms() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

/// The whole solver against its first phase alone and against caches that each PoP runs for itself.
fn sides() -> anyhow::Result<Vec<(String, f64, f64, f64)>> {
    println!("\n| | objective | over the bound | mean wait of those served | unserved |\n|---|---|---|---|---|");
    let input = Scenario::standard(1).input();
    let (_, whole) = solve(&input, None)?;
    let mut greedy = input.clone();
    greedy.options.effort = Effort::Greedy;
    let (_, greedy) = solve(&greedy, None)?;
    let cached = lru::caches(&input);
    let (_, cached) = solve(&cached, None)?;
    let demand: f64 = input.demand.iter().flat_map(|demand| &demand.rates).map(|rate| rate.requests_per_s).sum();
    let mut rows = Vec::new();
    for (name, report) in [("headland", &whole), ("greedy only", &greedy), ("LRU in each PoP", &cached)] {
        let cost = &report.cost;
        // A sum of nothing is -0.
        let lost = report.unplaced.iter().map(|unplaced| unplaced.requests_per_s).sum::<f64>() + 0.0;
        let total = cost.total() - cost.loading;
        let over = total / (whole.lower_bound - whole.cost.loading) - 1.0;
        let wait_ms = (cost.network + cost.compute) / (demand - lost);
        println!("| {name} | {total:.0} | {:.1} % | {wait_ms:.2} ms | {:.3} % |", over * 100.0, lost / demand * 100.0);
        rows.push((name.to_owned(), total, wait_ms, lost / demand));
    }
    Ok(rows)
}

/// Size, milliseconds from nothing, milliseconds after one PoP is lost, gap in per cent.
type Grown = (usize, f64, f64, f64);

fn growth(sizes: &[usize], scenario: impl Fn(usize) -> Scenario) -> anyhow::Result<Vec<Grown>> {
    println!("\n| size | from nothing | one PoP lost | gap |\n|---|---|---|---|");
    let mut rows = Vec::new();
    for &size in sizes {
        let input = scenario(size).input();
        let (plan, _) = solve(&input, None)?;
        let (first_ms, report) = timed(&input, None)?;
        let mut smaller = input.clone();
        smaller.pops.remove(size.min(smaller.pops.len()) / 2);
        let (again_ms, _) = timed(&smaller, Some(&plan))?;
        println!("| {size} | {first_ms:.0} ms | {again_ms:.1} ms | {:.2} % |", report.gap * 100.0);
        rows.push((size, first_ms, again_ms, report.gap * 100.0));
    }
    Ok(rows)
}

fn plot(what: &str, axis: &str, rows: &[Grown]) -> String {
    let series = |name: &str, colour, value: &dyn Fn(&Grown) -> f64| Series {
        name: name.to_owned(),
        colour,
        points: rows.iter().map(|row| (row.0 as f64, value(row))).collect(),
    };
    Chart {
        title: format!("How solving grows with the number of {what}"),
        x: axis.to_owned(),
        y: "milliseconds, one core".to_owned(),
        series: vec![
            series("from nothing, with bound and report", "#c2410c", &|row| row.1),
            series("one PoP lost", "#2563eb", &|row| row.2),
        ],
    }
    .svg()
}
