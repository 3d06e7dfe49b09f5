//! What holding answers to a form costs: `measure_forms DIR` for the tokenizer of a folder.
//!
//! Texts that satisfy schemas of different kinds are followed token by token, as the model's own tokenizer writes them, and
//! what may follow each token is computed, as an engine does it. Nothing else may run beside it.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use headland_chat::{Form, Tokens, WAYS_MAX};
use headland_generation::{Standing, TokenSet};
use headland_package::folder;
use serde_json::{Value, json};

/// How often each text is followed.
const ROUNDS: usize = 20;

fn main() -> anyhow::Result<()> {
    let directory = std::env::args().nth(1).context("usage: measure_forms DIR")?;
    let tokens = Tokens::open(&folder::open(directory.as_ref())?)?;
    let begin = Instant::now();
    let before_bytes = resident_bytes();
    let grammars = tokens.grammars()?;
    let grown_mb = (resident_bytes() - before_bytes) as f64 / 1e6;
    println!("vocabulary made ready in {:.0?}, {grown_mb:.0} MB", begin.elapsed());
    println!(
        "{:<14} {:>10} {:>10} {:>7} {:>9} {:>9} {:>9} {:>9}",
        "form", "compile", "begin", "tokens", "mean us", "p50 us", "p99 us", "max us"
    );
    let mut all = Vec::new();
    for (name, form, text) in cases() {
        let started = Instant::now();
        let grammar = grammars.compile(&form)?;
        let compiled = started.elapsed();
        let answer = tokens.encode(&text, false)?;
        let mut took = Vec::new();
        let mut begun = Duration::ZERO;
        for _ in 0..ROUNDS {
            let started = Instant::now();
            let mut constraint = grammar.begin();
            begun += started.elapsed();
            follow(&mut *constraint, &answer, &mut took).with_context(|| format!("{name}: {text}"))?;
        }
        print(name, compiled, begun / ROUNDS as u32, answer.len(), &mut took);
        all.extend(took);
    }
    let count = all.len() / ROUNDS;
    print("all", Duration::ZERO, Duration::ZERO, count, &mut all);
    Ok(())
}

/// Takes `answer` token by token; how long it takes to tell what may follow, and to take it.
fn follow(
    constraint: &mut dyn headland_generation::Constraint,
    answer: &[u32],
    took: &mut Vec<Duration>,
) -> anyhow::Result<()> {
    let mut allowed = TokenSet::default();
    for &token in answer {
        let started = Instant::now();
        allowed.clear();
        let standing = constraint.standing()?;
        anyhow::ensure!(standing != Standing::Complete, "the text goes on after its end");
        constraint.allow(&mut allowed)?;
        anyhow::ensure!(allowed.contains(token), "token {token} may not follow");
        constraint.take(token)?;
        took.push(started.elapsed());
    }
    Ok(())
}

fn print(name: &str, compiled: Duration, begun: Duration, tokens: usize, took: &mut [Duration]) {
    took.sort_unstable();
    let us = |duration: Duration| duration.as_secs_f64() * 1e6;
    let at = |share: f64| us(took[((took.len() - 1) as f64 * share) as usize]);
    let mean = us(took.iter().sum::<Duration>()) / took.len() as f64;
    println!(
        "{name:<14} {:>10} {:>10} {tokens:>7} {mean:>9.1} {:>9.1} {:>9.1} {:>9.1}",
        format!("{compiled:.1?}"),
        format!("{begun:.1?}"),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

fn cases() -> Vec<(&'static str, Form, String)> {
    let prose = "The quick brown fox jumps over the lazy dog near Zürich, while 12 curious otters (and a heron) watch from the bank. ";
    let free = json!({"title": prose, "values": [1, -2.5, 3e10, true, null], "nested": {"deep": {"deeper": [prose.repeat(3)]}}});
    let person = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 80}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "mail": {"type": "string", "format": "email"}, "kind": {"enum": ["staff", "guest", "machine"]},
            "born": {"type": "string", "format": "date"}, "score": {"type": "number"},
            "tags": {"type": "array", "items": {"type": "string", "pattern": "^[a-z][a-z0-9-]{0,15}$"}, "maxItems": 8}
        },
        "required": ["name", "age", "mail", "kind", "born", "score", "tags"], "additionalProperties": false
    });
    let one = json!({"name": "Ada Lovelace", "age": 36, "mail": "ada@analytical.example", "kind": "staff",
        "born": "1815-12-10", "score": 0.125, "tags": ["mathematics", "engine-1", "poetry"]});
    let tree = json!({
        "$ref": "#/$defs/node",
        "$defs": {"node": {
            "type": "object",
            "properties": {"label": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
            "required": ["label", "children"], "additionalProperties": false
        }}
    });
    let leaf = |label: &str| json!({"label": label, "children": []});
    let node = json!({"label": "root", "children": [leaf("left"), json!({"label": "right", "children": [leaf("a"), leaf("b")]})]});
    let fields: serde_json::Map<String, Value> = (0..60)
        .map(|index| (format!("field_{index:02}"), json!({"anyOf": [{"type": "string"}, {"type": "null"}]})))
        .collect();
    let names: Vec<&String> = fields.keys().collect();
    let wide = json!({"type": "object", "properties": fields, "required": names, "additionalProperties": false});
    let filled: serde_json::Map<String, Value> = fields
        .keys()
        .enumerate()
        .map(|(index, name)| (name.clone(), if index % 3 == 0 { Value::Null } else { json!(prose[..index].trim()) }))
        .collect();
    let optional = |count: usize| {
        let properties: serde_json::Map<String, Value> =
            (0..count).map(|index| (format!("key{index}"), json!({"type": "integer"}))).collect();
        Form::Schema(json!({"type": "object", "properties": properties, "additionalProperties": false}))
    };
    let few = json!({"key3": 1, "key50": 2, "key99": 3}).to_string();
    vec![
        ("any object", Form::Object, free.to_string()),
        ("indented", Form::Object, serde_json::to_string_pretty(&free).unwrap_or_default()),
        ("person", Form::Schema(person), one.to_string()),
        ("tree", Form::Schema(tree), node.to_string()),
        ("60 fields", Form::Schema(wide), Value::Object(filled).to_string()),
        ("100 optional", optional(100), few.clone()),
        ("200 optional", optional(WAYS_MAX), few),
    ]
}

/// Memory of this process.
fn resident_bytes() -> i64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split_whitespace().nth(1).and_then(|pages| pages.parse::<i64>().ok()).unwrap_or_default() * 4096
}
