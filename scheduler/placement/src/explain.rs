//! Why a model is where it is, in sentences for those who operate the fleet.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::ids::{ModelKey, PlaceId, PopId};
use crate::input::{Input, ModelSpec};
use crate::plan::{Because, ModelPlan, Plan, Replica};
use crate::report::{Report, bytes};

/// Replicas and places that are told one by one; of the rest it is told how many there are.
const TOLD_MAX: usize = 12;

/// What is to be said about one model. Its `Display` is the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    heading: String,
    rule: String,
    replicas: Vec<String>,
    excluded: Vec<String>,
    places: Vec<String>,
    missing: Vec<String>,
}

/// Explains where a model is. `None` if the input or the plan does not have it.
pub fn explain(input: &Input, plan: &Plan, report: &Report, key: &ModelKey) -> Option<Explanation> {
    let spec = input.models.iter().find(|spec| &spec.key == key)?;
    let plan = plan.model(key)?;
    Some(Explanation {
        heading: heading(plan),
        rule: rule(spec),
        replicas: replicas(input, plan),
        excluded: excluded(input, key),
        places: places(plan),
        missing: missing(plan, report, key),
    })
}

/// What it lacks; or, if it lacks nothing and is nowhere, that this is as it should be.
fn missing(plan: &ModelPlan, report: &Report, key: &ModelKey) -> Vec<String> {
    let lacks: Vec<String> = report.unplaced_of(key).map(ToString::to_string).collect();
    match plan.replicas.is_empty() && lacks.is_empty() {
        true => vec!["nothing: nobody asks for it, and it asks for no replica".to_owned()],
        false => lacks,
    }
}

fn heading(plan: &ModelPlan) -> String {
    let requests_per_s: f64 = plan.routes.iter().map(|route| route.requests_per_s).sum();
    let served: f64 = plan.replicas.iter().map(|replica| replica.requests_per_s).sum();
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let mut text = format!(
        "{}: {} for {} requests/s from {}",
        plan.model,
        count(plan.replicas.len(), "replica"),
        rate(requests_per_s),
        count(plan.routes.len(), "place")
    );
    if served > 0.0 {
        let waiting_ms = (plan.cost.network + plan.cost.compute) / served;
        text += &format!(", {waiting_ms:.1} ms each by its value");
    }
    text
}

/// What bounds it, as its owner and the policy wrote it.
fn rule(spec: &ModelSpec) -> String {
    let mut parts = Vec::new();
    let sizes = [("a CPU", spec.memory.cpu_bytes), ("a GPU", spec.memory.gpu_bytes)];
    for (kind, size) in sizes {
        parts.extend(size.map(|size| format!("{} on {kind}", bytes(size))));
    }
    match spec.accelerator {
        crate::Accelerator::Required => parts.push("needs an accelerator".to_owned()),
        crate::Accelerator::Preferred => parts.push("prefers an accelerator".to_owned()),
        crate::Accelerator::NotNeeded => {}
    }
    let replicas = &spec.replicas;
    parts.push(match replicas.max {
        Some(max) => format!("{} to {max} replicas", replicas.min),
        None => format!("at least {} replica{}", replicas.min, if replicas.min == 1 { "" } else { "s" }),
    });
    if replicas.domains_min > 1 {
        parts.push(format!("{} failure domains", replicas.domains_min));
    }
    for (who, regions) in [("its residency", &spec.residency), ("the policy", &spec.policy_regions)] {
        if let Some(regions) = regions {
            let regions: Vec<_> = regions.iter().map(|region| region.as_str()).collect();
            parts.push(format!("{who} allows {}", regions.join(", ")));
        }
    }
    parts.join("; ")
}

/// The busiest replicas first.
fn replicas(input: &Input, plan: &ModelPlan) -> Vec<String> {
    let pops: BTreeMap<&PopId, _> = input.pops.iter().map(|pop| (&pop.id, pop)).collect();
    let line = |replica: &Replica| {
        let device = pops.get(&replica.pop).and_then(|pop| pop.devices.get(usize::from(replica.device.0)));
        let class = device.map_or("a device that is gone", |device| device.class.as_str());
        let why = match &replica.because {
            Because::Demand { saves, place } => {
                format!("without it, requests mostly from {place} would wait {saves:.1} ms more each second")
            }
            Because::Minimum => "its smallest number of replicas asks for it".to_owned(),
            Because::FailureDomains => "its smallest number of failure domains asks for it".to_owned(),
            Because::Kept => "it shares the load of others near it, or is there and not worth moving".to_owned(),
        };
        format!("{} ({class}), {} requests/s: {why}", replica.pop, rate(replica.requests_per_s))
    };
    let mut order: Vec<&Replica> = plan.replicas.iter().collect();
    order.sort_by(|a, b| b.requests_per_s.total_cmp(&a.requests_per_s));
    shortened(order.into_iter().map(line), "replica", plan.replicas.len())
}

/// The PoPs of the fleet that it must not be on.
fn excluded(input: &Input, key: &ModelKey) -> Vec<String> {
    let pairs = input.excluded.iter().filter(|pair| &pair.model == key);
    let names: BTreeSet<&PopId> = pairs.map(|pair| &pair.pop).collect();
    let listed: Vec<&PopId> = input.pops.iter().map(|pop| &pop.id).filter(|pop| names.contains(pop)).collect();
    shortened(listed.iter().map(|pop| format!("not at {pop}: excluded")), "PoP", listed.len())
}

/// The places that ask most first.
fn places(plan: &ModelPlan) -> Vec<String> {
    let mut routes: Vec<_> = plan.routes.iter().collect();
    routes.sort_by(|a, b| b.requests_per_s.total_cmp(&a.requests_per_s));
    let line = |place: &PlaceId, requests_per_s: f64| {
        let targets: Vec<String> = plan
            .targets(place)
            .map(|(replica, share)| match share {
                0.0 => format!("then {}", replica.pop),
                share => format!("{} {:.0} %", replica.pop, share * 100.0),
            })
            .collect();
        let to = if targets.is_empty() { "nobody".to_owned() } else { targets.join(", ") };
        format!("{place}, {} requests/s: to {to}", rate(requests_per_s))
    };
    shortened(routes.into_iter().map(|route| line(&route.place, route.requests_per_s)), "place", plan.routes.len())
}

fn shortened(lines: impl Iterator<Item = String>, what: &str, count: usize) -> Vec<String> {
    let mut lines: Vec<String> = lines.take(TOLD_MAX).collect();
    if count > TOLD_MAX {
        let more = count - TOLD_MAX;
        lines.push(format!("and {more} more {what}{}", if more == 1 { "" } else { "s" }));
    }
    lines
}

fn rate(requests_per_s: f64) -> String {
    match requests_per_s {
        0.0 => "0".to_owned(),
        rate if rate < 10.0 => format!("{rate:.2}"),
        rate => format!("{rate:.0}"),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.heading)?;
        writeln!(f, "  {}", self.rule)?;
        let parts = [
            ("replicas", &self.replicas),
            ("exclusions", &self.excluded),
            ("routes", &self.places),
            ("missing", &self.missing),
        ];
        for (title, lines) in parts {
            if !lines.is_empty() {
                writeln!(f, "{title}")?;
                lines.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
            }
        }
        Ok(())
    }
}
