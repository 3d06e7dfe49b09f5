//! The first answer of a gateway that was just started, with MiniLM in its registry: the whole request, and the parts
//! of the load as the gateway logs them.

use std::time::Instant;

use anyhow::{Context, Result};
use headland_load::{Client, binary_infer};
use headland_package::folder;
use serde_json::Value;

use super::MILLISECONDS;
use super::gateway::Gateway;
use super::scratch::{Scratch, settle, since};
use crate::{Setup, servers};
use headland_report::Section;

/// The data directory that has MiniLM, put there by `push`.
pub const DATA: &str = "registry";
/// The name it has there.
pub const MODEL: &str = "all-minilm-l6-v2";
/// Token ids of a sentence of 13 tokens, special ones included.
const SENTENCE: [i64; 13] = [101, 1037, 4937, 7719, 2006, 1996, 4010, 13523, 2279, 2000, 1996, 3332, 102];
/// What the gateway logs, and what that is.
const PARTS: [(&str, &str); 3] = [
    ("verify_ms", "verify: map, hash, judge"),
    ("build_ms", "build the model from the mapped bytes"),
    ("warm_up_ms", "warm-up: its first run"),
];

pub fn measure(setup: &Setup, scratch: &Scratch) -> Result<Section> {
    let body: Vec<u8> = SENTENCE.iter().flat_map(|id| id.to_le_bytes()).collect();
    let ask = binary_infer(MODEL, ("input_ids", "INT64", "[1,13]", &body), "sentence_embedding");
    let mut section = Section::new("MiniLM out of the registry, to the first answer", MILLISECONDS);
    for _ in 0..setup.rounds {
        let gateway = Gateway::start(setup, scratch, DATA)?;
        settle(&scratch.path(DATA))?;
        let mut client = Client::connect(gateway.server.address)?;
        let started = Instant::now();
        answer(&mut client, &ask)?;
        let first = since(started);
        section.add("the first request, whole", first);
        let loaded = loaded(&gateway.log()?)?;
        let mut rest = first;
        for (field, name) in PARTS {
            let part = milliseconds(&loaded, field)?;
            section.add(name, part);
            rest -= part;
        }
        section.add("the rest: HTTP, the registry's listing, one answer", rest);
        let started = Instant::now();
        answer(&mut client, &ask)?;
        section.add("the second request", since(started));
        let started = Instant::now();
        let files = folder::open(&servers::minilm(setup))?;
        section.add("only opening and mapping the same files", since(started));
        drop(files);
    }
    Ok(section)
}

fn answer(client: &mut Client, ask: &[u8]) -> Result<()> {
    let (status, answer) = client.ask(ask)?;
    anyhow::ensure!(status == 200, "status {status}: {}", String::from_utf8_lossy(answer));
    Ok(())
}

/// The log line about the load.
fn loaded(log: &str) -> Result<Value> {
    let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let said = |line: &Value| line["message"].as_str().is_some_and(|message| message.starts_with("model loaded"));
    lines.find(said).context("the gateway's log does not say that a model was loaded")
}

fn milliseconds(line: &Value, field: &str) -> Result<f64> {
    let value = &line[field];
    let figure = value.as_f64().or_else(|| value.as_str()?.parse().ok());
    figure.with_context(|| format!("no {field} in {line}"))
}
