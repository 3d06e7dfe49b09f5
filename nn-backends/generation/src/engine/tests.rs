//! The engine over a model whose answers follow from what its pages hold: what is misplaced, shared wrongly or computed too
//! early changes them.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::*;
use crate::constraint::Grammar;
use crate::constraint::tests::SumsTo;
use crate::model::Piece;
use crate::request::{End, FinishReason};
use crate::sampling::SamplingParameters;

const PAGE: usize = 4;
const VOCABULARY: usize = 64;
/// The token that ends answers.
const END: u32 = 63;

/// Keeps the tokens themselves in its pages. The likeliest next token follows from all before it.
struct Fake {
    shape: ModelShape,
    pages: Vec<[u32; PAGE]>,
    /// While it is set, steps wait.
    held: Arc<AtomicBool>,
    fails_at: Option<u32>,
}

fn next(tokens: &[u32]) -> u32 {
    let mut state = 17u32;
    tokens.iter().for_each(|token| state = state.wrapping_mul(31).wrapping_add(*token + 1));
    (state >> 3) % 60
}

/// What the model answers with so many tokens.
fn expected(prompt: &[u32], count: usize) -> Vec<u32> {
    let mut tokens = prompt.to_vec();
    while tokens.len() < prompt.len() + count {
        tokens.push(next(&tokens));
    }
    tokens.split_off(prompt.len())
}

impl LanguageModel for Fake {
    fn shape(&self) -> &ModelShape {
        &self.shape
    }

    fn step(&mut self, pieces: &[Piece<'_>], logits: &mut Vec<f32>) -> Result<(), NnError> {
        while self.held.load(Relaxed) {
            thread::park_timeout(Duration::from_micros(100));
        }
        logits.clear();
        assert!(!pieces.is_empty());
        for piece in pieces {
            if self.fails_at.is_some_and(|token| piece.tokens.contains(&token)) {
                return Err(NnError::runtime("it fails at this token"));
            }
            let positions = piece.first_position..piece.first_position + piece.tokens.len();
            for (position, token) in positions.clone().zip(piece.tokens) {
                self.pages[piece.pages[position / PAGE] as usize][position % PAGE] = *token;
            }
            if piece.logits {
                let all: Vec<u32> =
                    (0..positions.end).map(|at| self.pages[piece.pages[at / PAGE] as usize][at % PAGE]).collect();
                let mut row = vec![0.0; VOCABULARY];
                row[next(&all) as usize] = 1.0;
                logits.extend(row);
            }
        }
        Ok(())
    }
}

/// A letter for each token.
struct Letters;

impl Decode for Letters {
    fn decode(&self, tokens: &[u32]) -> String {
        tokens.iter().filter(|token| **token != END).map(|token| char::from(b'0' + *token as u8)).collect()
    }
}

struct Fixture {
    engine: Engine,
    held: Arc<AtomicBool>,
}

fn fixture(pages: u32, options: EngineOptions) -> Fixture {
    fixture_failing(pages, options, None)
}

fn fixture_failing(pages: u32, options: EngineOptions, fails_at: Option<u32>) -> Fixture {
    let shape = ModelShape {
        vocabulary: VOCABULARY,
        context_max: 200,
        page_tokens: PAGE,
        pages,
        page_bytes: 16,
        weights_bytes: 0,
    };
    let held = Arc::new(AtomicBool::new(false));
    let fake = Fake { shape, pages: vec![[0; PAGE]; pages as usize], held: held.clone(), fails_at };
    let engine = Engine::start("fake", Box::new(fake), Arc::new(Letters), options).unwrap();
    Fixture { engine, held }
}

fn small() -> EngineOptions {
    EngineOptions {
        running_max: 8,
        queue_max: 64,
        step_tokens_max: 24,
        prompt_tokens_beside_answers_max: 6,
        ..EngineOptions::default()
    }
}

fn request(prompt: &[u32], tokens_max: usize) -> Request {
    Request { tokens_max: Some(tokens_max), ..Request::greedy(prompt.to_vec()) }
}

fn read(mut answer: Answer) -> (Vec<u32>, String, Result<End, NnError>) {
    let (mut tokens, mut text) = (Vec::new(), String::new());
    while let Some(delta) = answer.blocking_next() {
        tokens.extend(delta.tokens.into_iter().map(|token| token.id));
        text += &delta.text;
        if let Some(end) = delta.end {
            assert!(answer.blocking_next().is_none(), "something follows the end");
            return (tokens, text, end);
        }
    }
    panic!("it never ended");
}

fn prompts(count: u32) -> Vec<Vec<u32>> {
    (0..count)
        .map(|index| (0..7 + index % 11).map(|at| if at < 6 { at } else { (at * 3 + index) % 50 }).collect())
        .collect()
}

/// Waits for what another thread is about to do.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::park_timeout(Duration::from_micros(100));
    }
}

#[test]
fn answers_are_the_models_whoever_runs_beside_them() {
    // Memory for all, and for two or three.
    for pages in [200, 24] {
        let Fixture { engine, .. } = fixture(pages, small());
        let answers: Vec<(Vec<u32>, Answer)> = prompts(40)
            .into_iter()
            .map(|prompt| (prompt.clone(), engine.submit(request(&prompt, 40)).unwrap()))
            .collect();
        for (prompt, answer) in answers {
            let (tokens, text, end) = read(answer);
            let end = end.unwrap();
            assert_eq!(tokens, expected(&prompt, 40));
            assert_eq!(text, Letters.decode(&tokens));
            assert_eq!(
                (end.reason, end.usage.prompt_tokens, end.usage.answer_tokens),
                (FinishReason::Length, prompt.len(), 40)
            );
        }
        // An answer's end is told before its memory is back.
        eventually("memory is back", || {
            let stats = engine.stats();
            (stats.running, stats.waiting, stats.pages_used) == (0, 0, 0)
        });
        let stats = engine.stats();
        assert_eq!(stats.answer_tokens, 40 * 40);
        assert_eq!(stats.put_back > 0, pages == 24, "{stats:?}");
    }
}

#[test]
fn a_beginning_that_was_computed_is_not_computed_again() {
    let Fixture { engine, .. } = fixture(200, small());
    let prompt: Vec<u32> = (0..50).collect();
    for (app, cached) in [("a", 0), ("a", 48), ("b", 0)] {
        let (tokens, _, end) = read(engine.submit(Request { app: app.into(), ..request(&prompt, 5) }).unwrap());
        assert_eq!((tokens, end.unwrap().usage.cached_tokens), (expected(&prompt, 5), cached), "{app}");
    }
    // An answer's tokens are a beginning as well.
    let longer = [&prompt[..], &expected(&prompt, 5)].concat();
    let (tokens, _, end) = read(engine.submit(Request { app: "a".into(), ..request(&longer, 3) }).unwrap());
    assert_eq!((tokens, end.unwrap().usage.cached_tokens), (expected(&longer, 3), 52));
}

#[test]
fn a_prompt_that_comes_several_times_at_once_is_computed_once() {
    let Fixture { engine, held } = fixture(400, small());
    held.store(true, Relaxed);
    let first = engine.submit(request(&[50], 3)).unwrap();
    let prompt: Vec<u32> = (0..101).map(|token| token % 50).collect();
    let answers: Vec<Answer> = (0..8).map(|_| engine.submit(request(&prompt, 5)).unwrap()).collect();
    held.store(false, Relaxed);
    read(first).2.unwrap();
    for answer in answers {
        assert_eq!(read(answer).0, expected(&prompt, 5));
    }
    assert_eq!(engine.stats().prompt_tokens, 1 + 101 + 7);
}

#[test]
fn a_reader_that_leaves_frees_its_memory_by_the_next_step() {
    let Fixture { engine, held } = fixture(100, small());
    let mut leaves = engine.submit(request(&[1, 2, 3], 190)).unwrap();
    let mut waits: Vec<Answer> = (0..20).map(|index| engine.submit(request(&[index], 190)).unwrap()).collect();
    leaves.blocking_next().unwrap();
    held.store(true, Relaxed);
    drop(leaves);
    waits.drain(2..);
    held.store(false, Relaxed);
    eventually("those who left are out", || engine.stats().waiting == 0 && engine.stats().running <= 2);
    for (index, answer) in waits.into_iter().enumerate() {
        assert_eq!(read(answer).0, expected(&[index as u32], 190));
    }
    eventually("memory is back", || engine.stats().pages_used == 0);
}

#[test]
fn a_reader_that_is_slow_holds_nobody_up_and_loses_nothing() {
    let Fixture { engine, .. } = fixture(100, small());
    let slow = engine.submit(request(&[1], 150)).unwrap();
    assert_eq!(read(engine.submit(request(&[2], 150)).unwrap()).0, expected(&[2], 150));
    eventually("the slow one is done, read or not", || engine.stats().running == 0);
    assert_eq!(read(slow).0, expected(&[1], 150));
}

#[test]
fn an_answer_ends_where_the_model_or_the_request_says() {
    let answer = expected(&[5, 6], 60);
    let end_token = answer[20];
    let first = answer.iter().position(|token| *token == end_token).unwrap();
    let Fixture { engine, .. } = fixture(100, EngineOptions { end_tokens: vec![end_token], ..small() });
    let (tokens, text, end) = read(engine.submit(request(&[5, 6], 60)).unwrap());
    assert_eq!((&tokens[..], end.unwrap().reason), (&answer[..=first], FinishReason::Stop));
    assert_eq!(text, Letters.decode(&answer[..first]));
    let (tokens, ..) = read(engine.submit(Request { ignores_end: true, ..request(&[5, 6], 60) }).unwrap());
    assert_eq!(tokens, answer);
    let stop = Letters.decode(&answer[10..13]);
    let stops = Request { stops: vec![stop.clone()], ignores_end: true, ..request(&[5, 6], 60) };
    let (_, text, end) = read(engine.submit(stops).unwrap());
    let whole = Letters.decode(&answer);
    assert_eq!((text.as_str(), end.unwrap().reason), (&whole[..whole.find(&stop).unwrap()], FinishReason::Stop));
    // Without a bound it goes on to the end of the context.
    let (tokens, _, end) = read(engine.submit(Request { ignores_end: true, ..Request::greedy(vec![5, 6]) }).unwrap());
    assert_eq!((tokens.len(), end.unwrap().reason), (198, FinishReason::Length));
}

#[test]
fn what_cannot_be_answered_is_refused_with_the_reason() {
    let Fixture { engine, held } = fixture(20, EngineOptions { queue_max: 3, ..small() });
    let refused = |request: Request| engine.submit(request).err().unwrap().to_string();
    // 20 pages are memory for 80 tokens.
    assert!(refused(request(&[1; 90], 1)).contains("takes 80 tokens at most, and the prompt has 90"));
    assert!(refused(request(&[1; 9], 1 << 31)).contains("prompt has 9, with 2147483648 asked for"));
    assert!(refused(Request::greedy(vec![1; 80])).contains("80"));
    assert!(refused(request(&[], 1)).contains("no tokens"));
    assert!(refused(request(&[1], 0)).contains("no tokens"));
    assert!(refused(request(&[64], 1)).contains("token 64"));
    let cold = SamplingParameters { temperature: -1.0, ..SamplingParameters::default() };
    assert!(refused(Request { sampling: cold, ..request(&[1], 1) }).contains("`temperature` is -1"));
    assert!(refused(Request { stops: vec!["x".into(); 10_000], ..request(&[1], 1) }).contains("10000 strings"));
    held.store(true, Relaxed);
    let _running = engine.submit(request(&[1], 5)).unwrap();
    eventually("it begins", || engine.stats().waiting == 0);
    let _waiting: Vec<Answer> = (0..3).map(|_| engine.submit(request(&[1], 5)).unwrap()).collect();
    let full = engine.submit(request(&[1], 5)).err().unwrap();
    assert!(matches!(full, Refused::QueueFull { queue_max: 3, retry_after } if retry_after >= Duration::from_secs(1)));
    held.store(false, Relaxed);
}

#[test]
fn a_step_that_fails_is_its_requests_loss_alone() {
    let Fixture { engine, .. } = fixture_failing(100, small(), Some(61));
    assert!(read(engine.submit(request(&[61], 5)).unwrap()).2.unwrap_err().to_string().contains("fails at this"));
    assert_eq!(read(engine.submit(request(&[6], 5)).unwrap()).0, expected(&[6], 5));
}

#[test]
fn the_end_waits_for_answers_but_not_for_ever() {
    let Fixture { engine, .. } = fixture(100, small());
    let answer = engine.submit(request(&[1], 50)).unwrap();
    let reader = thread::spawn(move || read(answer));
    assert!(engine.drain(Duration::from_secs(20)));
    assert_eq!(reader.join().unwrap().0, expected(&[1], 50));
    assert!(matches!(engine.submit(request(&[1], 5)), Err(Refused::ShuttingDown)));

    let Fixture { engine, held } = fixture(100, small());
    held.store(true, Relaxed);
    let answer = engine.submit(request(&[1], 50)).unwrap();
    let release = thread::spawn(move || {
        thread::park_timeout(Duration::from_millis(300));
        held.store(false, Relaxed);
    });
    assert!(!engine.drain(Duration::from_millis(50)));
    assert!(read(answer).2.is_err());
    release.join().unwrap();
}

/// What the model answers whose tokens sum up to `sum`: its own where it may, the smallest where it may not.
fn expected_sum(prompt: &[u32], sum: u32) -> Vec<u32> {
    let mut tokens = prompt.to_vec();
    let mut left = sum;
    while left > 0 {
        let token = next(&tokens);
        let token = if (1..=left).contains(&token) { token } else { 1 };
        left -= token;
        tokens.push(token);
    }
    tokens.split_off(prompt.len())
}

#[test]
fn an_answer_has_the_form_that_was_asked_for_whoever_takes_its_memory() {
    for pages in [200, 24] {
        let Fixture { engine, .. } = fixture(pages, EngineOptions { end_tokens: vec![END], ..small() });
        let answers: Vec<(Vec<u32>, u32, Answer)> = prompts(40)
            .into_iter()
            .map(|prompt| {
                let sum = 20 + prompt[6] * 20;
                let constraint: Option<Arc<dyn Grammar>> = Some(Arc::new(SumsTo::new(sum)));
                let answer = engine.submit(Request { constraint, ..request(&prompt, 60) }).unwrap();
                (prompt, sum, answer)
            })
            .collect();
        let mut complete = 0;
        for (prompt, sum, answer) in answers {
            let (tokens, text, end) = read(answer);
            let mut expected = expected_sum(&prompt, sum);
            let reason = if expected.len() <= 60 { FinishReason::Stop } else { FinishReason::Length };
            complete += usize::from(reason == FinishReason::Stop);
            expected.truncate(60);
            assert_eq!((&tokens, end.unwrap().reason), (&expected, reason));
            assert_eq!(text, Letters.decode(&tokens));
        }
        assert!(complete > 10, "{complete} of 40 are complete");
        assert_eq!(engine.stats().put_back > 0, pages == 24);
    }
}

#[test]
fn a_constraint_that_fails_is_its_requests_loss_alone() {
    let Fixture { engine, .. } = fixture(100, EngineOptions { end_tokens: vec![END], ..small() });
    let first = next(&[5, 6]);
    let failing = [
        (SumsTo { fails_at: Some(first), ..SumsTo::new(500) }, "cannot be held to the form"),
        (SumsTo { panics: true, ..SumsTo::new(500) }, "panicked"),
    ];
    let other = engine.submit(request(&[7, 8], 60)).unwrap();
    for (grammar, expected) in failing {
        let constraint: Option<Arc<dyn Grammar>> = Some(Arc::new(grammar));
        let (_, _, end) = read(engine.submit(Request { constraint, ..request(&[5, 6], 60) }).unwrap());
        assert!(end.unwrap_err().to_string().contains(expected));
    }
    assert_eq!(read(other).0, expected(&[7, 8], 60));
    eventually("memory is back", || engine.stats().pages_used == 0);
}

#[test]
fn an_answer_is_free_until_its_form_begins() {
    let Fixture { engine, .. } = fixture(100, EngineOptions { end_tokens: vec![END], ..small() });
    let free = expected(&[5, 6], 10);
    let begins = free[4];
    let at = free.iter().position(|token| *token == begins).unwrap();
    let constraint: Option<Arc<dyn Grammar>> = Some(Arc::new(SumsTo { after: Some(begins), ..SumsTo::new(30) }));
    let (tokens, _, end) = read(engine.submit(Request { constraint, ..request(&[5, 6], 60) }).unwrap());
    assert_eq!((&tokens[..=at], end.unwrap().reason), (&free[..=at], FinishReason::Stop));
    assert_eq!(tokens[at + 1..].iter().sum::<u32>(), 30);
}
