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
use headland_report::{Curve, Panel, Plot, Report, Section};

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

/// One contender's curves.
struct Curves {
    name: &'static str,
    capacity: f64,
    goodput: Vec<(f64, f64)>,
    p99: Vec<(f64, f64)>,
    batch: Vec<(f64, f64)>,
    last: Option<Outcome>,
}

pub fn measure(setup: &Setup, report: &mut Report) -> Result<()> {
    let ours = crate::minilm::headland(setup)?;
    let fastapi = peers::fastapi(setup)?;
    let mut contender =
        Contender::new(F32, ours.server.address, with_deadline(texts(setup)?, DEADLINE.as_micros() as u64));
    let our_curves = curves(setup, &mut contender, Some(&ours))?;
    let mut contender = Contender::new(PEERS[2], fastapi.address, short(texts(setup)?));
    let peer_curves = curves(setup, &mut contender, None)?;
    for curves in [&our_curves, &peer_curves] {
        report.push(section(curves));
    }
    report
        .about
        .push(("overload: arrivals".to_owned(), format!("Poisson, seed {SEED}, {CONNECTIONS} connections at most")));
    report.plots.push(plot(&[our_curves, peer_curves]));
    Ok(())
}

fn curves(setup: &Setup, contender: &mut Contender, ours: Option<&Headland>) -> Result<Curves> {
    // The first gets everything warm; what the second makes is the capacity.
    contender.closed(BUSY, setup.window)?;
    let capacity = contender.closed(BUSY, setup.window * WINDOWS)?.rate();
    let (goodput, p99, batch) = (Vec::new(), Vec::new(), Vec::new());
    let mut curves = Curves { name: contender.name, capacity, goodput, p99, batch, last: None };
    for share in OFFERED {
        let before = ours.map(executed).transpose()?;
        let outcome = contender.open(CONNECTIONS, capacity * share, SEED, setup.window * WINDOWS)?;
        curves.goodput.push((share, outcome.rate()));
        curves.p99.push((share, outcome.latency_us(0.99) / 1e3));
        if let (Some(ours), Some((requests, batches))) = (ours, before) {
            let (requests_now, batches_now) = executed(ours)?;
            curves.batch.push((share, (requests_now - requests) / (batches_now - batches).max(1.0)));
        }
        curves.last = Some(outcome);
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
    section.add(PEAK, curves.goodput.iter().fold(0.0, |peak: f64, (_, goodput)| peak.max(*goodput)));
    section.add("capacity in a closed loop of 64, requests/s", curves.capacity);
    let Some(last) = &curves.last else { return section };
    section.add(AT_TWICE, last.rate());
    section.add("p50 of the accepted at twice the capacity, milliseconds", last.latency_us(0.5) / 1e3);
    section.add(ACCEPTED_P99, last.latency_us(0.99) / 1e3);
    section.add("refused with 429 or 503", last.refused.len() as f64);
    section.add("of these with Retry-After", last.retry_after as f64);
    if !last.refused.is_empty() {
        section.add(REFUSED_P50, last.refused.value_at_quantile(0.5) as f64 / 1e3);
        section.add("p99 to a 429 or 503, milliseconds", last.refused.value_at_quantile(0.99) as f64 / 1e3);
    }
    section.add("unanswered after 20 s more, or broken", (last.unanswered + last.broken) as f64);
    section
}

pub fn title(name: &str) -> String {
    format!("{TITLE}: {name}")
}

fn plot(all: &[Curves]) -> Plot {
    let panel = |title: &str, y: &str, y_log, curve: fn(&Curves) -> Vec<(f64, f64)>| Panel {
        title: title.to_owned(),
        x: "offered rate / capacity".to_owned(),
        y: y.to_owned(),
        x_log: false,
        y_log,
        curves: all
            .iter()
            .map(|curves| Curve { name: curves.name.to_owned(), points: curve(curves) })
            .filter(|curve| !curve.points.is_empty())
            .collect(),
    };
    Plot {
        file: "overload".to_owned(),
        panels: vec![
            panel("Goodput", "answers per second / capacity", false, |curves| {
                curves.goodput.iter().map(|(share, goodput)| (*share, goodput / curves.capacity)).collect()
            }),
            panel("Latency of the accepted", "p99, milliseconds", true, |curves| curves.p99.clone()),
            panel("Batch size", "requests per run", false, |curves| curves.batch.clone()),
        ],
    }
}
