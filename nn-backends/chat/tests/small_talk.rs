//! The model that was trained here answers as it does in transformers, token for token, through template, engine and decoder.

use std::sync::Arc;

use headland_chat::{Conversation, Tokens};
use headland_decoder::{DecoderOptions, load};
use headland_generation::{Engine, EngineOptions, FinishReason, Request};
use headland_kernels::CacheStorage;
use headland_package::folder;
use minijinja::context;
use serde::Deserialize;

const FOLDER: &str = "../../models/small-talk";

#[derive(Deserialize)]
struct Golden {
    asked: String,
    prompt: Vec<u32>,
    tokens: Vec<u32>,
    text: String,
}

#[test]
fn questions_get_the_answers_of_transformers() {
    let files = folder::open(FOLDER.as_ref()).unwrap();
    let tokens = Arc::new(Tokens::open(&files).unwrap());
    let options = DecoderOptions {
        threads: 2,
        cache_bytes: 16 << 20,
        sequences_max: 4,
        context_max: None,
        cache: CacheStorage::F32,
    };
    let model = load(&files, &options).unwrap();
    let options = EngineOptions { end_tokens: tokens.end_tokens().to_vec(), ..EngineOptions::default() };
    let engine = Engine::start("small-talk", Box::new(model), tokens.clone(), options).unwrap();
    let goldens: Vec<Golden> =
        serde_json::from_slice(&std::fs::read(format!("{FOLDER}/goldens.json")).unwrap()).unwrap();
    for golden in goldens {
        let messages = vec![context! { role => "user", content => &golden.asked }].into();
        let conversation = Conversation { messages, answer: true, ..Conversation::default() };
        let prompt = tokens.encode(&tokens.template().unwrap().render(&conversation).unwrap(), false).unwrap();
        assert_eq!(prompt, golden.prompt, "{}", golden.asked);
        let mut answer = engine.submit(Request::greedy(prompt)).unwrap();
        let (mut text, mut answered, mut end) = (String::new(), Vec::new(), None);
        while let Some(delta) = answer.blocking_next() {
            text.push_str(&delta.text);
            answered.extend(delta.tokens.iter().map(|token| token.id));
            end = end.or(delta.end);
        }
        assert_eq!(answered, golden.tokens, "{}", golden.asked);
        assert_eq!((text, end.unwrap().unwrap().reason), (golden.text, FinishReason::Stop), "{}", golden.asked);
    }
}
