//! How long a request waits for its first token, at the engine.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use headland_generation::{Answer, Decode, Engine, EngineOptions, Request};
use headland_report::{Section, percentile};

use crate::ours::{Ours, tokens};
use crate::{STREAMS, Setup};

/// Every token is a letter: what text costs is not measured here.
struct Letters;

impl Decode for Letters {
    fn decode(&self, tokens: &[u32]) -> String {
        "a".repeat(tokens.len())
    }
}

/// A model that takes requests.
pub struct Latency {
    engine: Engine,
    /// Requests so far: each has a prompt of its own.
    asked: usize,
}

impl Latency {
    /// Starts an engine over `ours`.
    pub fn start(ours: Ours) -> Result<Self> {
        let engine = Engine::start("bench", Box::new(ours.model), Arc::new(Letters), EngineOptions::default())?;
        Ok(Latency { engine, asked: 0 })
    }

    /// Of requests that come when nothing else runs, and of those that come while others answer.
    pub fn first_tokens(&mut self, setup: &Setup) -> Result<Section> {
        let title = format!("Q4_K_M: to the first token, a prompt of {}", setup.probe_tokens);
        let mut section = Section::new(&title, "ms");
        let busy = format!("beside {STREAMS} that answer");
        let mut beside = Vec::new();
        for _ in 0..setup.rounds {
            for _ in 0..setup.probes {
                let prompt = self.prompt(setup.probe_tokens);
                section.add("alone", self.first_token_ms(prompt)?);
            }
            let answers = self.keep_busy(setup)?;
            for _ in 0..setup.probes {
                let prompt = self.prompt(setup.probe_tokens);
                let waited = self.first_token_ms(prompt)?;
                section.add(&busy, waited);
                beside.push(waited);
            }
            ensure!(self.engine.stats().running >= STREAMS, "the streams ended before all requests had come");
            self.end(answers)?;
        }
        section.add(&format!("{busy}, p99"), percentile(&beside, 0.99));
        Ok(section)
    }

    /// Of two requests with the same beginning, one after the other.
    pub fn shared_beginnings(&mut self, setup: &Setup) -> Result<Section> {
        let shared = setup.shared_tokens;
        let mut section =
            Section::new(&format!("Q4_K_M: to the first token, {shared} tokens of the prompt shared"), "ms");
        for _ in 0..setup.rounds {
            let beginning = self.prompt(shared);
            for name in ["the first request", "the second"] {
                let own = self.prompt(8);
                section.add(name, self.first_token_ms([&beginning[..], &own].concat())?);
            }
        }
        Ok(section)
    }

    fn prompt(&mut self, count: usize) -> Vec<u32> {
        self.asked += 1;
        tokens(count, self.asked, self.engine.shape().vocabulary)
    }

    fn first_token_ms(&self, prompt: Vec<u32>) -> Result<f64> {
        let begin = Instant::now();
        let mut answer = self.ask(prompt, 1)?;
        first(&mut answer)?;
        Ok(begin.elapsed().as_secs_f64() * 1e3)
    }

    fn ask(&self, prompt: Vec<u32>, answer_tokens: usize) -> Result<Answer> {
        let request = Request { tokens_max: Some(answer_tokens), ignores_end: true, ..Request::greedy(prompt) };
        Ok(self.engine.submit(request)?)
    }

    /// As many streams as can be, each at its answer, which is as long as the model's context allows.
    fn keep_busy(&mut self, setup: &Setup) -> Result<Vec<Answer>> {
        let answer_tokens = self.engine.context_max() - setup.probe_tokens;
        let mut answers = Vec::new();
        for _ in 0..STREAMS {
            let prompt = self.prompt(setup.probe_tokens);
            answers.push(self.ask(prompt, answer_tokens)?);
        }
        answers.iter_mut().try_for_each(first)?;
        Ok(answers)
    }

    /// Walks away from the answers, and waits until their memory is free.
    fn end(&self, answers: Vec<Answer>) -> Result<()> {
        drop(answers);
        // A step after which they are gone.
        first(&mut self.ask(vec![0], 1)?)
    }
}

/// Waits for the first token.
fn first(answer: &mut Answer) -> Result<()> {
    loop {
        let delta = answer.blocking_next().context("an answer without a token")?;
        if let Some(Err(error)) = delta.end {
            return Err(error.into());
        }
        if !delta.tokens.is_empty() {
            return Ok(());
        }
    }
}
