//! More requests than can be answered: an open loop from a quarter of the capacity to twice of it. Goodput, the latency of
//! what was accepted, and how quickly the rest is told to come back.

use std::time::Duration;

use anyhow::Result;
use headland_load::Outcome;

use crate::Setup;
use crate::loads::Contender;
use crate::minilm::{F32, PEERS, short, texts, with_deadline};
use crate::peers::{self, MODEL};
use crate::servers::Headland;
use headland_report::{Curve, Panel, Plot, Report, Section, median};

/// Offered rates, as shares of the capacity.
const OFFERED: [f64; 8] = [0.25, 0.5, 0.75, 0.9, 1.0, 1.25, 1.5, 2.0];
/// Connections of the closed loop that finds the capacity: their queue is answered well within the deadline.
const BUSY: usize = 64;
/// Connections an open loop may open: callers that do not wait for each other.
const CONNECTIONS: usize = 1024;
/// Within which each request to ours has to be answered; the peer knows of no such thing.
const DEADLINE: Duration = Duration::from_millis(500);
/// Seed of the arrivals.
const SEED: u64 = 7;
/// An offered rate is held for so many windows.
const WINDOWS: u32 = 5;
pub const TITLE: &str = "MiniLM under twice the load it can bear";
pub const PEAK: &str = "goodput at its peak, requests/s";
pub const AT_TWICE: &str = "goodput at twice the capacity, requests/s";
pub const ACCEPTED_P99: &str = "p99 of the accepted at twice the capacity, milliseconds";
pub const REFUSED_P50: &str = "p50 to a 429 or 503, milliseconds";

/// One contender's curves: for each offered rate a figure of each round.
struct Curves {
    name: &'static str,
    capacity: f64,
    goodput: Rounds,
    p99: Rounds,
    batch: Rounds,
    /// What became of twice the capacity, each round.
    twice: Vec<Outcome>,
}

/// By position in [`OFFERED`].
type Rounds = [Vec<f64>; OFFERED.len()];

pub fn measure(setup: &Setup, report: &mut Report) -> Result<()> {
    let ours = crate::minilm::headland(setup)?;
    let fastapi = peers::fastapi(setup)?;
    let mut contender =
        Contender::new(F32, ours.server.address, with_deadline(texts(setup)?, DEADLINE.as_micros() as u64));
    let our_curves = curves(setup, &mut contender, Some(&ours), setup.rounds)?;
    let mut contender = Contender::new(PEERS[2], fastapi.address, short(texts(setup)?));
    // Once: it queues all that comes, and takes long to get rid of it.
    let peer_curves = curves(setup, &mut contender, None, 1)?;
    for curves in [&our_curves, &peer_curves] {
        report.push(section(curves));
    }
    report
        .about
        .push(("overload: arrivals".to_owned(), format!("Poisson, seed {SEED}, {CONNECTIONS} connections at most")));
    report.plots.push(plot(&[our_curves, peer_curves]));
    Ok(())
}

fn curves(setup: &Setup, contender: &mut Contender, ours: Option<&Headland>, rounds: usize) -> Result<Curves> {
    // The first gets everything warm; what the second makes is the capacity.
    contender.closed(BUSY, setup.window)?;
    let capacity = contender.closed(BUSY, setup.window * WINDOWS)?.rate();
    let (goodput, p99, batch) = Default::default();
    let mut curves = Curves { name: contender.name, capacity, goodput, p99, batch, twice: Vec::new() };
    for _ in 0..rounds {
        for (at, share) in OFFERED.into_iter().enumerate() {
            let before = ours.map(executed).transpose()?;
            let outcome = contender.open(CONNECTIONS, capacity * share, SEED, setup.window * WINDOWS)?;
            curves.goodput[at].push(outcome.rate());
            curves.p99[at].push(outcome.latency_us(0.99) / 1e3);
            if let (Some(ours), Some((requests, batches))) = (ours, before) {
                let (requests_now, batches_now) = executed(ours)?;
                curves.batch[at].push((requests_now - requests) / (batches_now - batches).max(1.0));
            }
            if at + 1 == OFFERED.len() {
                curves.twice.push(outcome);
            }
        }
    }
    Ok(curves)
}

/// Requests answered and batches run so far.
fn executed(ours: &Headland) -> Result<(f64, f64)> {
    let metric = |name| ours.metric(name, MODEL);
    Ok((metric("headland_inference_request_success_total")?, metric("headland_inference_exec_total")?))
}

fn section(curves: &Curves) -> Section {
    let mut section = Section::new(&title(curves.name), "see each line");
    section.add("capacity in a closed loop of 64, requests/s", curves.capacity);
    for (round, twice) in curves.twice.iter().enumerate() {
        let of_round = curves.goodput.iter().filter_map(|rounds| rounds.get(round));
        section.add(PEAK, of_round.fold(0.0, |peak: f64, goodput| peak.max(*goodput)));
        section.add(AT_TWICE, twice.rate());
        section.add("p50 of the accepted at twice the capacity, milliseconds", twice.latency_us(0.5) / 1e3);
        section.add(ACCEPTED_P99, twice.latency_us(0.99) / 1e3);
        section.add("refused with 429 or 503", twice.refused.len() as f64);
        section.add("of these with Retry-After", twice.retry_after as f64);
        if !twice.refused.is_empty() {
            section.add(REFUSED_P50, twice.refused.value_at_quantile(0.5) as f64 / 1e3);
            section.add("p99 to a 429 or 503, milliseconds", twice.refused.value_at_quantile(0.99) as f64 / 1e3);
        }
        section.add("unanswered after 20 s more, or broken", (twice.unanswered + twice.broken) as f64);
    }
    section
}

pub fn title(name: &str) -> String {
    format!("{TITLE}: {name}")
}

fn plot(all: &[Curves]) -> Plot {
    let panel = |title: &str, y: &str, y_log, of: fn(&Curves) -> &Rounds, unit: fn(&Curves) -> f64| Panel {
        title: title.to_owned(),
        x: "offered rate / capacity".to_owned(),
        y: y.to_owned(),
        x_log: false,
        y_log,
        curves: all
            .iter()
            .map(|curves| Curve { name: curves.name.to_owned(), points: points(of(curves), unit(curves)) })
            .filter(|curve| !curve.points.is_empty())
            .collect(),
    };
    Plot {
        file: "overload".to_owned(),
        panels: vec![
            panel(
                "Goodput",
                "answers per second / capacity",
                false,
                |curves| &curves.goodput,
                |curves| curves.capacity,
            ),
            panel("Latency of the accepted", "p99, milliseconds", true, |curves| &curves.p99, |_| 1.0),
            panel("Batch size", "requests per run", false, |curves| &curves.batch, |_| 1.0),
        ],
    }
}

/// The medians over the rounds, in this unit.
fn points(rounds: &Rounds, unit: f64) -> Vec<(f64, f64)> {
    let measured = OFFERED.into_iter().zip(rounds).filter(|(_, rounds)| !rounds.is_empty());
    measured.map(|(share, rounds)| (share, median(rounds) / unit)).collect()
}
