//! Pictures of a run, as SVG: the fleet on a map, and what happened over time.

use std::fmt::Write;

use headland_placement::Input;

use crate::faults::FaultKind;
use crate::outcome::{Hour, Outcome};

const MAP: (f64, f64) = (960.0, 480.0);
const TIME: (f64, f64) = (960.0, 130.0);
const LEFT: f64 = 70.0;

fn open(width: f64, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    )
}

/// Where PoPs stand: the more of them, the larger; orange where accelerators are, ringed where some crashed.
pub fn map(fleet: &Input, outcome: &Outcome) -> String {
    let mut svg = open(MAP.0, MAP.1 + 30.0);
    for degrees in (-60..=60).step_by(30) {
        let y = (90.0 - f64::from(degrees)) / 180.0 * MAP.1;
        let _ = writeln!(svg, "<line x1=\"0\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" stroke=\"#e5e7eb\"/>", MAP.0);
    }
    for place in &fleet.places {
        let Some(at) = place.location else { continue };
        let pops: Vec<_> = fleet.pops.iter().filter(|pop| pop.place == place.id).collect();
        if pops.is_empty() {
            continue;
        }
        let (x, y) = ((at.longitude_deg + 180.0) / 360.0 * MAP.0, (90.0 - at.latitude_deg) / 180.0 * MAP.1);
        let radius = 1.2 + (pops.len() as f64).sqrt() * 0.7;
        let colour = if pops.iter().any(|pop| pop.devices.len() > 1) { "#c2410c" } else { "#2563eb" };
        let _ = writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\" fill=\"{colour}\" fill-opacity=\"0.6\"/>"
        );
        let crashed = |pop: &headland_placement::Pop| {
            outcome
                .faults
                .iter()
                .any(|fault| matches!(&fault.kind, FaultKind::Pop(id) if id.as_str() == pop.id.as_str()))
        };
        if pops.iter().any(|pop| crashed(pop)) {
            let ring = radius + 2.5;
            let _ =
                writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{ring:.1}\" fill=\"none\" stroke=\"#111827\"/>");
        }
    }
    let legend = [
        ("#2563eb", "PoPs (area: how many)"),
        ("#c2410c", "some with accelerators"),
        ("#111827", "ring: one crashed during the run"),
    ];
    for (at, (colour, text)) in legend.into_iter().enumerate() {
        let (x, y) = (20.0 + at as f64 * 260.0, MAP.1 + 15.0);
        let _ = writeln!(svg, "<circle cx=\"{x}\" cy=\"{y}\" r=\"5\" fill=\"{colour}\"/>");
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{}\" fill=\"#111827\">{text}</text>", x + 12.0, y + 4.0);
    }
    svg + "</svg>\n"
}

/// Latency, hit rate, bytes moved and live PoPs, hour by hour.
pub fn timeline(outcome: &Outcome) -> String {
    type Value = fn(&Hour) -> f64;
    let rows: [(&str, &str, Value); 5] = [
        ("p50, ms", "#2563eb", |hour| hour.p50_ms),
        ("p99, ms", "#c2410c", |hour| hour.p99_ms),
        ("not answered, %", "#7c3aed", |hour| (1.0 - hour.hit_rate) * 100.0),
        ("moved, GB", "#0f766e", |hour| hour.moved_bytes as f64 / 1e9),
        ("live PoPs", "#111827", |hour| hour.live_pops as f64),
    ];
    let mut svg = open(TIME.0, TIME.1 * rows.len() as f64 + 30.0);
    for (at, (name, colour, value)) in rows.into_iter().enumerate() {
        let values: Vec<f64> = outcome.hours.iter().map(value).collect();
        row(&mut svg, at as f64 * TIME.1, name, colour, &values);
    }
    let bottom = TIME.1 * rows.len() as f64 + 16.0;
    for day in 0..=outcome.hours.len() / 24 {
        let x = LEFT + (day * 24) as f64 / outcome.hours.len().max(1) as f64 * (TIME.0 - LEFT - 10.0);
        let anchor = if day * 24 == outcome.hours.len() { "end" } else { "middle" };
        let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{bottom}\" text-anchor=\"{anchor}\">day {day}</text>");
    }
    svg + "</svg>\n"
}

fn row(svg: &mut String, top: f64, name: &str, colour: &str, values: &[f64]) {
    let (low, high) = values.iter().fold((f64::INFINITY, 0.0f64), |(low, high), &v| (low.min(v), high.max(v)));
    // What hardly moves is shown in its own span, all else from zero.
    let low = if low > high * 0.5 { low * 0.98 } else { 0.0 };
    let span = if high > low { high - low } else { 1.0 };
    let (upper, lower) = (top + 24.0, top + TIME.1 - 8.0);
    let points: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(hour, value)| {
            let x = LEFT + (hour as f64 + 0.5) / values.len() as f64 * (TIME.0 - LEFT - 10.0);
            format!("{x:.1},{:.1}", lower - (value - low) / span * (lower - upper))
        })
        .collect();
    let _ = writeln!(
        svg,
        "<line x1=\"{LEFT}\" y1=\"{lower}\" x2=\"{}\" y2=\"{lower}\" stroke=\"#e5e7eb\"/>",
        TIME.0 - 10.0
    );
    let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"{}\" fill=\"{colour}\">{name}</text>", top + 16.0);
    for (y, value) in [(upper, high), (lower, low)] {
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{value:.1}</text>", LEFT - 6.0, y + 4.0);
    }
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.3\"/>",
        points.join(" ")
    );
}
