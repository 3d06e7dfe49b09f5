//! `headland run`: one question to a language model, without a gateway.

use std::io::{ErrorKind, IsTerminal, Read, Write, stderr, stdin, stdout};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use headland_batcher::{Caller, Generator};
use headland_completions::{Completion, Kind, Whole};
use headland_generation::End;
use headland_lifecycle::models::budget::Budget;
use headland_lifecycle::models::build::{Plan, ServeOptions};
use headland_package::{ModelName, ModelVersion, Sha256Digest, folder};
use serde_json::json;

use crate::args::RunModel;
use crate::client::print;
use crate::models::{BuiltIn, name_of_path};

/// The longest prompt that is read from standard input.
const PROMPT_BYTES_MAX: u64 = 16 << 20;

/// Runs it.
pub fn run(options: &RunModel) -> Result<()> {
    let prompt = prompt(&options.prompt)?;
    let began = Instant::now();
    // Only logs and errors call it so.
    let name = name_of_path(&options.model).or_else(|_| "model".parse())?;
    let progress = !options.json && stderr().is_terminal();
    if progress {
        eprint!("loading {name} ...");
    }
    let loaded = load(options, name);
    if progress {
        eprint!("\r\x1b[K");
    }
    let model = loaded?;
    let took = began.elapsed();
    let Some(generator) = model.generator() else {
        bail!("{} is no language model; serve it with `headland up --model {0}`", options.model.display());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting tokio")?;
    runtime.block_on(answer(options, generator, &prompt, took))
}

fn prompt(given: &str) -> Result<String> {
    if given != "-" {
        return Ok(given.to_owned());
    }
    let mut text = String::new();
    stdin().take(PROMPT_BYTES_MAX).read_to_string(&mut text).context("reading the prompt from standard input")?;
    Ok(text)
}

fn load(options: &RunModel, name: ModelName) -> Result<headland_batcher::Model> {
    let loading = || options.model.display().to_string();
    let plan = Plan::of(folder::open_model(&options.model)?, &ServeOptions::default()).with_context(loading)?;
    let budget = Budget::new([]);
    let reservation = Arc::new(budget.reserve(plan.device, plan.memory_bytes())?);
    let backends = BuiltIn::new(&std::env::temp_dir());
    let (version, digest) = (ModelVersion::default(), Sha256Digest::of(b""));
    plan.build(name, version, digest, &backends, reservation).with_context(loading)
}

/// Parameters in OpenAI's words, as any client would send them.
fn body(options: &RunModel, generator: &Generator, prompt: &str) -> (Kind, serde_json::Value) {
    let mut body = json!({"model": "", "temperature": options.temperature});
    let chat = !options.raw && generator.tokens().template().is_ok();
    if chat {
        let system = options.system.iter().map(|text| json!({"role": "system", "content": text}));
        let user = json!({"role": "user", "content": prompt});
        body["messages"] = system.chain([user]).collect();
    } else {
        body["prompt"] = prompt.into();
    }
    // A text has as many tokens as OpenAI gives it where nothing is said; here it may go on.
    let room = generator.engine().context_max() / 2;
    if let Some(tokens_max) = options.max_tokens.map(u64::from).or((!chat).then_some(room as u64)) {
        body["max_tokens"] = tokens_max.into();
    }
    if let Some(seed) = options.seed {
        body["seed"] = seed.into();
    }
    (if chat { Kind::Chat } else { Kind::Text }, body)
}

async fn answer(options: &RunModel, generator: &Arc<Generator>, prompt: &str, loading: Duration) -> Result<()> {
    let (kind, body) = body(options, generator, prompt);
    let body = body.to_string();
    let completion = Arc::new(Completion::parse(kind, body.as_bytes())?);
    let asked = generator.ask(completion, body.len(), &Caller::native(), None).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let model = options.model.display().to_string();
    let mut whole: Whole = asked.whole(kind, format!("run-{:x}", now.as_nanos()), now.as_secs(), model);
    let mut generation = generator.begin(asked.requests, &Caller::native(), None)?;
    let (mut ended, mut out) = (None, stdout());
    while let Some((index, delta)) = generation.next().await {
        match &delta.end {
            Some(Err(error)) => bail!("the answer ended before its time: {error}"),
            Some(Ok(end)) => ended = Some(*end),
            None => {}
        }
        if !options.json {
            match out.write_all(delta.text.as_bytes()).and_then(|()| out.flush()) {
                // Whoever reads has read enough.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                written => written.context("writing the answer")?,
            }
        }
        whole.add(index, delta);
    }
    if options.json {
        let object = whole.finish(&|id| generator.tokens().token(id));
        return print(true, &object, |_| String::new());
    }
    let Some(End { usage, timing, .. }) = ended else { bail!("the answer ended without saying so") };
    let rate = usage.answer_tokens.saturating_sub(1) as f64 / timing.rest.as_secs_f64().max(f64::MIN_POSITIVE);
    println!();
    eprintln!(
        "\n{} tokens of prompt in {:.2?}; {} tokens of answer{} (loaded in {loading:.2?})",
        usage.prompt_tokens,
        timing.first,
        usage.answer_tokens,
        // One token comes with the prompt, and has no rate.
        if usage.answer_tokens > 1 { format!(", {rate:.1} a second") } else { String::new() },
    );
    Ok(())
}
