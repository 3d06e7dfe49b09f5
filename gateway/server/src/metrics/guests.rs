//! What the apps' guests have done, read from their own counters.

use headland_guest_host::Outcome;
use prometheus::proto::MetricFamily;

use super::{Counter, Gauge};
use crate::gateway::Gateway;

pub(super) fn families(gateway: &Gateway) -> Vec<MetricFamily> {
    let runs = Counter::new("headland_guest_runs_total", "Guest runs, by how they ended", &["app", "outcome"]);
    let help = "Responses that had begun and were cut off by a trap or the deadline";
    let cut_off = Counter::new("headland_guest_responses_cut_off_total", help, &["app"]);
    let instances = Gauge::new("headland_guest_instances", "Guest instances alive now", &["app"]);
    for (app, stats) in gateway.apps().stats() {
        for outcome in Outcome::ALL {
            runs.add(&[&app, outcome.label()], stats.requests(outcome) as f64);
        }
        cut_off.add(&[&app], stats.cut_off() as f64);
        instances.set(&[&app], stats.instances() as f64);
    }
    [runs.families(), cut_off.families(), instances.families()].concat()
}
