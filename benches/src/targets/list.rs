//! The aims: guests and the gateway here, text models and overload in `texts`.

mod texts;

use super::{Aim, At, Figure, Target};
use crate::{hello, instance, live, mlp, own_cost};

/// How far rates may fall from run to run on a machine that others use too.
const RATE: f64 = 0.10;
/// The same of short times and their tails.
const TIME: f64 = 0.25;
const TAIL: f64 = 0.50;
/// Accuracy and memory hardly change unless somebody changes them.
const STEADY: f64 = 0.10;
const EXACT: f64 = 0.0002;

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

/// Every target, in the order of the table.
pub fn targets() -> Vec<Target> {
    let mut targets = guests();
    targets.extend(gateway());
    targets.extend(texts::texts());
    targets.extend(texts::busy());
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
        Target {
            id: "live-guests",
            what: "guests alive at once, no sysctl",
            unit: "guests",
            figure: steady(row(live::TITLE, live::ALIVE)),
            aim: Aim::AtLeast(10_000.0),
            tolerance: EXACT,
        },
        Target {
            id: "live-memory",
            what: "memory of each, in the middle of a request, its connection apart",
            unit: "KiB",
            figure: steady(row(live::TITLE, live::EACH)),
            aim: Aim::AtMost(48.0),
            tolerance: STEADY,
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
            what: "gateway's own cost per infer, native route, over the executor, on one core, p50",
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
