//! Answers on the terminal: JSON as it came, columns, or an outline.

use std::io::{ErrorKind, Write};

use anyhow::{Context, Result};
use serde_json::Value;

/// Prints `answer` as JSON or as `render` makes it.
pub fn print(json: bool, answer: &Value, render: impl Fn(&Value) -> String) -> Result<()> {
    let text = if json { serde_json::to_string_pretty(answer)? + "\n" } else { render(answer) };
    match std::io::stdout().write_all(text.as_bytes()) {
        // `headland model list | head` is no error.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("writing the answer"),
    }
}

/// What a list has in it.
pub fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A field for people; a dash where there is none.
pub fn text(value: &Value, key: &str) -> String {
    scalar(&value[key])
}

/// A digest, short enough for a column.
pub fn short_digest(digest: &str) -> String {
    digest.chars().take("sha256:".len() + 12).collect()
}

/// A size for people.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut size = bytes as f64;
    let mut unit = "B";
    for larger in UNITS {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        unit = larger;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{size:.1} {unit}") }
}

/// Columns as wide as their widest cell.
pub fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
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
pub fn outline(value: &Value) -> String {
    let mut out = String::new();
    walk(value, 0, &mut out);
    out
}

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
        assert_eq!(outline(&value), "name: x\ninputs:\n  - name a, shape [1,-1]\nmodels:\n  none\n");
    }

    #[test]
    fn sizes_have_the_unit_people_would_choose() {
        for (bytes, expected) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (90 << 20, "90.0 MiB")] {
            assert_eq!(size(bytes), expected);
        }
        assert_eq!(size(u64::MAX), "16777216.0 TiB");
    }
}
