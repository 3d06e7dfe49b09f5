//! Language models as those see them who send tensors, over a model that counts upwards.

use std::sync::atomic::AtomicBool;

use headland_chat::Tokens;
use headland_completions::{Completion, Kind};
use headland_generation::{Engine, EngineOptions, LanguageModel, ModelShape, Piece};

use super::*;

const PAGE: usize = 16;
/// The tokenizer's first printable token; the model goes round in this many.
const FIRST: u32 = 5;
const ROUND: u32 = 200;

/// After each token comes the next one.
struct Counting {
    shape: ModelShape,
    /// While it is set, steps wait.
    held: Arc<AtomicBool>,
}

impl LanguageModel for Counting {
    fn shape(&self) -> &ModelShape {
        &self.shape
    }

    fn step(&mut self, pieces: &[Piece<'_>], logits: &mut Vec<f32>) -> Result<(), NnError> {
        while self.held.load(Relaxed) {
            std::thread::yield_now();
        }
        logits.clear();
        for piece in pieces.iter().filter(|piece| piece.logits) {
            let mut row = vec![0.0; self.shape.vocabulary];
            row[(FIRST + (piece.tokens.last().unwrap() + 1) % ROUND) as usize] = 1.0;
            logits.extend(row);
        }
        Ok(())
    }
}

fn tokens() -> Arc<Tokens> {
    let test_data = concat!(env!("CARGO_MANIFEST_DIR"), "/../../test-data/generation/chat");
    let file = |name: &str, from: &str| {
        let bytes = std::fs::read(format!("{test_data}/{from}")).unwrap();
        (name.to_owned(), bytes::Bytes::from(bytes))
    };
    let files = [file("tokenizer.json", "tokenizer.json"), file("chat_template.jinja", "llama3.jinja")];
    Arc::new(Tokens::open(&ModelFiles::new("counting", files)).unwrap())
}

pub(super) fn counting(options: EngineOptions) -> (Arc<Model>, Arc<AtomicBool>) {
    let shape = ModelShape {
        vocabulary: 320,
        context_max: 512,
        page_tokens: PAGE,
        pages: 256,
        page_bytes: 1024,
        weights_bytes: 4096,
    };
    let held = Arc::new(AtomicBool::new(false));
    let model = Counting { shape, held: held.clone() };
    let tokens = tokens();
    let engine = Engine::start("counting", Box::new(model), tokens.clone(), options).unwrap();
    (Arc::new(Model::generating(info("1"), engine, tokens, Device::Cpu, None)), held)
}

fn input(name: &str, text: &str) -> NamedTensor {
    NamedTensor::new(name, Tensor::from_strings([1], &[text]).unwrap())
}

fn plain(name: &str, text: &str) -> NamedTensor {
    NamedTensor::new(name, Tensor::from_vec([text.len()], text.as_bytes().to_vec()).unwrap())
}

fn of(inputs: Vec<NamedTensor>) -> Call {
    Call { inputs: inputs.into(), ..Call::default() }
}

fn text_of(outputs: &[NamedTensor], name: &str) -> String {
    let tensor = &outputs.iter().find(|output| &*output.name == name).unwrap().tensor;
    match tensor.dtype() {
        DType::U8 => String::from_utf8(tensor.data().to_vec()).unwrap(),
        _ => String::from_utf8(tensor.strings().unwrap()[0].to_vec()).unwrap(),
    }
}

#[tokio::test]
async fn a_prompt_or_a_conversation_is_answered_as_tensors() {
    let (model, _) = counting(EngineOptions::default());
    assert!(model.is_here() && model.generates() && model.generator().is_some());
    assert_eq!((model.memory_bytes(), model.tokens_max()), (4096 + 256 * 1024, None));
    let parameters = r#"{"max_tokens": 5, "temperature": 0}"#;
    let answer = model.infer(of(vec![input("text", "a"), input("parameters", parameters)])).await.unwrap();
    let completion: serde_json::Value = serde_json::from_str(&text_of(&answer.outputs, "completion")).unwrap();
    assert_eq!(completion["choices"][0]["text"], text_of(&answer.outputs, "text"));
    assert_eq!(
        (text_of(&answer.outputs, "finish_reason").as_str(), &completion["object"]),
        ("length", &"text_completion".into())
    );
    let usage: serde_json::Value = serde_json::from_str(&text_of(&answer.outputs, "usage")).unwrap();
    assert_eq!(usage["completion_tokens"], 5);
    let messages = r#"[{"role": "user", "content": "hi"}]"#;
    let answer = model.infer(of(vec![plain("messages", messages), plain("parameters", parameters)])).await.unwrap();
    assert!(answer.outputs.iter().all(|output| output.tensor.dtype() == DType::U8), "who sends U8 gets U8");
    assert!(text_of(&answer.outputs, "completion").contains("chat.completion"));
    assert_eq!((model.stats().success(), model.stats().first_tokens().count()), (2, 2));
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_with_the_reason() {
    let (model, _) = counting(EngineOptions::default());
    let text = |text: &str| input("text", text);
    for (inputs, expected) in [
        (vec![], "send a prompt as `text` or a conversation as `messages`"),
        (vec![text("a"), input("messages", "[]")], "send a prompt as `text` or"),
        (vec![input("messages", "{")], "`messages` is no JSON"),
        (vec![text("a"), input("parameters", "3")], "`parameters` is no object in JSON"),
        (vec![text("a"), input("parameters", r#"{"tempreature": 1}"#)], "`tempreature` is no parameter"),
        (vec![text("a"), input("parameters", r#"{"max_tokens": 600}"#)], "takes 512 tokens at most"),
        (vec![plain("text", "a"), plain("parameters", r#"{"n": 2}"#)], "leave out `n`"),
        (vec![NamedTensor::new("text", Tensor::from_vec([1], vec![0xffu8]).unwrap())], "is no UTF-8"),
        (vec![text(&"ox ".repeat(100_000))], "the prompt has more than"),
        (vec![input("prompt", "a")], "unknown input `prompt`"),
    ] {
        let error = model.infer(of(inputs)).await.unwrap_err();
        assert!(matches!(&error, NnError::InvalidInput(why) if why.contains(expected)), "{error} has not {expected}");
    }
}

#[tokio::test]
async fn pieces_are_the_answer_and_end_with_their_reader() {
    let (model, held) = counting(EngineOptions::default());
    let parameters = |stream: bool| format!(r#"{{"max_tokens": 60, "temperature": 0, "stream": {stream}}}"#);
    let call = |stream| of(vec![plain("text", "a"), plain("parameters", &parameters(stream))]);
    assert!(model.stream(&call(false)).await.unwrap().is_none());
    let whole = text_of(&model.infer(call(false)).await.unwrap().outputs, "text");
    let mut pieces = model.stream(&call(true)).await.unwrap().unwrap();
    let mut told = String::new();
    loop {
        let outputs = pieces.next().await.unwrap().unwrap();
        told += &text_of(&outputs, "text");
        if !text_of(&outputs, "finish_reason").is_empty() {
            assert!(text_of(&outputs, "usage").contains("\"completion_tokens\":60"));
            break;
        }
    }
    assert_eq!(told, whole);
    assert!(pieces.next().await.unwrap().is_none());
    held.store(true, Relaxed);
    let left = model.stream(&call(true)).await.unwrap().unwrap();
    drop(left);
    held.store(false, Relaxed);
    let engine = model.generator().unwrap().engine();
    let deadline = Instant::now() + Duration::from_secs(20);
    while engine.stats().running + engine.stats().waiting + engine.stats().pages_used > 0 {
        assert!(Instant::now() < deadline, "{:?}", engine.stats());
        tokio::task::yield_now().await;
    }
    assert_eq!((model.stats().success(), model.stats().failure(Failure::Canceled)), (2, 1));
}

#[tokio::test]
async fn a_deadline_ends_an_answer_and_a_full_queue_refuses_it() {
    let (model, held) = counting(EngineOptions { running_max: 1, queue_max: 1, ..EngineOptions::default() });
    let generator = model.generator().unwrap();
    held.store(true, Relaxed);
    let asked = |generator: &Generator| {
        let body = br#"{"model": "m", "prompt": "a", "max_tokens": 9}"#;
        Completion::parse(Kind::Text, body).unwrap().ask(generator.tokens(), 512).unwrap().requests
    };
    let soon = Some(Instant::now() + Duration::from_millis(20));
    let mut running = generator.begin(asked(generator), &Caller::native(), soon).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while generator.engine().stats().waiting > 0 {
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    let _waiting = generator.begin(asked(generator), &Caller::native(), None).unwrap();
    let refused = generator.begin(asked(generator), &Caller::native(), None).err().unwrap();
    assert!(matches!(generator.error_of(&refused), NnError::Overloaded { .. }));
    let (_, delta) = running.next().await.unwrap();
    assert!(matches!(delta.end, Some(Err(NnError::DeadlineExceeded { .. }))));
    assert!(running.next().await.is_none());
    assert_eq!(model.stats().failure(Failure::Rejected), 2);
    held.store(false, Relaxed);
}
