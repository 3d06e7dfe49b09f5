//! One request while it waits and runs: its tokens, its memory, and the text that came of them.

use std::time::{Duration, Instant};

use headland_nn_core::NnError;

use super::outbox::Outbox;
use crate::constraint::Held;
use crate::detokenize::{Decode, Detokenizer};
use crate::pages::{PageHash, PageId, Pages};
use crate::request::{AnswerTiming, Delta, End, FinishReason, Token, Usage};
use crate::sampling::{Chosen, Sampler};
use crate::schedule::SequenceId;
use crate::stop::{StopWatch, Watched};

pub(super) struct Sequence {
    pub id: SequenceId,
    pub flow: usize,
    /// Of the prompt, then of the answer.
    pub tokens: Vec<u32>,
    pub prompt: usize,
    pub tokens_max: usize,
    /// How many have keys and values in the pages.
    pub computed: usize,
    pub pages: Vec<PageId>,
    /// The same, as the model takes them.
    pub page_numbers: Vec<u32>,
    /// Names of the pages that its tokens fill.
    pub chain: Vec<PageHash>,
    root: PageHash,
    /// Pages that have been named.
    pub named: usize,
    pub cached_tokens: usize,
    ignores_end: bool,
    sampler: Sampler,
    /// What the next token may be: after all of the answer, put back or not.
    constraint: Option<Held>,
    detokenizer: Detokenizer,
    /// Characters that came of the answer's tokens.
    chars: usize,
    stops: StopWatch,
    pub outbox: Outbox,
    /// When it first got memory.
    pub began: Option<Instant>,
    /// When its first token was chosen.
    first: Option<Instant>,
}

impl Sequence {
    #[allow(clippy::too_many_arguments, reason = "what a request brings, each once")]
    pub fn new(
        id: SequenceId,
        flow: usize,
        prompt: Vec<u32>,
        tokens_max: usize,
        root: PageHash,
        sampler: Sampler,
        constraint: Option<Held>,
        stops: StopWatch,
        ignores_end: bool,
        outbox: Outbox,
    ) -> Self {
        Sequence {
            id,
            flow,
            prompt: prompt.len(),
            tokens: prompt,
            tokens_max,
            computed: 0,
            pages: Vec::new(),
            page_numbers: Vec::new(),
            chain: Vec::new(),
            root,
            named: 0,
            cached_tokens: 0,
            ignores_end,
            sampler,
            constraint,
            detokenizer: Detokenizer::default(),
            chars: 0,
            stops,
            outbox,
            began: None,
            first: None,
        }
    }

    /// Names of the pages with its beginning that it could take over: all but the last token's.
    pub fn shareable(&mut self, page_tokens: usize) -> &[PageHash] {
        self.name_pages(page_tokens);
        let whole = self.tokens.len().saturating_sub(1) / page_tokens;
        &self.chain[..whole.min(self.chain.len())]
    }

    fn name_pages(&mut self, page_tokens: usize) {
        let rest = self.tokens.chunks_exact(page_tokens).skip(self.chain.len());
        for page in rest {
            let last = self.chain.last().unwrap_or(&self.root);
            self.chain.push(last.then(page));
        }
    }

    /// Takes over what is there of its beginning.
    pub fn admit(&mut self, pages: &mut Pages) {
        let chain = self.shareable(pages.page_tokens()).to_vec();
        let cached = pages.take_cached(&chain);
        self.computed = cached.len() * pages.page_tokens();
        self.named = cached.len();
        if self.began.is_none() {
            self.cached_tokens = self.computed;
            self.began = Some(Instant::now());
        }
        self.add_pages(cached);
    }

    pub fn add_pages(&mut self, pages: Vec<PageId>) {
        self.page_numbers.extend(pages.iter().map(|page| page.0));
        self.pages.extend(pages);
    }

    /// Gives its memory back.
    pub fn put_back(&mut self, pages: &mut Pages) {
        pages.give_back(&self.pages);
        self.pages.clear();
        self.page_numbers.clear();
        (self.computed, self.named) = (0, 0);
    }

    /// Counts tokens as computed, and names the pages that they fill.
    pub fn computed(&mut self, tokens: usize, pages: &mut Pages) {
        self.computed += tokens;
        let full = self.computed / pages.page_tokens();
        if full > self.named {
            self.name_pages(pages.page_tokens());
            for (page, hash) in self.pages.iter().zip(&self.chain).take(full).skip(self.named) {
                pages.name(*page, *hash);
            }
            self.named = full;
        }
    }

    /// Chooses the next token by `logits`, which are changed on the way.
    pub fn choose(&mut self, logits: &mut [f32], end_tokens: &[u32]) -> Result<Chosen, NnError> {
        let allowed = match &mut self.constraint {
            Some(constraint) => constraint.allowed(end_tokens, self.ignores_end)?,
            None => None,
        };
        self.sampler.choose(logits, allowed).map_err(NnError::runtime)
    }

    /// Adds a token to the answer, and tells what can be told: whether it was the last.
    pub fn push(&mut self, chosen: Chosen, end_tokens: &[u32], decode: &dyn Decode) -> Result<bool, NnError> {
        let Chosen { token, logprobs } = chosen;
        self.tokens.push(token);
        self.first.get_or_insert_with(Instant::now);
        let tokens = vec![Token { id: token, text_offset: self.chars, logprobs }];
        if !self.ignores_end && end_tokens.contains(&token) {
            let text = self.rest(decode);
            self.end(Delta { text, tokens, end: None }, FinishReason::Stop);
            return Ok(true);
        }
        let complete = match &mut self.constraint {
            Some(constraint) => constraint.take(token)?,
            None => false,
        };
        let piece = self.detokenizer.push(token, decode);
        self.chars += piece.chars().count();
        let Watched { mut text, stopped } = self.stops.push(&piece);
        let reason = match self.tokens.len() - self.prompt >= self.tokens_max {
            _ if stopped || complete => FinishReason::Stop,
            true => FinishReason::Length,
            false => {
                self.outbox.push(Delta { text, tokens, end: None });
                return Ok(false);
            }
        };
        if !stopped {
            text.push_str(&self.rest(decode));
        }
        self.end(Delta { text, tokens, end: None }, reason);
        Ok(true)
    }

    /// What was held back: unfinished characters, and beginnings of stop strings.
    fn rest(&mut self, decode: &dyn Decode) -> String {
        let rest = self.detokenizer.finish(decode);
        let Watched { mut text, stopped } = self.stops.push(&rest);
        if !stopped {
            text.push_str(&self.stops.finish());
        }
        text
    }

    fn end(&mut self, delta: Delta, reason: FinishReason) {
        let usage = Usage {
            prompt_tokens: self.prompt,
            cached_tokens: self.cached_tokens,
            answer_tokens: self.tokens.len() - self.prompt,
        };
        let between = |from: Option<Instant>, to| from.map_or(Duration::ZERO, |from| to - from);
        let now = Instant::now();
        let timing =
            AnswerTiming { first: between(self.began, self.first.unwrap_or(now)), rest: between(self.first, now) };
        self.outbox.push(Delta { end: Some(Ok(End { reason, usage, timing })), ..delta });
    }

    pub fn fail(&mut self, error: NnError) {
        self.outbox.push(Delta { end: Some(Err(error)), ..Delta::default() });
    }
}
