//! `/admin/v1/models`: every version in the registry and in memory, its aliases, and taking it away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::routing::{delete, get, put};
use axum::{Json, Router};
use headland_batcher::{Generator, Model};
use headland_lifecycle::IndexEntry;
use headland_package::{ModelName, ModelRef, ModelSelector, ModelVersion};
use serde::{Deserialize, Serialize};

use super::{Administration, Answer, DONE, Done, JsonBody, Named};
use crate::errors::{ApiError, Reason};
use crate::kserve::{ModelTensors, tensors};

/// Names that an error lists.
const NAMES_SHOWN_MAX: usize = 10;

pub(super) fn routes() -> Router<Administration> {
    Router::new()
        .route("/admin/v1/models", get(list))
        .route("/admin/v1/models/{name}", get(show))
        .route("/admin/v1/models/{name}/aliases/{alias}", put(set_alias).delete(remove_alias))
        .route("/admin/v1/models/{name}/versions/{version}", delete(remove_version))
}

#[derive(Serialize)]
struct ModelList {
    models: Vec<ModelSummary>,
}

#[derive(Serialize)]
struct ModelSummary {
    #[serde(flatten)]
    entry: IndexEntry,
    #[serde(flatten)]
    loaded: Option<LoadedModel>,
}

/// What only a loaded model has.
#[derive(Serialize)]
struct LoadedModel {
    digest: String,
    backend: String,
    device: String,
    memory_bytes: u64,
    pending: usize,
    answered: u64,
    /// Number of executors, and how they run, where that was a choice.
    executors: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<String>,
    batching: BatchingSummary,
    /// Whether answers are remembered.
    cache: bool,
    /// The longest text it takes whole, in tokens, if it takes text.
    tokens_max: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<GenerationSummary>,
    #[serde(flatten)]
    tensors: ModelTensors,
}

impl LoadedModel {
    fn of(model: &Model) -> Self {
        LoadedModel {
            digest: model.info().digest.to_string(),
            backend: model.info().backend.to_string(),
            device: model.device().to_string(),
            memory_bytes: model.memory_bytes(),
            pending: model.pending(),
            answered: model.stats().success(),
            executors: model.executors(),
            runs: model.described().map(str::to_owned),
            batching: BatchingSummary::of(model),
            cache: model.remembers(),
            tokens_max: model.tokens_max(),
            generation: model.generator().map(|generator| GenerationSummary::of(generator)),
            tensors: tensors(model),
        }
    }
}

/// What a language model has room for.
#[derive(Serialize)]
struct GenerationSummary {
    /// Tokens of a prompt and its answer together.
    context_max: usize,
    /// Memory of a token's keys and values.
    kv_bytes_per_token: u64,
    /// Memory for keys and values, all together.
    kv_cache_bytes: u64,
    /// Answers under way at a time, at the most.
    streams_max: usize,
    /// How many of them fit, each with as many tokens as the context has.
    full_streams_max: usize,
    running: usize,
    waiting: usize,
}

impl GenerationSummary {
    fn of(generator: &Generator) -> Self {
        let (engine, stats) = (generator.engine(), generator.engine().stats());
        let shape = engine.shape();
        let pages_of_one = engine.context_max().div_ceil(shape.page_tokens.max(1)).max(1);
        GenerationSummary {
            context_max: engine.context_max(),
            kv_bytes_per_token: shape.page_bytes / shape.page_tokens.max(1) as u64,
            kv_cache_bytes: shape.page_bytes.saturating_mul(u64::from(shape.pages)),
            streams_max: engine.running_max(),
            full_streams_max: engine.running_max().min(shape.pages as usize / pages_of_one),
            running: stats.running,
            waiting: stats.waiting,
        }
    }
}

/// How requests share a run, or why they do not.
#[derive(Serialize)]
#[serde(untagged)]
enum BatchingSummary {
    On {
        rows_max: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        tokens_max: Option<usize>,
        delay_us_max: u64,
    },
    Off {
        off_because: String,
    },
}

impl BatchingSummary {
    fn of(model: &Model) -> Self {
        match model.policy() {
            Some(policy) => BatchingSummary::On {
                rows_max: policy.rows_max,
                tokens_max: (policy.cells_max < usize::MAX).then_some(policy.cells_max),
                delay_us_max: u64::try_from(policy.delay_max.as_micros()).unwrap_or(u64::MAX),
            },
            None => BatchingSummary::Off { off_because: model.runs_alone().unwrap_or_default().to_owned() },
        }
    }
}

async fn summaries(administration: &Administration) -> Result<Vec<ModelSummary>, ApiError> {
    let loaded: BTreeMap<(ModelName, ModelVersion), Arc<Model>> = administration
        .gateway
        .models()
        .all()
        .into_iter()
        .map(|model| ((model.info().name.clone(), model.info().version.clone()), model))
        .collect();
    let entries = administration.models.index().await?;
    let summary = |entry: IndexEntry| {
        let model = loaded.get(&(entry.name.clone(), entry.version.clone()));
        ModelSummary { loaded: model.map(|model| LoadedModel::of(model)), entry }
    };
    Ok(entries.into_iter().map(summary).collect())
}

async fn list(State(administration): State<Administration>) -> Answer<ModelList> {
    Ok(Json(ModelList { models: summaries(&administration).await? }))
}

#[derive(Serialize)]
struct ModelDetails {
    #[serde(flatten)]
    summary: ModelSummary,
    #[serde(flatten)]
    stored: Option<headland_lifecycle::models::StoredDetails>,
}

async fn show(State(administration): State<Administration>, Named(name): Named<String>) -> Answer<ModelDetails> {
    let asked: ModelRef =
        name.parse().map_err(|error: headland_package::IdError| ApiError::new(Reason::NotFound, error.to_string()))?;
    let mut found = summaries(&administration).await?;
    let there: BTreeSet<String> = found.iter().map(|summary| summary.entry.name.to_string()).collect();
    found.retain(|summary| summary.entry.name == asked.name);
    let versions: Vec<String> = found.iter().map(|summary| summary.entry.version.to_string()).collect();
    let wanted = |summary: &ModelSummary| match &asked.selector {
        ModelSelector::Latest => true,
        ModelSelector::Version(version) => {
            summary.entry.version == *version || summary.entry.aliases.iter().any(|alias| alias == version.as_str())
        }
        ModelSelector::Digest(digest) => {
            summary.loaded.as_ref().is_some_and(|loaded| loaded.digest == digest.to_string())
        }
    };
    found.retain(wanted);
    // The highest one that is loaded; the highest there is, if none is.
    let loaded = found.iter().rposition(|summary| summary.loaded.is_some());
    let Some(summary) = loaded.map(|index| found.swap_remove(index)).or_else(|| found.pop()) else {
        let names = || there.into_iter().take(NAMES_SHOWN_MAX).collect::<Vec<_>>().join(", ");
        let there = match versions.as_slice() {
            [] => format!("there are: {}", names()),
            versions => format!("its versions are {}", versions.join(", ")),
        };
        return Err(ApiError::new(Reason::NotFound, format!("there is no model `{asked}`; {there}")));
    };
    let stored = match summary.entry.in_registry {
        true => Some(administration.models.stored(&summary.entry.name, &summary.entry.version).await?),
        false => None,
    };
    Ok(Json(ModelDetails { summary, stored }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    version: ModelVersion,
}

async fn set_alias(
    State(administration): State<Administration>,
    Named((name, alias)): Named<(ModelName, ModelVersion)>,
    JsonBody(target): JsonBody<Target>,
) -> Done {
    administration.models.set_alias(&name, &alias, &target.version).await?;
    DONE
}

async fn remove_alias(
    State(administration): State<Administration>,
    Named((name, alias)): Named<(ModelName, ModelVersion)>,
) -> Done {
    administration.models.remove_alias(&name, &alias).await?;
    DONE
}

async fn remove_version(
    State(administration): State<Administration>,
    Named((name, version)): Named<(ModelName, ModelVersion)>,
    RawQuery(query): RawQuery,
) -> Done {
    let force = match query.as_deref() {
        None | Some("" | "force=false") => false,
        Some("force=true") => true,
        Some(_) => return Err(ApiError::new(Reason::InvalidInput, "the query is `force=true`, or nothing")),
    };
    administration.models.remove_version(&name, &version, force).await?;
    DONE
}
