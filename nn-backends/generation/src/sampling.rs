//! From logits to a token: [`Sampler`].
//!
//! In this order: bias and penalties change the logits, what a constraint does not allow goes, the temperature divides them, then the least likely tokens are cut
//! off by `top_k`, `min_p` and `top_p`, and one of the rest is drawn. Without temperature the likeliest is taken, and of
//! equally likely ones the first.

mod parameters;
mod random;

pub use parameters::{
    BIAS_MAX, BIASES_MAX, BadParameter, LOGPROBS_MAX, PENALTY_MAX, SamplingParameters, TEMPERATURE_MAX,
};

use std::collections::HashMap;

use crate::constraint::TokenSet;
use random::Random;

/// Candidates that are sorted first: few distributions have their first 99 % in more.
const SORTED_FIRST: usize = 256;

/// Chooses the tokens of one sequence. What it chooses depends on its parameters, the logits, the sequence's tokens and how
/// many it has chosen, and on nothing else.
#[derive(Clone, Debug)]
pub struct Sampler {
    parameters: SamplingParameters,
    random: Random,
    /// Tokens of prompt and answer, with how often each stands in the answer.
    seen: HashMap<u32, u32>,
    candidates: Vec<Candidate>,
}

/// A chosen token.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// It.
    pub token: u32,
    /// How likely it and the likeliest others were before anything was changed, where that was asked for.
    pub logprobs: Option<Logprobs>,
}

/// Natural logarithms of likelihoods.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprobs {
    /// The chosen token's.
    pub chosen: f32,
    /// The likeliest tokens' with theirs, as many as were asked for.
    pub top: Vec<(u32, f32)>,
}

/// The model gave no number that a token could be chosen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model's outputs are no numbers where the next token could be")]
pub struct NoNumbers;

#[derive(Clone, Copy, Debug)]
struct Candidate {
    token: u32,
    logit: f32,
}

impl Candidate {
    /// The likelier first, the smaller token first among equals.
    fn order(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
        b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
    }
}

impl Sampler {
    /// For a sequence that begins with `prompt`. `entropy` seeds it where its parameters do not.
    pub fn new(parameters: SamplingParameters, prompt: &[u32], entropy: u64) -> Self {
        let random = Random::new(parameters.seed.unwrap_or(entropy));
        let seen =
            if parameters.penalises() { prompt.iter().map(|&token| (token, 0)).collect() } else { HashMap::new() };
        Sampler { parameters, random, seen, candidates: Vec::new() }
    }

    /// Chooses one by `logits`, which are changed on the way, of those `allowed` where not all are. What is no number is as
    /// unlikely as can be.
    ///
    /// # Errors
    /// When that leaves none.
    pub fn choose(&mut self, logits: &mut [f32], allowed: Option<&TokenSet>) -> Result<Chosen, NoNumbers> {
        logits.iter_mut().filter(|logit| logit.is_nan()).for_each(|logit| *logit = f32::NEG_INFINITY);
        let before = self.parameters.logprobs.map(|top| Before::of(logits, top));
        self.adjust(logits);
        if let Some(allowed) = allowed {
            allowed.mask(logits);
        }
        let token = match self.parameters.temperature {
            temperature if temperature > 0.0 => self.draw(logits, temperature)?,
            _ => likeliest(logits).ok_or(NoNumbers)?,
        };
        if self.parameters.penalises() {
            *self.seen.entry(token).or_default() += 1;
        }
        Ok(Chosen { token, logprobs: before.map(|before| before.logprobs(token)) })
    }

    fn adjust(&self, logits: &mut [f32]) {
        let SamplingParameters { repetition_penalty, presence_penalty, frequency_penalty, .. } = self.parameters;
        for (&token, &bias) in &self.parameters.logit_bias {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit += bias;
            }
        }
        for (&token, &count) in &self.seen {
            let Some(logit) = logits.get_mut(token as usize) else { continue };
            *logit = if *logit > 0.0 { *logit / repetition_penalty } else { *logit * repetition_penalty };
            if count > 0 {
                *logit -= presence_penalty + frequency_penalty * count as f32;
            }
        }
    }

    fn draw(&mut self, logits: &[f32], temperature: f32) -> Result<u32, NoNumbers> {
        let SamplingParameters { top_k, top_p, min_p, .. } = self.parameters;
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if most == f32::NEG_INFINITY {
            return Err(NoNumbers);
        }
        // What is left of e^x below this cannot be drawn, nor change a sum: most of a large vocabulary goes here.
        let least = if min_p > 0.0 { min_p.ln() } else { f32::NEG_INFINITY }.max(-32.0);
        // An infinite temperature is as good as none of the others' differences; an infinite logit beats all.
        let scaled = |logit: f32| if logit == most { 0.0 } else { (logit - most) / temperature };
        self.candidates.clear();
        let all = (0..).zip(logits).map(|(token, &logit)| Candidate { token, logit: scaled(logit) });
        self.candidates.extend(all.filter(|candidate| candidate.logit >= least));
        let candidates = &mut self.candidates;
        if top_k > 0 && (top_k as usize) < candidates.len() {
            candidates.select_nth_unstable_by(top_k as usize, Candidate::order);
            candidates.truncate(top_k as usize);
        }
        let weight = |candidate: &Candidate| f64::from(candidate.logit).exp();
        // The order is part of what a seed means: sorted as far as matters, by token where all count.
        let (kept, sum) = if top_p < 1.0 {
            let all: f64 = candidates.iter().map(weight).sum();
            nucleus(candidates, f64::from(top_p) * all)
        } else {
            candidates.sort_unstable_by_key(|candidate| candidate.token);
            (candidates.len(), candidates.iter().map(weight).sum())
        };
        let mut left = self.random.unit() * sum;
        let drawn = candidates[..kept].iter().find(|candidate| {
            left -= weight(candidate);
            left < 0.0
        });
        drawn.or(candidates[..kept].last()).map(|candidate| candidate.token).ok_or(NoNumbers)
    }
}

/// Sorts as many candidates as have `enough` weight together: how many these are, and what they have.
fn nucleus(candidates: &mut [Candidate], enough: f64) -> (usize, f64) {
    let (mut sorted, mut kept, mut sum) = (0, 0, 0.0);
    while kept < candidates.len() {
        if kept == sorted {
            let more = sorted.max(SORTED_FIRST).min(candidates.len() - sorted);
            let rest = &mut candidates[sorted..];
            if more < rest.len() {
                rest.select_nth_unstable_by(more, Candidate::order);
            }
            rest[..more].sort_unstable_by(Candidate::order);
            sorted += more;
        }
        sum += f64::from(candidates[kept].logit).exp();
        kept += 1;
        if sum >= enough {
            break;
        }
    }
    (kept, sum)
}

/// The first of the largest.
fn likeliest(logits: &[f32]) -> Option<u32> {
    let mut best = None::<(u32, f32)>;
    for (token, &logit) in (0..).zip(logits) {
        if logit > best.map_or(f32::NEG_INFINITY, |(_, best)| best) {
            best = Some((token, logit));
        }
    }
    best.map(|(token, _)| token)
}

/// The logits as the model gave them, as far as they are asked for.
struct Before {
    logits: Vec<f32>,
    normaliser: f32,
    top: Vec<(u32, f32)>,
}

impl Before {
    fn of(logits: &[f32], top: u32) -> Self {
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|&logit| f64::from(logit - most).exp()).sum();
        let normaliser = (f64::from(most) + sum.ln()) as f32;
        let mut order: Vec<Candidate> = (0..).zip(logits).map(|(token, &logit)| Candidate { token, logit }).collect();
        let count = (top as usize).min(order.len());
        if count > 0 && count < order.len() {
            order.select_nth_unstable_by(count, Candidate::order);
        }
        order.truncate(count);
        order.sort_unstable_by(Candidate::order);
        let top = order.into_iter().map(|Candidate { token, logit }| (token, logit - normaliser)).collect();
        Before { logits: logits.to_vec(), normaliser, top }
    }

    fn logprobs(self, token: u32) -> Logprobs {
        let logit = self.logits.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
        Logprobs { chosen: logit - self.normaliser, top: self.top }
    }
}

#[cfg(test)]
mod tests;
