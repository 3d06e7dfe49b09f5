//! Commands that ask a running gateway: a thin reader of the admin plane's JSON.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::args::Target;

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

/// `headland model list`.
pub fn list_models(target: &Target) -> Result<()> {
    let models = get(target, "/admin/v1/models")?;
    print(target, &models, |models| {
        let rows = items(&models["models"]).map(|model| {
            let digest = text(model, "digest");
            [
                text(model, "name"),
                text(model, "version"),
                text(model, "backend"),
                text(model, "device"),
                mebibytes(model),
                digest.chars().take("sha256:".len() + 12).collect(),
            ]
        });
        table(["NAME", "VERSION", "BACKEND", "DEVICE", "MEMORY", "DIGEST"], rows)
    })
}

/// `headland model show`.
pub fn show_model(name: &str, target: &Target) -> Result<()> {
    let model = get(target, &format!("/admin/v1/models/{name}"))?;
    print(target, &model, outline)
}

/// `headland app list`.
pub fn list_apps(target: &Target) -> Result<()> {
    let apps = get(target, "/admin/v1/apps")?;
    print(target, &apps, |apps| {
        let rows = items(&apps["apps"]).flat_map(|app| {
            items(&app["routes"]).map(move |route| {
                let host = route["host"].as_str().unwrap_or("any").to_owned();
                [text(app, "name"), host, text(route, "path"), text(route, "weight"), text(app, "requests")]
            })
        });
        table(["APP", "HOST", "PATH", "WEIGHT", "REQUESTS"], rows)
    })
}

/// `headland app show`.
pub fn show_app(name: &str, target: &Target) -> Result<()> {
    let app = get(target, &format!("/admin/v1/apps/{name}"))?;
    print(target, &app, outline)
}

fn get(target: &Target, path: &str) -> Result<Value> {
    let url = format!("{}{path}", target.server.trim_end_matches('/'));
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(TIMEOUT)).build().into();
    let mut response = agent.get(&url).call().with_context(|| {
        format!("no gateway answers at {}; is `headland up` running, and is --server right?", target.server)
    })?;
    let status = response.status();
    let body =
        response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().context("reading the answer")?;
    let answer: Value =
        serde_json::from_str(&body).with_context(|| format!("{url} did not answer JSON; is it the admin address?"))?;
    if !status.is_success() {
        bail!("{}", answer["detail"].as_str().unwrap_or(status.as_str()));
    }
    Ok(answer)
}

fn print(target: &Target, answer: &Value, render: impl Fn(&Value) -> String) -> Result<()> {
    let text = if target.json { serde_json::to_string_pretty(answer)? + "\n" } else { render(answer) };
    use std::io::Write;
    match std::io::stdout().write_all(text.as_bytes()) {
        // `headland model list | head` is no error.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("writing the answer"),
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value, key: &str) -> String {
    match &value[key] {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn mebibytes(model: &Value) -> String {
    model["memory_bytes"].as_u64().map_or_else(|| "-".to_owned(), |bytes| format!("{} MiB", bytes >> 20))
}

/// Columns as wide as their widest cell.
fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(rows);
    let widths: Vec<usize> =
        (0..N).map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// One object, key by key; nested values indented below theirs.
fn outline(value: &Value) -> String {
    fn walk(value: &Value, indent: usize, out: &mut String) {
        let pad = "  ".repeat(indent);
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    match value {
                        Value::Object(_) | Value::Array(_) => {
                            out.push_str(&format!("{pad}{key}:\n"));
                            walk(value, indent + 1, out);
                        }
                        _ => out.push_str(&format!("{pad}{key}: {}\n", scalar(value))),
                    }
                }
            }
            Value::Array(items) if items.is_empty() => out.push_str(&format!("{pad}none\n")),
            Value::Array(items) => {
                for item in items {
                    match item {
                        Value::Object(fields) => {
                            let line: Vec<String> =
                                fields.iter().map(|(key, value)| format!("{key} {}", scalar(value))).collect();
                            out.push_str(&format!("{pad}- {}\n", line.join(", ")));
                        }
                        _ => out.push_str(&format!("{pad}- {}\n", scalar(item))),
                    }
                }
            }
            _ => out.push_str(&format!("{pad}{}\n", scalar(value))),
        }
    }
    fn scalar(value: &Value) -> String {
        match value {
            Value::String(text) => text.clone(),
            Value::Null => "-".to_owned(),
            other => other.to_string(),
        }
    }
    let mut out = String::new();
    walk(value, 0, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["digits".to_owned(), "1".to_owned()], ["m".to_owned(), "10".to_owned()]];
        assert_eq!(table(["NAME", "V"], rows.into_iter()), "NAME    V\ndigits  1\nm       10\n");
    }

    #[test]
    fn an_object_reads_as_an_outline() {
        let value = serde_json::json!({"name": "x", "inputs": [{"name": "a", "shape": [1, -1]}], "models": []});
        assert_eq!(outline(&value), "inputs:\n  - name a, shape [1,-1]\nmodels:\n  none\nname: x\n");
    }
}
