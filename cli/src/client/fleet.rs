//! `headland pop list|show|drain|cordon|uncordon`, `placement show`, `plan` and `rollout`.

use anyhow::Result;
use headland_package::{ModelName, PopId};
use serde_json::{Value, json};
use ureq::http::Method;

use super::{Gateway, items, outline, print, size, table, text};
use crate::args::{PlanOptions, PopCommand, RolloutCommand, Target};

/// `headland pop list` and its like.
pub fn pop(command: PopCommand) -> Result<()> {
    match command {
        PopCommand::List(target) => list(&target),
        PopCommand::Show { pop, target } => {
            let answer = Gateway::open(&target)?.get(&format!("/admin/v1/pops/{pop}"))?;
            print(target.json, &answer, outline)
        }
        PopCommand::Drain { pop, target } => intend(&pop, "draining", &target),
        PopCommand::Cordon { pop, target } => intend(&pop, "cordoned", &target),
        PopCommand::Uncordon { pop, target } => intend(&pop, "active", &target),
    }
}

fn list(target: &Target) -> Result<()> {
    let answer = Gateway::open(target)?.get("/admin/v1/pops")?;
    print(target.json, &answer, |answer| {
        let rows = items(&answer["pops"]).map(|pop| {
            let standing = |which: &str| items(&pop["models"]).filter(|model| model["standing"] == which).count();
            let wanted = items(&pop["models"]).count();
            let memory = |key: &str| items(&pop["devices"]).filter_map(|device| device[key].as_u64()).sum();
            [
                text(pop, "pop"),
                pop["place"]["region"].as_str().unwrap_or("-").to_owned(),
                if pop["control"] == true { "control".to_owned() } else { text(pop, "intent") },
                text(pop, "liveness"),
                format!("{}/{wanted}", standing("ready") + standing("stored")),
                format!("{} of {}", size(memory("used_bytes")), size(memory("memory_bytes"))),
                text(pop, "listen"),
            ]
        });
        table(["POP", "REGION", "USE", "STATE", "MODELS", "MEMORY", "LISTENS"], rows)
    })
}

fn intend(pop: &PopId, intent: &str, target: &Target) -> Result<()> {
    let path = format!("/admin/v1/pops/{pop}/intent");
    let answer = Gateway::open(target)?.send(Method::PUT, &path, Some(&json!({"intent": intent})))?;
    print(target.json, &answer, |answer| format!("`{pop}` is {intent} now: {}\n", text(answer, "so")))
}

/// `headland placement show`.
pub fn placement(target: &Target) -> Result<()> {
    let answer = Gateway::open(target)?.get("/admin/v1/placement")?;
    print(target.json, &answer, |answer| {
        let rows = items(&answer["models"]).map(|model| {
            let replicas: Vec<String> = items(&model["replicas"])
                .map(|replica| match replica["standing"].as_str() {
                    Some("ready") => text(replica, "pop"),
                    standing => format!("{} ({})", text(replica, "pop"), standing.unwrap_or("-")),
                })
                .collect();
            let rate = model["requests_per_s"].as_f64().unwrap_or(0.0);
            let replicas = if replicas.is_empty() { "-".to_owned() } else { replicas.join(", ") };
            [text(model, "model"), format!("{rate:.1}"), replicas]
        });
        let mut shown = table(["MODEL", "REQUESTS/S", "POPS"], rows);
        match answer["report"]["gap"].as_f64() {
            Some(gap) => shown.push_str(&format!("the plan is within {:.2} % of the best possible\n", gap * 100.0)),
            None if answer["role"] == "leader" => shown.push_str("there is no plan yet: PoPs are listened to first\n"),
            None => shown.push_str("this control plane stands by; the leader has the plan and how good it is\n"),
        }
        for model in items(&answer["models"]) {
            for held in items(&model["held_back"]) {
                let (model, pop, reason) = (text(model, "model"), text(held, "pop"), text(held, "reason"));
                let again_s = held["again_ms"].as_u64().unwrap_or(0).div_ceil(1_000);
                shown.push_str(&format!(
                    "{model} failed at {pop}, which is tried again in {again_s} s at the earliest: {reason}\n"
                ));
            }
        }
        for missing in items(&answer["not_placed"]).filter_map(Value::as_str) {
            shown.push_str(&format!("not placed: {missing}\n"));
        }
        shown
    })
}

/// `headland plan`.
pub fn plan(options: &PlanOptions) -> Result<()> {
    let question = json!({"explain": options.explain, "what_if": options.what_if});
    let answer = Gateway::open(&options.target)?.send(Method::POST, "/admin/v1/plan", Some(&question))?;
    print(options.target.json, &answer, |answer| {
        let mut shown = answer["text"].as_str().unwrap_or_default().to_owned();
        if let Some(model) = &options.explain {
            shown.push_str(&format!("{model}\n"));
            shown.extend(items(&answer["explanation"]).filter_map(Value::as_str).map(|line| format!("  {line}\n")));
        }
        if let Some(note) = answer["note"].as_str() {
            shown.push_str(&format!("{note}\n"));
        }
        shown
    })
}

/// `headland rollout status` and its like.
pub fn rollout(command: RolloutCommand) -> Result<()> {
    match command {
        RolloutCommand::Status(target) => {
            let answer = Gateway::open(&target)?.get("/admin/v1/rollouts")?;
            print(target.json, &answer, |answer| {
                let rows = items(&answer["rollouts"]).map(|rollout| {
                    let wave = rollout["wave"].as_u64().unwrap_or(0) + 1;
                    [
                        text(rollout, "name"),
                        text(rollout, "from"),
                        text(rollout, "to"),
                        text(&rollout["state"], "state"),
                        wave.to_string(),
                        text(&rollout["state"], "reason"),
                    ]
                });
                table(["MODEL", "FROM", "TO", "STATE", "WAVE", "WHY"], rows)
            })
        }
        RolloutCommand::Pause { model, target } => change(&model, "paused", &target),
        RolloutCommand::Resume { model, target } => change(&model, "running", &target),
        RolloutCommand::Abort { model, target } => change(&model, "aborted", &target),
    }
}

fn change(model: &ModelName, state: &str, target: &Target) -> Result<()> {
    let path = format!("/admin/v1/rollouts/{model}/state");
    let answer = Gateway::open(target)?.send(Method::PUT, &path, Some(&json!({"state": state})))?;
    print(target.json, &answer, |answer| {
        let state = text(&answer["state"], "state");
        let said = if state == "back" { "taken back" } else { &state };
        format!("the rollout of `{model}` is {said} now\n")
    })
}
