//! The aims.

use super::{Aim, At, Figure, Target};
use crate::{hello, instance, minilm, mlp, overload, own_cost};

/// How far rates may fall from run to run on a machine that others use too.
const RATE: f64 = 0.10;
/// The same of short times and their tails.
const TIME: f64 = 0.25;
const TAIL: f64 = 0.50;
/// Accuracy and memory hardly change unless somebody changes them.
const STEADY: f64 = 0.10;
const EXACT: f64 = 0.0002;
/// What text-embeddings-inference 1.9.3 on ONNX Runtime made of raw `session.run` of 32 x 13 on a machine of this kind:
/// 480 of 631 requests/s. Its binary is not in any registry.
const TEI_OF_RAW: f64 = 480.0 / 631.0;

fn row(title: impl Into<String>, name: &'static str) -> At {
    (title.into(), name)
}

fn ratio(of: At, over: At) -> Figure {
    Figure::Ratio { of, over: vec![over], factor: 1.0 }
}

fn time(of: At, floor: At) -> Figure {
    Figure::Plain { of, floor: Some(floor) }
}

fn steady(of: At) -> Figure {
    Figure::Plain { of, floor: None }
}

/// A row of MiniLM's over the best peer of the same section.
fn over_best_peer(title: &'static str, name: &'static str) -> Figure {
    let over = minilm::PEERS.iter().map(|peer| row(title, peer)).collect();
    Figure::Ratio { of: row(title, name), over, factor: 1.0 }
}

fn over_tei(name: &'static str) -> Figure {
    let over = vec![row(minilm::MANY, minilm::RAW)];
    Figure::Ratio { of: row(minilm::MANY, name), over, factor: 1.0 / TEI_OF_RAW }
}

/// Every target, in the order of the table.
pub fn targets() -> Vec<Target> {
    let mut targets = guests();
    targets.extend(gateway());
    targets.extend(texts());
    targets.extend(busy());
    targets
}

fn guests() -> Vec<Target> {
    let echo = || row(own_cost::TITLE, own_cost::ECHO);
    let over_axum = |name| ratio(row(hello::TITLE, name), row(hello::TITLE, hello::FLOOR));
    vec![
        Target {
            id: "hello-fresh",
            what: "hello guest, fresh instance per request, 32 connections",
            unit: "of plain axum's requests/s",
            figure: over_axum(hello::FRESH),
            aim: Aim::AtLeast(0.40),
            tolerance: RATE,
        },
        Target {
            id: "hello-reused",
            what: "the same with instance reuse",
            unit: "of plain axum's requests/s",
            figure: over_axum(hello::REUSED),
            aim: Aim::AtLeast(0.65),
            tolerance: RATE,
        },
        Target {
            id: "instance-p50",
            what: "guest instantiate (store to drop), p50",
            unit: "microseconds",
            figure: time(row(instance::TITLE, instance::MADE_P50), echo()),
            aim: Aim::AtMost(15.0),
            tolerance: TIME,
        },
        Target {
            id: "instance-p99",
            what: "guest instantiate (store to drop), p99",
            unit: "microseconds",
            figure: time(row(instance::TITLE, instance::MADE_P99), echo()),
            aim: Aim::AtMost(35.0),
            tolerance: TAIL,
        },
        Target {
            id: "guest-request",
            what: "request through a fresh guest in process, to the whole answer, p50",
            unit: "microseconds",
            figure: time(row(instance::TITLE, instance::ASKED_P50), echo()),
            aim: Aim::AtMost(40.0),
            tolerance: TIME,
        },
    ]
}

fn gateway() -> Vec<Target> {
    let own = |name| time(row(own_cost::OWN_TITLE, name), row(own_cost::OWN_TITLE, own_cost::OWN_ECHO));
    let of_raw = |name| ratio(row(mlp::title(1), name), row(mlp::title(1), mlp::RAW));
    let larger = |name| ratio(row(mlp::title(mlp::ROWS), name), row(mlp::title(mlp::ROWS), mlp::RAW));
    let batching =
        |model| ratio(row(mlp::batching_title(model), mlp::BATCHED), row(mlp::batching_title(model), mlp::SINGLE));
    vec![
        Target {
            id: "own-native",
            what: "gateway's own cost per infer, native route, over the executor, p50",
            unit: "microseconds, HTTP over loopback included",
            figure: own(own_cost::OWN_NATIVE),
            aim: Aim::AtMost(40.0),
            tolerance: TIME,
        },
        Target {
            id: "own-guest",
            what: "the same through a guest",
            unit: "microseconds, HTTP over loopback included",
            figure: own(own_cost::OWN_GUEST),
            aim: Aim::AtMost(120.0),
            tolerance: TIME,
        },
        Target {
            id: "mlp-guest",
            what: "25 MB ONNX model through guests, one row a request",
            unit: "of raw session.run's requests/s",
            figure: of_raw(mlp::GUEST),
            aim: Aim::AtLeast(0.95),
            tolerance: RATE,
        },
        Target {
            id: "mlp-native",
            what: "the same, native infer",
            unit: "of raw session.run's requests/s",
            figure: of_raw(mlp::NATIVE),
            aim: Aim::AtLeast(0.95),
            tolerance: RATE,
        },
        Target {
            id: "mlp-guest-rows",
            what: "25 MB ONNX model through guests, 16 rows a request",
            unit: "of raw session.run's requests/s",
            figure: larger(mlp::GUEST),
            aim: Aim::AtLeast(0.95),
            tolerance: RATE,
        },
        Target {
            id: "batching-mlp",
            what: "64 concurrent guests, batching on against off, 25 MB model",
            unit: "times",
            figure: batching("mlp"),
            aim: Aim::AtLeast(3.0),
            tolerance: RATE,
        },
        Target {
            id: "batching-digits",
            what: "64 concurrent guests, batching on against off, 0.2 MB model",
            unit: "times",
            figure: batching("digits"),
            aim: Aim::AtLeast(3.0),
            tolerance: RATE,
        },
    ]
}

fn texts() -> Vec<Target> {
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

fn busy() -> Vec<Target> {
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
