//! Single decisions.

use super::*;

const LIMITS: Limits =
    Limits { page_tokens: 4, step_tokens_max: 16, prompt_tokens_beside_answers_max: 8, running_max: 4 };
const FLOWS: [Flow; 2] = [Flow { served: 0.0, weight: 1.0 }, Flow { served: 100.0, weight: 1.0 }];

fn running(id: u64, tokens: usize, computed: usize) -> Running {
    let pages = tokens.div_ceil(4).max(computed.div_ceil(4));
    Running { id: SequenceId(id), flow: 0, tokens, computed, pages, pages_alone: pages, next_page: None }
}

fn waiting(id: u64, flow: usize, tokens: usize) -> Waiting {
    Waiting { id: SequenceId(id), flow, tokens, cached_pages: 0, cached_idle: 0, next_page: None, takes_next: false }
}

fn step(running: &[Running], waiting: &[Waiting], pages_available: usize) -> Step {
    decide(&View { running, waiting, flows: &FLOWS, pages_available }, &LIMITS)
}

fn part(id: u64, tokens: usize, new_pages: usize) -> Part {
    Part { id: SequenceId(id), tokens, new_pages }
}

#[test]
fn a_long_prompt_runs_in_pieces_beside_answers() {
    let alone = step(&[], &[waiting(1, 0, 40)], 100);
    assert_eq!((alone.admitted, alone.parts), (vec![SequenceId(1)], vec![part(1, 16, 10)]));
    let beside = step(&[running(0, 9, 8), running(1, 40, 16)], &[], 100);
    assert_eq!(beside.parts, [part(0, 1, 0), part(1, 8, 0)]);
}

#[test]
fn a_prompt_whose_last_token_is_left_is_an_answer_that_begins() {
    let step = step(&[running(0, 9, 8), running(1, 17, 16)], &[], 100);
    assert_eq!(step.parts, [part(0, 1, 0), part(1, 1, 0)]);
}

#[test]
fn what_has_been_computed_for_others_is_taken_over() {
    let cached = Waiting { cached_pages: 2, cached_idle: 1, ..waiting(1, 0, 10) };
    assert_eq!(step(&[], &[cached], 2).parts, [part(1, 2, 1)]);
    assert_eq!(step(&[], &[cached], 1), Step::default());
}

#[test]
fn who_was_served_less_comes_in_first_and_a_large_one_holds_up_those_behind() {
    let all = [waiting(1, 1, 3), waiting(2, 0, 30), waiting(3, 0, 3)];
    assert_eq!(step(&[], &all, 3), Step::default());
    assert_eq!(step(&[], &all, 100).admitted, [SequenceId(2)]);
    let small = [waiting(1, 1, 3), waiting(2, 0, 3), waiting(3, 0, 3)];
    assert_eq!(step(&[], &small, 100).admitted, [2, 3, 1].map(SequenceId));
}

#[test]
fn who_would_compute_what_another_computes_right_now_waits_for_it() {
    let root = PageHash::root("");
    let [page, other] = [[1, 2, 3, 4], [5, 6, 7, 8]].map(|tokens| Some(root.then(&tokens)));
    let comes = |id, next_page| Waiting { next_page, takes_next: true, ..waiting(id, 0, 6) };
    let all = [comes(1, page), comes(2, page), comes(3, other), Waiting { takes_next: false, ..comes(4, page) }];
    assert_eq!(step(&[], &all, 100).admitted, [1, 3, 4].map(SequenceId));
    let computes = Running { next_page: page, ..running(0, 40, 0) };
    let room = Limits { step_tokens_max: 100, ..LIMITS };
    let view = View { running: &[computes], waiting: &all, flows: &FLOWS, pages_available: 100 };
    assert_eq!(decide(&view, &room).admitted, [3, 4].map(SequenceId));
    let computed = Running { next_page: None, ..computes };
    assert_eq!(decide(&View { running: &[computed], ..view }, &room).admitted, [1, 3, 4].map(SequenceId));
}

#[test]
fn memory_that_is_short_is_the_youngests_loss() {
    // Both need a page, and there is none.
    let both = [running(1, 9, 8), running(2, 13, 12)].map(|sequence| Running { pages: sequence.pages - 1, ..sequence });
    let both = both.map(|sequence| Running { pages_alone: sequence.pages, ..sequence });
    let step = step(&both, &[waiting(3, 0, 1)], 0);
    assert_eq!((step.put_back, step.admitted), (vec![SequenceId(2)], vec![]));
    assert_eq!(step.parts, [part(1, 1, 1)]);
}

#[test]
fn no_more_run_than_may() {
    let all: Vec<Running> = (0..4).map(|id| running(id, 5, 4)).collect();
    assert_eq!(step(&all, &[waiting(9, 0, 1)], 100).admitted, []);
}
