//! `/admin/v1/pops`, `/placement`, `/plan`, `/rollouts`, `/policy/fleet`: the fleet, as a control plane sees it. `headland up` is one
//! with a single PoP.

use std::str::FromStr;
use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use headland_control::books::Books;
use headland_control::rollout::{Rollout, RolloutState};
use headland_control::{Control, ControlError, ModelPlaces, Planned, PopSummary};
use headland_control_store::Role;
use headland_fleet::{Intent, PolicyRecord};
use headland_package::{ModelName, PopId};
use headland_placement::{ModelKey, Report, WhatIf};
use serde::{Deserialize, Serialize};

use super::{Administration, Answer, JsonBody, Named};
use crate::errors::{ApiError, Reason};

/// Changes that one question may assume.
const WHAT_IFS_MAX: usize = 32;

pub(super) fn routes() -> Router<Administration> {
    Router::new()
        .route("/admin/v1/pops", get(pops))
        .route("/admin/v1/pops/{pop}", get(pop))
        .route("/admin/v1/pops/{pop}/intent", put(set_intent))
        .route("/admin/v1/placement", get(placement))
        .route("/admin/v1/plan", post(plan))
        .route("/admin/v1/policy/fleet", get(policy).put(set_policy))
        .route("/admin/v1/rollouts", get(rollouts))
        .route("/admin/v1/rollouts/{model}/state", put(set_rollout))
}

fn control(administration: &Administration) -> Result<&Control, ApiError> {
    administration.fleet.as_ref().ok_or_else(|| {
        ApiError::new(Reason::NotFound, "this gateway is no control plane; ask one that runs as `headland control`")
    })
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> Self {
        let reason = match &error {
            ControlError::NotFound(_) => Reason::NotFound,
            ControlError::Conflict(_) => Reason::Conflict,
            ControlError::Invalid(_) => Reason::BadPolicy,
            ControlError::Key(_) => Reason::InvalidInput,
            ControlError::Busy(_) | ControlError::Store(_) | ControlError::Bus(_) => Reason::Overloaded,
        };
        ApiError::new(reason, error.to_string())
    }
}

#[derive(Serialize)]
struct PopList {
    /// `leader` or `standby`.
    role: &'static str,
    /// The leader's epoch, if this is the leader.
    epoch: Option<u64>,
    pops: Vec<PopSummary>,
}

async fn pops(State(administration): State<Administration>) -> Answer<PopList> {
    let control = control(&administration)?;
    let (role, epoch) = role(control);
    Ok(Json(PopList { role, epoch, pops: control.overview().pops }))
}

fn role(control: &Control) -> (&'static str, Option<u64>) {
    match control.role() {
        Role::Leader { epoch } => ("leader", Some(epoch.0)),
        Role::Standby => ("standby", None),
    }
}

async fn pop(State(administration): State<Administration>, Named(name): Named<PopId>) -> Answer<PopSummary> {
    let pops = control(&administration)?.overview().pops;
    let missing = || {
        let names: Vec<&str> = pops.iter().map(|pop| pop.pop.as_str()).take(10).collect();
        ApiError::new(Reason::NotFound, format!("there is no PoP `{name}`; there are: {}", names.join(", ")))
    };
    pops.iter().find(|pop| pop.pop == name).cloned().map(Json).ok_or_else(missing)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    intent: Intent,
}

async fn set_intent(
    State(administration): State<Administration>,
    Named(pop): Named<PopId>,
    JsonBody(Wanted { intent }): JsonBody<Wanted>,
) -> Answer<Intended> {
    let control = control(&administration)?;
    control.set_intent(&pop, intent).await?;
    let so = match (intent, control.is_alone()) {
        (Intent::Active, _) => "it is used like any other",
        (Intent::Cordoned, false) => "it keeps what it holds and gets nothing new",
        (Intent::Cordoned, true) => {
            "the plan gives it nothing new; what is pushed to it or asked of it is loaded all the same, for there is no other PoP"
        }
        (Intent::Draining, _) => "what it holds is loaded elsewhere first; `headland pop show` tells how far that is",
    };
    Ok(Json(Intended { pop, intent, so }))
}

#[derive(Serialize)]
struct Intended {
    pop: PopId,
    intent: Intent,
    /// What follows from it.
    so: &'static str,
}

#[derive(Serialize)]
struct Placement {
    role: &'static str,
    epoch: Option<u64>,
    models: Vec<ModelPlaces>,
    /// How good the plan in force is; only the leader has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<Report>,
    /// What that lacks, for people.
    not_placed: Vec<String>,
}

async fn placement(State(administration): State<Administration>) -> Answer<Placement> {
    let control = control(&administration)?;
    let (role, epoch) = role(control);
    let report = control.planned().map(|planned| planned.report.clone());
    let not_placed = report.iter().flat_map(|report| &report.unplaced).map(ToString::to_string).collect();
    Ok(Json(Placement { role, epoch, models: control.overview().models, report, not_placed }))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Question {
    /// A model to say more about, as `name:version`.
    explain: Option<String>,
    /// What is assumed, each as [`WhatIf`] reads it.
    what_if: Vec<String>,
}

#[derive(Serialize)]
struct PlanAnswer {
    report: Report,
    /// The report for people.
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Vec<String>>,
    /// What the plan is worth, where it is not followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

/// What is said of a plan for a PoP that is its whole fleet.
const ADVICE: &str =
    "this gateway is its only PoP: it loads a model when it is first asked for, whatever the plan says";

/// What the plan would be now, under these assumptions. Changes nothing.
async fn plan(
    State(administration): State<Administration>,
    JsonBody(question): JsonBody<Question>,
) -> Answer<PlanAnswer> {
    let control = control(&administration)?;
    if question.what_if.len() > WHAT_IFS_MAX {
        return Err(ApiError::new(Reason::InvalidInput, format!("at most {WHAT_IFS_MAX} assumptions at once")));
    }
    let (mut input, before) = (control.input(), control.planned());
    for assumed in &question.what_if {
        let bad = |error: &dyn std::fmt::Display| ApiError::new(Reason::InvalidInput, error.to_string());
        let assumed = WhatIf::from_str(assumed).map_err(|error| bad(&error))?;
        assumed.apply(&mut input).map_err(|error| bad(&error))?;
    }
    let solved = tokio::task::spawn_blocking(move || {
        let (plan, report) = headland_placement::solve(&input, before.as_ref().map(|it| &it.plan))?;
        Ok::<_, headland_placement::InputError>(Arc::new(Planned { input, plan, report }))
    });
    let interrupted = |error: tokio::task::JoinError| ApiError::internal("planning was interrupted", error.to_string());
    let planned = solved.await.map_err(interrupted)?;
    let planned =
        planned.map_err(|error| ApiError::new(Reason::Conflict, format!("nothing can be planned: {error}")))?;
    let explanation = question.explain.map(|model| explain(&planned, &model)).transpose()?;
    let (text, report) = (planned.report.to_string(), planned.report.clone());
    let note = control.is_alone().then_some(ADVICE);
    Ok(Json(PlanAnswer { text, report, explanation, note }))
}

/// Why a model is where it is, a line for each thing there is to say.
fn explain(planned: &Planned, model: &str) -> Result<Vec<String>, ApiError> {
    let key: ModelKey = model.into();
    let missing = || {
        let known: Vec<&str> = planned.plan.models.iter().map(|it| it.model.as_str()).take(10).collect();
        let known =
            if known.is_empty() { "there is none".to_owned() } else { format!("there are: {}", known.join(", ")) };
        ApiError::new(Reason::NotFound, format!("no model `{model}` is planned, with its version; {known}"))
    };
    let explained = headland_placement::explain(&planned.input, &planned.plan, &planned.report, &key);
    Ok(explained.ok_or_else(missing)?.to_string().lines().map(str::to_owned).collect())
}

#[derive(Serialize)]
struct FleetPolicy {
    #[serde(flatten)]
    policy: PolicyRecord,
    /// Grows with every change of the store's records.
    revision: u64,
}

async fn policy(State(administration): State<Administration>) -> Answer<FleetPolicy> {
    let control = control(&administration)?;
    let kept = control.books(|books: &Books| books.policy().cloned()).ok_or_else(|| {
        let message = match control.is_alone() {
            true => "this gateway was started without a policy, so it admits nothing that is pushed; start it with `--policy FILE`",
            false => {
                "the fleet has no policy record, so plans let every model run anywhere; \
                 each PoP judges by its own policy all the same; set one with `headland policy set FILE`"
            }
        };
        ApiError::new(Reason::NotFound, message)
    })?;
    Ok(Json(FleetPolicy { policy: kept.record, revision: kept.revision.0 }))
}

async fn set_policy(
    State(administration): State<Administration>,
    JsonBody(policy): JsonBody<PolicyRecord>,
) -> Answer<PolicyRecord> {
    let control = control(&administration)?;
    if control.is_alone() {
        let message = "plans are made by this gateway's own policy file, which is its fleet's; change that";
        return Err(ApiError::new(Reason::Conflict, message));
    }
    control.set_policy(&policy).await?;
    Ok(Json(policy))
}

/// The control plane, where versions go out in waves.
fn rolling(administration: &Administration) -> Result<&Control, ApiError> {
    let control = control(administration)?;
    if control.is_alone() {
        let message = "with one PoP a new version is meant as soon as it is pushed, or as `stable` is moved to it: there are no waves";
        return Err(ApiError::new(Reason::Conflict, message));
    }
    Ok(control)
}

#[derive(Serialize)]
struct RolloutList {
    rollouts: Vec<Rollout>,
}

async fn rollouts(State(administration): State<Administration>) -> Answer<RolloutList> {
    let all = |books: &Books| books.rollouts.values().map(|kept| kept.record.clone()).collect();
    Ok(Json(RolloutList { rollouts: rolling(&administration)?.books(all) }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedRollout {
    state: WantedState,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WantedState {
    Paused,
    Running,
    Aborted,
}

async fn set_rollout(
    State(administration): State<Administration>,
    Named(model): Named<ModelName>,
    JsonBody(WantedRollout { state }): JsonBody<WantedRollout>,
) -> Answer<Rollout> {
    let change = |rollout: &Rollout| match (&rollout.state, state) {
        (RolloutState::Running | RolloutState::Paused, WantedState::Paused) => Ok(RolloutState::Paused),
        (RolloutState::Running | RolloutState::Paused, WantedState::Running) => Ok(RolloutState::Running),
        (RolloutState::Running | RolloutState::Paused, WantedState::Aborted) => {
            Ok(RolloutState::Back { reason: "an operator took it back".to_owned() })
        }
        (RolloutState::Done, _) => Err(format!("version {} serves everywhere; the rollout is done", rollout.to)),
        (RolloutState::Back { reason }, _) => Err(format!("the rollout was taken back already: {reason}")),
    };
    Ok(Json(rolling(&administration)?.change_rollout(&model, change).await?))
}
