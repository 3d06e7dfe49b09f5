//! Many requests through the real decisions and the real pages, with a model that answers anything at once.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::flows::Flows;
use crate::pages::{PageHash, PageId, Pages};

const PAGE: usize = 4;

struct Sequence {
    flow: usize,
    tokens: Vec<u32>,
    ends_at: usize,
    computed: usize,
    pages: Vec<PageId>,
    named: usize,
    runs: bool,
    waited: usize,
}

struct Simulation {
    pages: Pages,
    flows: Flows,
    limits: Limits,
    sequences: BTreeMap<SequenceId, Sequence>,
    next: u64,
    ended: usize,
    put_back: usize,
    steps: usize,
    /// Tokens.
    computed: usize,
}

impl Simulation {
    fn new(pages: u32, limits: Limits) -> Self {
        let pages = Pages::new(pages, PAGE);
        let (flows, sequences) = (Flows::default(), BTreeMap::new());
        Simulation { pages, flows, limits, sequences, next: 0, ended: 0, put_back: 0, steps: 0, computed: 0 }
    }

    fn come(&mut self, app: &str, prompt: Vec<u32>, answer: usize) {
        let ends_at = (prompt.len() + answer).min(self.pages.count() * PAGE);
        let flow = self.flows.enter(&app.into(), 1);
        let sequence =
            Sequence { flow, tokens: prompt, ends_at, computed: 0, pages: vec![], named: 0, runs: false, waited: 0 };
        self.sequences.insert(SequenceId(self.next), sequence);
        self.next += 1;
    }

    fn leave(&mut self, id: SequenceId) {
        let Some(sequence) = self.sequences.remove(&id) else { return };
        self.pages.give_back(&sequence.pages);
        self.flows.leave(sequence.flow);
    }

    fn step(&mut self) -> Step {
        let root = PageHash::root("");
        let (mut running, mut waiting) = (Vec::new(), Vec::new());
        for (&id, sequence) in &self.sequences {
            let (flow, tokens) = (sequence.flow, sequence.tokens.len());
            if sequence.runs {
                let pages = sequence.pages.len();
                let pages_alone = self.pages.alone(&sequence.pages);
                let computed = sequence.computed;
                let next_page = full(root, &sequence.tokens).get(computed / PAGE).copied();
                running.push(Running { id, flow, tokens, computed, pages, pages_alone, next_page });
            } else {
                let shareable = self.pages.shareable(root, &sequence.tokens);
                let cached = self.pages.cached(&shareable);
                let next_page = full(root, &sequence.tokens).get(cached.pages).copied();
                let takes_next = cached.pages < shareable.len();
                let (cached_pages, cached_idle) = (cached.pages, cached.idle);
                waiting.push(Waiting { id, flow, tokens, cached_pages, cached_idle, next_page, takes_next });
            }
        }
        let view = View {
            running: &running,
            waiting: &waiting,
            flows: self.flows.states(),
            pages_available: self.pages.available(),
        };
        let step = decide(&view, &self.limits);
        self.check(&step, &running);
        for id in &step.put_back {
            let sequence = self.sequences.get_mut(id).unwrap();
            self.pages.give_back(&std::mem::take(&mut sequence.pages));
            (sequence.runs, sequence.computed, sequence.named) = (false, 0, 0);
            self.put_back += 1;
        }
        for id in &step.admitted {
            let sequence = self.sequences.get_mut(id).unwrap();
            sequence.pages = self.pages.take_cached(&self.pages.shareable(root, &sequence.tokens));
            (sequence.computed, sequence.named) = (sequence.pages.len() * PAGE, sequence.pages.len());
            sequence.runs = true;
        }
        for part in &step.parts {
            let sequence = self.sequences.get_mut(&part.id).unwrap();
            sequence.pages.extend(self.pages.allocate(part.new_pages).expect("what was decided is there"));
            sequence.computed += part.tokens;
            assert!(sequence.computed <= sequence.pages.len() * PAGE, "a token without memory");
            self.computed += part.tokens;
            let chain = full(root, &sequence.tokens);
            let full = sequence.computed / PAGE;
            for (page, hash) in sequence.pages.iter().zip(&chain).take(full).skip(sequence.named) {
                self.pages.name(*page, *hash);
            }
            self.flows.serve(sequence.flow, part.tokens);
            if sequence.computed == sequence.tokens.len() {
                sequence.tokens.push(self.steps as u32 % 3);
            }
        }
        let ended: Vec<SequenceId> =
            self.sequences.iter().filter(|(_, s)| s.tokens.len() >= s.ends_at).map(|(id, _)| *id).collect();
        self.ended += ended.len();
        ended.into_iter().for_each(|id| self.leave(id));
        self.steps += 1;
        step
    }

    fn check(&mut self, step: &Step, running: &[Running]) {
        let of = |id: SequenceId| step.parts.iter().find(|part| part.id == id);
        let tokens: usize = step.parts.iter().map(|part| part.tokens).sum();
        assert!(tokens <= self.limits.step_tokens_max.max(self.limits.running_max + 1), "{tokens} tokens");
        let oldest = running.iter().map(|sequence| sequence.id).min();
        for sequence in running {
            let answers = sequence.tokens - sequence.computed == 1;
            assert!(!answers || of(sequence.id).is_some() || step.put_back.contains(&sequence.id), "an answer waits");
        }
        if let Some(oldest) = oldest {
            assert!(!step.put_back.contains(&oldest), "the oldest was put back");
        }
        assert!(!step.parts.is_empty() || self.sequences.is_empty(), "nothing happens, and somebody waits");
        for (id, sequence) in &mut self.sequences {
            sequence.waited += usize::from(of(*id).is_none());
        }
    }

    fn run_out(&mut self) {
        for _ in 0..100_000 {
            if self.sequences.is_empty() {
                assert_eq!(self.pages.available(), self.pages.count(), "memory is back");
                return;
            }
            self.step();
        }
        panic!("{} sequences never end", self.sequences.len());
    }
}

/// Names of the pages that tokens fill.
fn full(root: PageHash, tokens: &[u32]) -> Vec<PageHash> {
    let mut last = root;
    let next = |page: &[u32]| {
        last = last.then(page);
        last
    };
    tokens.chunks_exact(PAGE).map(next).collect()
}

fn limits() -> Limits {
    Limits { page_tokens: PAGE, step_tokens_max: 32, prompt_tokens_beside_answers_max: 8, running_max: 8 }
}

proptest! {
    #[test]
    fn everybody_ends_and_memory_comes_back(
        pages in 8u32..40,
        come in prop::collection::vec((0usize..3, 1usize..30, 1usize..40, 0usize..4, any::<bool>()), 1..60)
    ) {
        let mut simulation = Simulation::new(pages, limits());
        for (app, prompt, answer, steps, one_leaves) in come {
            let prompt = (0..prompt as u32).map(|token| if token < 9 { 7 } else { token % 5 }).collect::<Vec<_>>();
            let prompt = prompt[..prompt.len().min(pages as usize * PAGE - 1)].to_vec();
            simulation.come(["a", "b", "c"][app], prompt, answer);
            for _ in 0..steps {
                simulation.step();
            }
            if one_leaves && let Some((&id, _)) = simulation.sequences.iter().next() {
                simulation.leave(id);
            }
        }
        simulation.run_out();
    }
}

#[test]
fn memory_for_one_serves_many_in_turn() {
    let mut simulation = Simulation::new(10, limits());
    for index in 0..20 {
        simulation.come("a", vec![index; 12], 28);
    }
    simulation.run_out();
    assert_eq!(simulation.ended, 20);
    assert!(simulation.put_back > 0);
}

#[test]
fn an_app_that_floods_does_not_keep_the_other_out() {
    let mut simulation = Simulation::new(200, limits());
    for index in 0..100 {
        simulation.come("flood", vec![index; 16], 16);
    }
    for _ in 0..3 {
        simulation.step();
    }
    simulation.come("quiet", vec![1_000; 16], 16);
    let quiet = SequenceId(100);
    let mut steps = 0;
    while simulation.sequences.contains_key(&quiet) {
        simulation.step();
        steps += 1;
    }
    assert!(steps < 60, "{steps} steps");
    assert!(simulation.ended < 25, "{} of the flood ended before", simulation.ended);
}

proptest! {
    #[test]
    fn what_several_begin_with_is_computed_once(
        shared in 0usize..120, ends in prop::collection::vec((1usize..20, 1usize..12, 0usize..3), 1..12)
    ) {
        // Memory for all: nobody is put back, nothing is forgotten.
        let mut simulation = Simulation::new(1_000, limits());
        let (mut alone, mut answers) = (0, 0);
        for (index, (own, answer, steps)) in ends.iter().enumerate() {
            let first = [1_000 + index as u32 % 4];
            let own = (0..*own as u32).map(|at| first[0] * 100 + at);
            simulation.come("a", (0..shared as u32).chain(own.clone()).collect(), *answer);
            alone += own.len();
            answers += answer - 1;
            for _ in 0..*steps {
                simulation.step();
            }
        }
        simulation.run_out();
        // Of what is shared, each computes what does not fill a page.
        let most = shared + ends.len() * PAGE + alone + answers;
        prop_assert!(simulation.computed <= most, "{} tokens computed, {} at most", simulation.computed, most);
    }
}

#[test]
fn equal_prompts_that_come_together_are_computed_once() {
    let mut simulation = Simulation::new(1_000, limits());
    for _ in 0..8 {
        simulation.come("a", (0..101).collect(), 6);
    }
    simulation.run_out();
    // Each but the first computes the last token, which fills no page.
    assert_eq!(simulation.computed, 101 + 7 + 8 * 5);
}
