//! What one step computes: a pure function of who runs, who waits, and what memory is left.
//!
//! A step is one pass through the model with tokens of many sequences (Yu et al., "Orca", OSDI 2022): one token for each
//! that is answering, and pieces of prompts up to a budget (Agrawal et al., "Sarathi-Serve", OSDI 2024), so that a long
//! prompt does not hold up the others. Nothing is decided for longer than a step: who needs more memory takes it from the
//! youngest, whose tokens are computed again later.
//!
//! Wanted properties, which the tests hold it to: sequences that answer get their token in every step; the oldest one is
//! never put back, so that somebody always ends; pages that are handed out are there; apps that wait get in by what they
//! have been served for their weight; a sequence too large for what is free holds up those behind it, not those before;
//! what several begin with is computed once, also where they come together: who would compute the page that another one
//! computes right now waits for it, and takes it over.

use crate::flows::Flow;
use crate::pages::PageHash;

/// A sequence's number: the smaller, the earlier it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(pub u64);

/// A sequence that has memory.
#[derive(Clone, Copy, Debug)]
pub struct Running {
    /// Who it is.
    pub id: SequenceId,
    /// Position of its app among the flows.
    pub flow: usize,
    /// Tokens it has, of prompt and answer.
    pub tokens: usize,
    /// How many of these have their keys and values; fewer than all of them.
    pub computed: usize,
    /// Pages it holds.
    pub pages: usize,
    /// How many of these nobody else uses: what putting it back sets free.
    pub pages_alone: usize,
    /// The page it fills next, if its tokens do.
    pub next_page: Option<PageHash>,
}

/// A sequence that waits for memory.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// Who it is.
    pub id: SequenceId,
    /// Position of its app among the flows.
    pub flow: usize,
    /// Tokens it has, of prompt and of answer if it was put back.
    pub tokens: usize,
    /// Pages with its beginning that are there, all full.
    pub cached_pages: usize,
    /// How many of these nobody uses: they count as available until it takes them.
    pub cached_idle: usize,
    /// The page after these, if its tokens fill it.
    pub next_page: Option<PageHash>,
    /// Whether it would take that page over if it were there; not the one with its last token.
    pub takes_next: bool,
}

/// Bounds of a step.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Tokens of a page.
    pub page_tokens: usize,
    /// Tokens of a step.
    pub step_tokens_max: usize,
    /// Tokens of prompts in a step in which others answer: what these wait for at most.
    pub prompt_tokens_beside_answers_max: usize,
    /// Sequences that have memory at a time.
    pub running_max: usize,
}

/// What a step is decided by.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// In any order.
    pub running: &'a [Running],
    /// In any order.
    pub waiting: &'a [Waiting],
    /// What the apps have been served.
    pub flows: &'a [Flow],
    /// Pages that can be had.
    pub pages_available: usize,
}

/// What a step computes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Those that give their memory back and wait again, before anything else.
    pub put_back: Vec<SequenceId>,
    /// Those that come in, in this order: they take the pages with their beginning.
    pub admitted: Vec<SequenceId>,
    /// Who computes how much.
    pub parts: Vec<Part>,
}

/// A sequence's part in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Whose.
    pub id: SequenceId,
    /// Tokens, after those that are computed.
    pub tokens: usize,
    /// Pages it needs for them, beyond those it has.
    pub new_pages: usize,
}

/// Decides the next step. It is empty only when nothing runs and nothing that waits fits into what is free.
pub fn decide(view: &View, limits: &Limits) -> Step {
    let mut planner = Planner::new(view, limits);
    planner.continue_answers();
    planner.continue_prompts();
    planner.admit();
    planner.step
}

struct Planner<'a> {
    view: &'a View<'a>,
    limits: &'a Limits,
    /// The oldest first.
    running: Vec<Running>,
    available: usize,
    /// Tokens that prompts may still take.
    budget: usize,
    /// What each flow was served, with this step's share.
    served: Vec<f64>,
    step: Step,
}

impl<'a> Planner<'a> {
    fn new(view: &'a View<'a>, limits: &'a Limits) -> Self {
        let mut running = view.running.to_vec();
        running.sort_unstable_by_key(|sequence| sequence.id);
        let answering = running.iter().filter(|sequence| sequence.answers()).count();
        let beside = match answering {
            0 => limits.step_tokens_max,
            _ => limits.prompt_tokens_beside_answers_max.min(limits.step_tokens_max.saturating_sub(answering)),
        };
        let served = view.flows.iter().map(|flow| flow.served).collect();
        let available = view.pages_available;
        // Somebody's prompt goes on in every step, however many answer.
        Planner { view, limits, running, available, budget: beside.max(1), served, step: Step::default() }
    }

    /// A token for each that answers, the oldest first.
    fn continue_answers(&mut self) {
        let answering: Vec<SequenceId> =
            self.running.iter().filter(|sequence| sequence.answers()).map(|sequence| sequence.id).collect();
        for id in answering {
            self.compute(id, 1);
        }
    }

    /// Pieces of prompts, for the apps in the order of what they have been served.
    fn continue_prompts(&mut self) {
        let mut unfinished: Vec<Running> =
            self.running.iter().filter(|sequence| !sequence.answers()).copied().collect();
        unfinished.sort_by(|a, b| self.turn(a.flow, a.id, b.flow, b.id));
        for sequence in unfinished {
            let tokens = (sequence.tokens - sequence.computed).min(self.budget);
            if tokens > 0 && self.compute(sequence.id, tokens) {
                self.budget -= tokens;
                self.serve(sequence.flow, tokens);
            }
        }
    }

    /// Lets sequences in while there is memory for all their tokens, which they take at once, and one page more for each that
    /// runs.
    fn admit(&mut self) {
        // Memory was too short for those who are in: nobody else comes.
        if !self.step.put_back.is_empty() {
            return;
        }
        let mut waiting: Vec<&Waiting> = self.view.waiting.iter().collect();
        while self.budget > 0 && self.running.len() < self.limits.running_max {
            let next = waiting.iter().enumerate().min_by(|(_, a), (_, b)| self.turn(a.flow, a.id, b.flow, b.id));
            let Some((place, &&sequence)) = next else { return };
            waiting.swap_remove(place);
            if sequence.takes_next && self.is_coming(sequence.next_page) {
                continue;
            }
            let cached_tokens = sequence.cached_pages * self.limits.page_tokens;
            let whole = self.pages_for(sequence.tokens) - sequence.cached_pages;
            // Who runs alone may fill the memory to the last page.
            let reserved = self.running.len();
            if self.available < sequence.cached_idle + whole + reserved {
                return;
            }
            self.available -= sequence.cached_idle + whole;
            let tokens = (sequence.tokens - cached_tokens).min(self.budget);
            self.budget -= tokens;
            self.serve(sequence.flow, tokens);
            let Waiting { id, flow, next_page, .. } = sequence;
            let (computed, pages) = (cached_tokens, sequence.cached_pages + whole);
            self.running.push(Running {
                id,
                flow,
                tokens: sequence.tokens,
                computed,
                pages,
                pages_alone: whole,
                next_page,
            });
            self.step.admitted.push(id);
            self.step.parts.push(Part { id, tokens, new_pages: whole });
        }
    }

    /// Whether somebody who runs fills this page next.
    fn is_coming(&self, page: Option<PageHash>) -> bool {
        page.is_some() && self.running.iter().any(|sequence| sequence.next_page == page)
    }

    /// Gives a sequence that runs its part, if there is memory for it or somebody younger can be put back.
    fn compute(&mut self, id: SequenceId, tokens: usize) -> bool {
        let Some(sequence) = self.running.iter().find(|sequence| sequence.id == id).copied() else { return false };
        let new_pages = self.pages_for(sequence.computed + tokens).saturating_sub(sequence.pages);
        while self.available < new_pages {
            let Some(youngest) = self.running.pop() else { return false };
            self.put_back(&youngest);
            if youngest.id == id {
                return false;
            }
        }
        self.available -= new_pages;
        self.step.parts.push(Part { id, tokens, new_pages });
        true
    }

    fn put_back(&mut self, sequence: &Running) {
        let part = self.step.parts.iter().position(|part| part.id == sequence.id);
        let taken = part.map_or(0, |at| self.step.parts.remove(at).new_pages);
        self.available += sequence.pages_alone + taken;
        self.step.put_back.push(sequence.id);
    }

    fn serve(&mut self, flow: usize, tokens: usize) {
        self.served[flow] += tokens as f64 / self.view.flows[flow].weight;
    }

    fn turn(&self, flow_a: usize, a: SequenceId, flow_b: usize, b: SequenceId) -> std::cmp::Ordering {
        self.served[flow_a].total_cmp(&self.served[flow_b]).then(a.cmp(&b))
    }

    fn pages_for(&self, tokens: usize) -> usize {
        tokens.div_ceil(self.limits.page_tokens)
    }
}

impl Running {
    /// Whether all but its last token is computed.
    fn answers(&self) -> bool {
        self.tokens - self.computed == 1
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
