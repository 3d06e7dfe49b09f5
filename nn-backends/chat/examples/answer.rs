//! A quick try of a language model: `answer DIR "prompt"` streams an answer, and says how fast it came.
//!
//! A model with a chat template is spoken to; another goes on with the text.

use std::io::Write as _;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Instant;

use headland_chat::{Conversation, Tokens};
use headland_decoder::{DecoderOptions, load};
use headland_generation::{Engine, EngineOptions, Request};
use headland_kernels::CacheStorage;
use headland_package::folder;
use minijinja::context;

const CACHE_BYTES: u64 = 1 << 30;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, prompt] = &arguments[..] else { anyhow::bail!("usage: answer DIR \"prompt\"") };
    let files = folder::open(folder.as_ref())?;
    let tokens = Arc::new(Tokens::open(&files)?);
    let threads = available_parallelism()?.get();
    let options = DecoderOptions {
        threads,
        cache_bytes: CACHE_BYTES,
        sequences_max: 32,
        context_max: None,
        cache: CacheStorage::F16,
    };
    let model = load(&files, &options)?;
    let prompt = match tokens.template() {
        Ok(template) => {
            let messages = vec![context! { role => "user", content => prompt }].into();
            tokens
                .encode(&template.render(&Conversation { messages, answer: true, ..Conversation::default() })?, false)?
        }
        Err(_) => tokens.encode(prompt, true)?,
    };
    let options = EngineOptions { end_tokens: tokens.end_tokens().to_vec(), ..EngineOptions::default() };
    let engine = Engine::start("answer", Box::new(model), tokens, options)?;
    let begin = Instant::now();
    let mut answer = engine.submit(Request::greedy(prompt))?;
    let (mut out, mut first) = (std::io::stdout(), None);
    while let Some(delta) = answer.blocking_next() {
        first.get_or_insert_with(|| begin.elapsed());
        write!(out, "{}", delta.text)?;
        out.flush()?;
        if let Some(end) = delta.end {
            let usage = end?.usage;
            let (first, all) = (first.unwrap_or_default(), begin.elapsed());
            let rate =
                usage.answer_tokens.saturating_sub(1) as f64 / (all - first).as_secs_f64().max(f64::MIN_POSITIVE);
            writeln!(out, "\n\nfirst token after {first:.2?}, then {rate:.1} tokens/s ({usage:?})")?;
        }
    }
    Ok(())
}
