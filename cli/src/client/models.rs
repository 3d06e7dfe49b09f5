//! `headland model list`, `show`, `alias`, `rm`, `load` and `unload`.

use anyhow::{Result, bail};
use headland_package::{ModelName, ModelRef, ModelSelector, ModelVersion};
use serde_json::{Value, json};
use ureq::http::Method;

use super::{Gateway, items, outline, print, short_digest, size, table, text};
use crate::args::Target;

/// `headland model list`.
pub fn list(target: &Target) -> Result<()> {
    let models = Gateway::open(target)?.get("/admin/v1/models")?;
    print(target.json, &models, |models| {
        let rows = items(&models["models"]).map(|model| {
            let aliases: Vec<&str> = items(&model["aliases"]).filter_map(Value::as_str).collect();
            [
                text(model, "name"),
                text(model, "version"),
                if aliases.is_empty() { "-".to_owned() } else { aliases.join(",") },
                text(model, "state"),
                text(model, "device"),
                bytes(model),
                model["admitted"].as_str().or(model["reason"].as_str()).unwrap_or("-").to_owned(),
            ]
        });
        table(["NAME", "VERSION", "ALIASES", "STATE", "DEVICE", "SIZE", "WHY"], rows)
    })
}

/// `headland model show`.
pub fn show(model: &ModelRef, target: &Target) -> Result<()> {
    let model = Gateway::open(target)?.get(&format!("/admin/v1/models/{model}"))?;
    print(target.json, &model, |model| {
        let mut model = model.clone();
        let files = model.as_object_mut().and_then(|model| model.remove("files"));
        let mut shown = outline(&model);
        if let Some(files) = files {
            let rows = items(&files).map(|file| {
                [text(file, "path"), size(file["bytes"].as_u64().unwrap_or(0)), short_digest(&text(file, "digest"))]
            });
            shown.push_str("files:\n");
            shown.extend(table(["PATH", "SIZE", "DIGEST"], rows).lines().map(|line| format!("  {line}\n")));
        }
        shown
    })
}

/// `headland model alias`.
pub fn alias(model: &ModelRef, alias: &ModelVersion, delete: bool, target: &Target) -> Result<()> {
    let (name, version) = name_and_version(model)?;
    let path = format!("/admin/v1/models/{name}/aliases/{alias}");
    let gateway = Gateway::open(target)?;
    if delete {
        gateway.send(Method::DELETE, &path, None)?;
        return done(target, &json!({"name": name, "alias": alias}), &format!("`{name}:{alias}` is no more"));
    }
    gateway.send(Method::PUT, &path, Some(&json!({"version": version})))?;
    let said = format!("`{name}:{alias}` is version {version} now");
    done(target, &json!({"name": name, "alias": alias, "version": version}), &said)
}

/// `headland model rm`.
pub fn remove(model: &ModelRef, force: bool, target: &Target) -> Result<()> {
    let (name, version) = name_and_version(model)?;
    let path = format!("/admin/v1/models/{name}/versions/{version}?force={force}");
    Gateway::open(target)?.send(Method::DELETE, &path, None)?;
    done(target, &json!({"name": name, "version": version}), &format!("removed `{model}`"))
}

/// `headland model load`.
pub fn load(model: &ModelRef, target: &Target) -> Result<()> {
    repository(model, "load", target)
}

/// `headland model unload`.
pub fn unload(model: &ModelRef, target: &Target) -> Result<()> {
    repository(model, "unload", target)
}

fn repository(model: &ModelRef, what: &str, target: &Target) -> Result<()> {
    Gateway::open(target)?.send(Method::POST, &format!("/v2/repository/models/{model}/{what}"), Some(&json!({})))?;
    done(target, &json!({"model": model.to_string()}), &format!("{what}ed `{model}`"))
}

fn done(target: &Target, json: &Value, said: &str) -> Result<()> {
    print(target.json, json, |_| format!("{said}\n"))
}

fn name_and_version(model: &ModelRef) -> Result<(&ModelName, &ModelVersion)> {
    match &model.selector {
        ModelSelector::Version(version) => Ok((&model.name, version)),
        _ => bail!("say which version: {}:VERSION; `headland model list` shows what there is", model.name),
    }
}

/// What it takes in memory; on disk, if it is not loaded.
fn bytes(model: &Value) -> String {
    let bytes = model["memory_bytes"].as_u64().or(model["bytes"].as_u64());
    bytes.map_or_else(|| "-".to_owned(), size)
}
