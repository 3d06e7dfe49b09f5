//! Bodies that ask for JSON or for calls of tools, answered by an engine over a model that says anything: whatever it would
//! say, its answers have the form. The tokenizer and the templates are those of the tests of `headland-chat`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use headland_chat::Tokens;
use headland_completions::{AskError, BadRequest, Completion, Kind};
use headland_generation::{Engine, EngineOptions, LanguageModel, ModelShape, Piece};
use headland_nn_core::{ModelFiles, NnError};
use serde_json::{Value, json};

const FOLDER: &str = "../../test-data/generation/chat";
const PAGE: usize = 16;
/// Templates of models that call in one way each.
const TEMPLATES: [&str; 6] =
    ["qwen2_tools", "qwen3_coder_tools", "llama3_tools", "mistral_tools", "mistral_named_tools", "gemma"];
/// Likelier than others, so that answers come to their end.
const LIKED: [&str; 8] = ["\"", "}", "]", ",", ":", "a", "1", "</tool_call>"];

/// Tokens that one answer begins with, whatever else would be said.
type Script = Arc<Mutex<VecDeque<u32>>>;

/// Gives logits that follow from the last token, its position, and the script.
struct Anything {
    shape: ModelShape,
    liked: Vec<u32>,
    script: Script,
}

impl LanguageModel for Anything {
    fn shape(&self) -> &ModelShape {
        &self.shape
    }

    fn step(&mut self, pieces: &[Piece<'_>], logits: &mut Vec<f32>) -> Result<(), NnError> {
        logits.clear();
        for piece in pieces.iter().filter(|piece| piece.logits) {
            let at = piece.first_position + piece.tokens.len();
            let last = piece.tokens.last().copied().unwrap_or_default();
            let scripted = self.script.lock().unwrap().pop_front();
            logits.extend((0..self.shape.vocabulary as u32).map(|token| {
                if scripted == Some(token) {
                    return 1e6;
                }
                let mixed = (token ^ last.rotate_left(9) ^ (at as u32).rotate_left(17)).wrapping_mul(0x9e37_79b9);
                let liked = if self.liked.contains(&token) { 3.0 } else { 0.0 };
                (mixed >> 8) as f32 / 2e6 + liked
            }));
        }
        Ok(())
    }
}

struct Fixture {
    tokens: Arc<Tokens>,
    engine: Engine,
    script: Script,
}

fn fixture(template: &str) -> Fixture {
    let read = |name: &str| std::fs::read(format!("{FOLDER}/{name}")).unwrap();
    let config = br#"{"bos_token": "<s>", "eos_token": "</s>"}"#.to_vec();
    let files = [
        ("tokenizer.json", read("tokenizer.json")),
        ("tokenizer_config.json", config),
        ("chat_template.jinja", read(&format!("{template}.jinja"))),
    ];
    let files = files.map(|(path, bytes)| (path.to_owned(), bytes.into()));
    let tokens = Arc::new(Tokens::open(&ModelFiles::new("test", files)).unwrap());
    // More than the tokenizer has, as many models have: those may never be chosen.
    let shape = ModelShape {
        vocabulary: 320,
        context_max: 4096,
        page_tokens: PAGE,
        pages: 512,
        page_bytes: 1,
        weights_bytes: 1,
    };
    let liked = LIKED.iter().flat_map(|text| tokens.encode(text, false).unwrap()).collect();
    let options = EngineOptions { end_tokens: tokens.end_tokens().to_vec(), ..EngineOptions::default() };
    let script = Script::default();
    let model = Box::new(Anything { shape, liked, script: script.clone() });
    let engine = Engine::start("anything", model, tokens.clone(), options).unwrap();
    Fixture { tokens, engine, script }
}

impl Fixture {
    /// An answer that begins with `script`.
    fn scripted(&self, more: &Value, script: &str) -> Result<(Value, Value), BadRequest> {
        *self.script.lock().unwrap() = self.tokens.encode(script, false).unwrap().into();
        self.answer(more)
    }

    /// The answer as one object, and what the events of the same answer put together say.
    fn answer(&self, more: &Value) -> Result<(Value, Value), BadRequest> {
        let mut body =
            json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 900, "temperature": 1});
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        let completion = Completion::parse(Kind::Chat, body.to_string().as_bytes())?;
        let asked = completion.ask(&self.tokens, 4096).map_err(|error| match error {
            AskError::Bad(bad) => bad,
            AskError::TooLong { .. } | AskError::Failed(_) => panic!("{error}"),
        })?;
        let name = |id| self.tokens.token(id);
        let head = || ("chatcmpl-7".to_owned(), 7, "m".to_owned());
        let (id, created, model) = head();
        let mut whole = asked.whole(Kind::Chat, id, created, model);
        let (id, created, model) = head();
        let mut chunks = asked.chunks(Kind::Chat, id, created, model, false);
        let mut events = Vec::new();
        for (index, request) in asked.requests.into_iter().enumerate() {
            let mut answer = self.engine.submit(request).unwrap();
            while let Some(delta) = answer.blocking_next() {
                assert!(!matches!(delta.end, Some(Err(_))), "{:?}", delta.end);
                events.extend(chunks.delta(index, &delta, &name));
                whole.add(index, delta);
            }
        }
        Ok((whole.finish(&name), put_together(&events)))
    }
}

/// The first choice's message and why it ended, as a client that reads events puts them together.
fn put_together(events: &[Value]) -> Value {
    let (mut text, mut calls, mut reason) = (String::new(), Vec::<Value>::new(), Value::Null);
    let mut calls_begun = 0;
    for event in events {
        let choice = &event["choices"][0];
        if choice["index"] != 0 {
            continue;
        }
        text += choice["delta"]["content"].as_str().unwrap_or_default();
        for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
            let mut call = call.clone();
            let index = call.as_object_mut().unwrap().remove("index").unwrap().as_u64().unwrap() as usize;
            match calls.get_mut(index) {
                Some(begun) => {
                    assert_eq!((index + 1, call.as_object().unwrap().len()), (calls_begun, 1), "{event}");
                    let more = call["function"]["arguments"].as_str().unwrap();
                    let all = begun["function"]["arguments"].as_str().unwrap().to_owned() + more;
                    begun["function"]["arguments"] = all.into();
                }
                None => {
                    assert_eq!((index, &call["function"]["arguments"]), (calls.len(), &json!("")), "{event}");
                    calls.push(call);
                    calls_begun += 1;
                }
            }
        }
        if !choice["finish_reason"].is_null() {
            reason = choice["finish_reason"].clone();
        }
    }
    json!({"text": text, "calls": calls, "reason": reason})
}

fn weather() -> Value {
    json!({"type": "function", "function": {"name": "weather", "description": "The weather.", "parameters": {
        "type": "object",
        "properties": {"city": {"enum": ["Oslo", "Bern"]}, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
        "required": ["city", "days"], "additionalProperties": false
    }}})
}

fn check_weather(arguments: &Value) {
    let arguments: Value = serde_json::from_str(arguments.as_str().unwrap()).unwrap();
    assert!(["Oslo", "Bern"].contains(&arguments["city"].as_str().unwrap()), "{arguments}");
    assert!((1..=7).contains(&arguments["days"].as_i64().unwrap()), "{arguments}");
    assert_eq!(arguments.as_object().unwrap().len(), 2);
}

#[test]
fn answers_satisfy_the_schema_whatever_the_model_would_say() {
    let fixture = fixture("qwen2");
    let schema = json!({
        "type": "object",
        "properties": {
            "answer": {"type": "string", "maxLength": 10},
            "steps": {"type": "array", "items": {"$ref": "#/$defs/step"}, "minItems": 1, "maxItems": 3}
        },
        "required": ["answer", "steps"], "additionalProperties": false,
        "$defs": {"step": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": false}}
    });
    let format = json!({"type": "json_schema", "json_schema": {"name": "answer", "strict": true, "schema": schema}});
    let mut whole = 0;
    for seed in 0..12 {
        let (object, events) = fixture
            .answer(&json!({"response_format": format, "seed": seed, "n": 2, "ignore_eos": seed % 2 == 0}))
            .unwrap();
        for choice in object["choices"].as_array().unwrap() {
            let text = choice["message"]["content"].as_str().unwrap();
            if choice["finish_reason"] == "stop" {
                let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
                assert!(value["answer"].as_str().unwrap().chars().count() <= 10, "{text}");
                let steps = value["steps"].as_array().unwrap();
                assert!((1..=3).contains(&steps.len()) && steps.iter().all(|step| step["n"].is_number()), "{text}");
                whole += 1;
            }
        }
        assert_eq!(events["text"], object["choices"][0]["message"]["content"]);
    }
    assert!(whole > 12, "{whole} of 24 answers came to their end");
}

#[test]
fn any_object_is_json() {
    let fixture = fixture("qwen2");
    for seed in 0..10 {
        let (object, _) = fixture.answer(&json!({"response_format": {"type": "json_object"}, "seed": seed})).unwrap();
        let choice = &object["choices"][0];
        let text = choice["message"]["content"].as_str().unwrap();
        assert!(text.starts_with('{'), "{text}");
        if choice["finish_reason"] == "stop" {
            assert!(serde_json::from_str::<Value>(text).unwrap().is_object(), "{text}");
        }
    }
}

#[test]
fn a_call_that_has_to_be_is_one_as_each_family_writes_it() {
    let now = json!({"type": "function", "function": {"name": "now"}});
    let mut called = std::collections::BTreeSet::new();
    for template in TEMPLATES {
        let fixture = fixture(template);
        let named = json!({"type": "function", "function": {"name": "weather"}});
        let mut calls_made = 0;
        for seed in 0..6 {
            for choice in [json!("required"), named.clone()] {
                let more = json!({"tools": [weather(), now], "tool_choice": choice, "seed": seed, "parallel_tool_calls": seed < 3});
                let (object, events) = fixture.answer(&more).unwrap();
                let answer = &object["choices"][0];
                if answer["finish_reason"] == "length" {
                    continue;
                }
                assert_eq!(answer["finish_reason"], "tool_calls", "{template}: {answer}");
                assert_eq!(answer["message"]["content"], Value::Null, "{template}: {answer}");
                let calls = answer["message"]["tool_calls"].as_array().unwrap();
                assert!(seed < 3 || calls.len() == 1);
                for call in calls {
                    match call["function"]["name"].as_str().unwrap() {
                        "weather" => check_weather(&call["function"]["arguments"]),
                        name => {
                            let arguments = serde_json::from_str(call["function"]["arguments"].as_str().unwrap());
                            assert!(
                                name == "now"
                                    && choice == "required"
                                    && arguments.is_ok_and(|all: Value| all == json!({}))
                            );
                        }
                    }
                    called.insert(call["function"]["name"].to_string());
                    calls_made += 1;
                }
                assert_eq!(
                    (&events["calls"], &events["reason"]),
                    (&answer["message"]["tool_calls"], &answer["finish_reason"])
                );
            }
        }
        assert!(calls_made > 6, "{template}: {calls_made} calls");
    }
    assert_eq!(called.len(), 2, "{called:?}");
}

/// What begins a call in each of the ways, up to where an answer is held to it.
fn begin(template: &str) -> &'static str {
    match template {
        "qwen2_tools" | "qwen3_coder_tools" => "<tool_call>",
        "mistral_tools" | "mistral_named_tools" => "[TOOL_CALLS]",
        _ => "{\"name\": \"weather\"",
    }
}

#[test]
fn an_answer_is_free_to_call_and_a_call_it_begins_is_one() {
    for template in TEMPLATES {
        let fixture = fixture(template);
        let (mut texts, mut calls) = (0, 0);
        for seed in 0..12 {
            // Odd ones begin with a call, whatever the model would say.
            let script = if seed % 2 == 1 { begin(template) } else { "" };
            let more = json!({"tools": [weather()], "seed": seed, "max_tokens": 400});
            let (object, events) = fixture.scripted(&more, script).unwrap();
            let answer = &object["choices"][0];
            let message = &answer["message"];
            let made = message["tool_calls"].as_array().map_or(0, Vec::len);
            for call in message["tool_calls"].as_array().into_iter().flatten() {
                if answer["finish_reason"] == "tool_calls" {
                    check_weather(&call["function"]["arguments"]);
                }
            }
            texts += usize::from(made == 0);
            calls += made;
            assert!(script.is_empty() || made > 0 || answer["finish_reason"] == "length", "{template}: {answer}");
            assert_eq!(events["calls"].as_array().unwrap().len(), made);
            assert_eq!(events["text"].as_str().unwrap(), message["content"].as_str().unwrap_or_default());
        }
        assert!(texts > 0 && calls > 0, "{template}: {texts} texts, {calls} calls");
    }
}

#[test]
fn an_answer_of_a_form_calls_or_has_the_form() {
    let schema = json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 9}}, "required": ["name"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}});
    for template in TEMPLATES {
        let fixture = fixture(template);
        for (seed, script) in (0..8).zip([begin(template), "", "{\"name\": \"w", ""].into_iter().cycle()) {
            let more = json!({"tools": [weather()], "response_format": format, "seed": seed});
            let (object, events) = fixture.scripted(&more, script).unwrap();
            let answer = &object["choices"][0];
            match answer["finish_reason"].as_str().unwrap() {
                "tool_calls" => {
                    let calls = answer["message"]["tool_calls"].as_array().unwrap();
                    calls.iter().for_each(|call| check_weather(&call["function"]["arguments"]));
                    assert_eq!(events["calls"], json!(calls));
                }
                "stop" => {
                    let text = answer["message"]["content"].as_str().unwrap();
                    let value: Value = serde_json::from_str(text).unwrap();
                    assert!(value["name"].as_str().unwrap().chars().count() <= 9, "{template}: {text}");
                    assert_eq!(events["text"], text);
                }
                _ => {}
            }
            assert!(script != begin(template) || answer["finish_reason"] != "stop", "{template}: {answer}");
        }
    }
}

#[test]
fn what_answers_cannot_be_held_to_is_said_before_they_begin() {
    let fixture = fixture("qwen2_tools");
    let error = |more: Value| {
        let BadRequest { message, param } = fixture.answer(&more).unwrap_err();
        (message, param.unwrap())
    };
    let format = |schema: Value| json!({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}});
    let (message, param) = error(format(json!({"type": "string", "minLength": 2, "maxLength": 1})));
    assert!(message.contains("minLength (2)") && param == "response_format", "{message}");
    let (message, _) = error(format(json!({"not": {}})));
    assert!(message.contains("not"), "{message}");
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"not": {}}}}}});
    let (message, param) = error(json!({"tools": [tool], "tool_choice": "required"}));
    assert!(message.contains("parameters of `f`") && param == "tools", "{message}");
    // Where the model may call and need not, its calls are read as they come.
    assert!(fixture.answer(&json!({"tools": [tool], "max_tokens": 3})).is_ok());
}
