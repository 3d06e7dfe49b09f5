//! The whole engine over real models: every answer is transformers', with memory for all and for one, alone and in company.

use std::sync::Arc;

use headland_decoder::DecoderOptions;
use headland_generation::{Answer, Decode, Engine, EngineOptions, LanguageModel, Request};

use crate::common::{FAMILIES, Golden, OPTIONS, goldens, model};

struct Numbers;

impl Decode for Numbers {
    fn decode(&self, tokens: &[u32]) -> String {
        tokens.iter().map(|token| format!("{token} ")).collect()
    }
}

fn read(mut answer: Answer) -> Vec<u32> {
    let mut tokens = Vec::new();
    while let Some(delta) = answer.blocking_next() {
        tokens.extend(delta.tokens.into_iter().map(|token| token.id));
        if let Some(end) = delta.end {
            end.unwrap();
        }
    }
    tokens
}

#[test]
fn every_answer_is_the_same_whatever_memory_there_is_and_whoever_shares_it() {
    for name in FAMILIES {
        let goldens: Vec<Golden> = goldens(name).into_iter().filter(|golden| golden.context.is_none()).collect();
        let page_bytes = model(name, &OPTIONS).shape().page_bytes;
        // One answer of 70 and 64 tokens takes nine pages.
        for pages in [100, 12] {
            let model = model(name, &DecoderOptions { cache_bytes: pages * page_bytes, ..OPTIONS });
            let options = EngineOptions {
                running_max: 6,
                step_tokens_max: 33,
                prompt_tokens_beside_answers_max: 9,
                ..EngineOptions::default()
            };
            let engine = Engine::start(name, Box::new(model), Arc::new(Numbers), options).unwrap();
            let all: Vec<&Golden> = goldens.iter().cycle().take(3 * goldens.len()).collect();
            let ask = |golden: &Golden| Request {
                tokens_max: Some(golden.tokens.len()),
                ignores_end: true,
                ..Request::greedy(golden.prompt.clone())
            };
            let answers: Vec<Answer> = all.iter().map(|golden| engine.submit(ask(golden)).unwrap()).collect();
            for (golden, answer) in all.iter().zip(answers) {
                assert_eq!(read(answer), golden.tokens, "{name}, {pages} pages");
            }
            let stats = engine.stats();
            assert!(stats.cached_tokens > 0 || pages == 12, "{name}: {stats:?}");
            assert_eq!(stats.put_back > 0, pages == 12, "{name}: {stats:?}");
        }
    }
}
