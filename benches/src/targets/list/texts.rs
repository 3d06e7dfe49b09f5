//! The aims for text models, and for overload.

use super::{EXACT, RATE, STEADY, TAIL, TIME, ratio, row, steady, time};
use crate::targets::{Aim, Figure, Target};
use crate::{minilm, overload, own_cost};

/// What text-embeddings-inference 1.9.3 on ONNX Runtime made of raw `session.run` of 32 x 13 on a machine of this kind:
/// 480 of 631 requests/s. Its binary is not in any registry.
const TEI_OF_RAW: f64 = 480.0 / 631.0;

/// A row of MiniLM's over the best peer of the same section.
fn over_best_peer(title: &'static str, name: &'static str) -> Figure {
    let over = minilm::PEERS.iter().map(|peer| row(title, peer)).collect();
    Figure::Ratio { of: row(title, name), over, factor: 1.0 }
}

fn over_tei(name: &'static str) -> Figure {
    let over = vec![row(minilm::MANY, minilm::RAW)];
    Figure::Ratio { of: row(minilm::MANY, name), over, factor: 1.0 / TEI_OF_RAW }
}

/// MiniLM.
pub fn texts() -> Vec<Target> {
    let raw_one = || row(minilm::ONE_P50, minilm::RAW);
    let cosine = |name| steady(row(minilm::ACCURACY, name));
    let resident = |name| steady(row(minilm::RESIDENT, name));
    vec![
        Target {
            id: "minilm-f32",
            what: "MiniLM f32, 13-token texts, 64 connections",
            unit: "times text-embeddings-inference (taken as 0.761 of raw session.run of 32x13)",
            figure: over_tei(minilm::F32),
            aim: Aim::AtLeast(1.3),
            tolerance: RATE,
        },
        Target {
            id: "minilm-f32-peer",
            what: "the same",
            unit: "times the best peer in this run",
            figure: over_best_peer(minilm::MANY, minilm::F32),
            aim: Aim::AtLeast(1.3),
            tolerance: RATE,
        },
        Target {
            id: "minilm-f32-cosine",
            what: "least cosine in f32",
            unit: "to raw session.run",
            figure: cosine(minilm::F32),
            aim: Aim::AtLeast(0.9999),
            tolerance: EXACT,
        },
        Target {
            id: "minilm-int8",
            what: "MiniLM int8, 13-token texts, 64 connections",
            unit: "times text-embeddings-inference (taken as above)",
            figure: over_tei(minilm::INT8),
            aim: Aim::AtLeast(1.8),
            tolerance: RATE,
        },
        Target {
            id: "minilm-int8-cosine",
            what: "least cosine in int8",
            unit: "to raw session.run in f32",
            figure: cosine(minilm::INT8),
            aim: Aim::AtLeast(0.995),
            tolerance: EXACT,
        },
        Target {
            id: "minilm-one-p50",
            what: "MiniLM f32, 1 connection, p50 over raw session.run's",
            unit: "microseconds",
            figure: Figure::Difference { of: row(minilm::ONE_P50, minilm::F32), from: raw_one(), floor: raw_one() },
            aim: Aim::AtMost(200.0),
            tolerance: TIME,
        },
        Target {
            id: "minilm-one-p99",
            what: "MiniLM f32, 1 connection, p99",
            unit: "microseconds",
            figure: time(row(minilm::ONE_P99, minilm::F32), raw_one()),
            aim: Aim::AtMost(7000.0),
            tolerance: TAIL,
        },
        Target {
            id: "minilm-lists",
            what: "MiniLM f32, 32 texts a request",
            unit: "requests/s",
            figure: time(row(minilm::LISTS, minilm::F32), row(minilm::LISTS, minilm::RAW)),
            aim: Aim::AtLeast(18.0),
            tolerance: RATE,
        },
        Target {
            id: "minilm-mixed",
            what: "MiniLM f32, 8 to 256 tokens, 32 connections",
            unit: "times the best peer in this run",
            figure: over_best_peer(minilm::MIXED, minilm::F32),
            aim: Aim::AtLeast(1.5),
            tolerance: RATE,
        },
        Target {
            id: "minilm-mixed-int8",
            what: "the same in int8",
            unit: "times the best peer in this run",
            figure: over_best_peer(minilm::MIXED, minilm::INT8),
            aim: Aim::AtLeast(1.5),
            tolerance: RATE,
        },
        Target {
            id: "minilm-memory",
            what: "resident memory serving MiniLM, f32",
            unit: "MB, mapped files included",
            figure: resident(minilm::F32),
            aim: Aim::AtMost(150.0),
            tolerance: STEADY,
        },
        Target {
            id: "minilm-memory-int8",
            what: "resident memory serving MiniLM, int8",
            unit: "MB, mapped files included",
            figure: resident(minilm::INT8),
            aim: Aim::AtMost(150.0),
            tolerance: STEADY,
        },
    ]
}

/// Twice the load there is room for.
pub fn busy() -> Vec<Target> {
    let title = || overload::title(minilm::F32);
    vec![
        Target {
            id: "overload-goodput",
            what: "goodput at twice the capacity",
            unit: "of its peak",
            figure: ratio(row(title(), overload::AT_TWICE), row(title(), overload::PEAK)),
            aim: Aim::AtLeast(0.9),
            tolerance: RATE,
        },
        Target {
            id: "overload-p99",
            what: "p99 of the accepted at twice the capacity, deadline 500 ms",
            unit: "milliseconds",
            figure: steady(row(title(), overload::ACCEPTED_P99)),
            aim: Aim::AtMost(500.0),
            tolerance: TAIL,
        },
        Target {
            id: "overload-refusal",
            what: "time to a 429 or 503 at twice the capacity, p50",
            unit: "milliseconds",
            figure: time(row(title(), overload::REFUSED_P50), row(own_cost::TITLE, own_cost::ECHO)),
            aim: Aim::AtMost(1.0),
            tolerance: TAIL,
        },
    ]
}
