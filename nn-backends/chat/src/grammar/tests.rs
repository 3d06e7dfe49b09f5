//! Answers to grammars: what is allowed token by token, as a model that draws at random would go through it.

use headland_generation::Grammar;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::CallConvention;

/// A token for each byte, some words, and an end that has no bytes.
const WORDS: [&str; 9] = ["{\"", "\":", "\": ", "name", "true", "  ", "<tool_call>", "</tool_call>", "[TOOL_CALLS]"];
const TAG: u32 = 262;

fn grammars() -> Grammars {
    let mut bytes: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    bytes.extend(WORDS.map(|word| word.as_bytes().to_vec()));
    bytes.push(Vec::new());
    Grammars::new(&bytes).unwrap()
}

fn bytes(token: u32) -> Vec<u8> {
    token.checked_sub(256).map_or_else(|| vec![token as u8], |word| WORDS[word as usize].as_bytes().to_vec())
}

/// What a model says that draws at random among what is allowed: the text, and whether the answer came to its end.
fn drawn(grammar: &dyn Grammar, seed: u64, tokens_max: usize) -> (String, bool) {
    let mut constraint = grammar.begin();
    let (mut text, mut state, mut allowed) = (Vec::new(), seed, TokenSet::default());
    for _ in 0..tokens_max {
        let standing = constraint.standing().unwrap();
        if standing == Standing::Complete {
            return (String::from_utf8(text).unwrap(), true);
        }
        allowed.clear();
        constraint.allow(&mut allowed).unwrap();
        // Printable ones more often, or there is nothing to read.
        let all: Vec<u32> = (0..265).filter(|token| allowed.contains(*token)).collect();
        let closing: Vec<u32> =
            all.iter().copied().filter(|token| b"}]\"".contains(&(*token as u8)) && *token < 256).collect();
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let drawn = (state >> 33) as usize;
        let of = if drawn.is_multiple_of(3) && !closing.is_empty() { &closing } else { &all };
        assert!(!of.is_empty(), "nothing may follow `{}`", String::from_utf8_lossy(&text));
        let token = of[drawn / 3 % of.len()];
        constraint.take(token).unwrap();
        text.extend(bytes(token));
    }
    (String::from_utf8_lossy(&text).into_owned(), false)
}

/// Whether the grammar lets this text be an answer.
fn admits(grammar: &dyn Grammar, text: &str) -> bool {
    let (mut constraint, mut allowed) = (grammar.begin(), TokenSet::default());
    for byte in text.bytes() {
        if constraint.standing().unwrap() != Standing::Free {
            allowed.clear();
            if constraint.standing().unwrap() == Standing::Complete {
                return false;
            }
            constraint.allow(&mut allowed).unwrap();
            if !allowed.contains(u32::from(byte)) {
                return false;
            }
        }
        constraint.take(u32::from(byte)).unwrap();
    }
    matches!(constraint.standing().unwrap(), Standing::MayEnd | Standing::Complete | Standing::Free)
}

fn person() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "kind": {"enum": ["cat", "dog"]},
            "friend": {"anyOf": [{"$ref": "#/$defs/friend"}, {"type": "null"}]}
        },
        "required": ["name", "age", "kind", "friend"],
        "additionalProperties": false,
        "$defs": {"friend": {
            "type": "object", "properties": {"tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3}},
            "required": ["tags"], "additionalProperties": false
        }}
    })
}

fn check_person(text: &str) {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let fields = value.as_object().unwrap();
    // In the schema's order.
    assert_eq!(fields.keys().collect::<Vec<_>>(), ["name", "age", "kind", "friend"], "{text}");
    assert!(value["name"].as_str().unwrap().chars().count() <= 12, "{text}");
    assert!(value["age"].as_u64().unwrap() <= 150, "{text}");
    assert!(["cat", "dog"].contains(&value["kind"].as_str().unwrap()), "{text}");
    assert!(value["friend"].is_null() || value["friend"]["tags"].as_array().unwrap().len() <= 3, "{text}");
}

#[test]
fn whatever_is_drawn_satisfies_the_schema() {
    let grammars = grammars();
    let grammar = grammars.compile(&Form::Schema(person())).unwrap();
    let mut ended = 0;
    for seed in 0..60 {
        let (text, whole) = drawn(&*grammar, seed, 400);
        if whole {
            check_person(&text);
            ended += 1;
        }
    }
    assert!(ended > 40, "{ended} of 60 came to their end");
}

#[test]
fn any_object_is_an_object() {
    let grammars = grammars();
    let object = grammars.compile(&Form::Object).unwrap();
    for (text, expected) in [
        (r#"{}"#, true),
        ("{\n  \"a\": [1, 2.5e3, null, {\"ü\": \"\\n\"}]\n}", true),
        ("[]", false),
        ("{\"a\" 1}", false),
        ("{} ", false),
        ("Sure: {}", false),
    ] {
        assert_eq!(admits(&*object, text), expected, "{text}");
    }
    // Nothing but space is no answer for ever.
    assert!(!admits(&*object, &format!("{{{}}}", " ".repeat(41))));
}

#[test]
fn what_cannot_be_held_to_is_refused_by_name() {
    let grammars = grammars();
    let error = |schema: Value| grammars.compile(&Form::Schema(schema)).unwrap_err().to_string();
    assert!(error(json!({"type": "string", "minLength": 5, "maxLength": 2})).contains("minLength (5)"));
    let inner = json!({"type": "object", "properties": {"a": {"type": "integer", "minimum": 3, "maximum": 1}}, "required": ["a"]});
    assert!(error(inner).contains("'a' is unsatisfiable"));
    assert!(error(json!({"type": "object", "properties": {"a": {"not": {}}}})).contains("[\"not\"]"));
    assert!(error(json!({"type": "striing"})).contains("striing"));
    assert!(error(json!({"$ref": "#/$defs/x"})).contains("$defs"));
    assert!(
        error(json!({"$ref": "#/$defs/x", "$defs": {"x": {"$ref": "#/$defs/x"}}})).contains("nothing satisfies it")
    );
    assert!(error(json!({"$ref": "http://127.0.0.1:1/schema"})).contains("http://127.0.0.1:1/schema"));
    assert!(error(json!({"type": "string", "pattern": "(a+"})).contains("regex"));
    assert!(error(json!([])).contains("a schema is an object"));
    assert!(error(json!({"const": "x".repeat(SCHEMA_BYTES_MAX)})).contains("at most"));
    let long = error(json!({"type": "x".repeat(10_000)}));
    assert!(long.len() < 400, "{long}");
}

#[test]
fn an_answer_that_begins_takes_nothing_from_the_next() {
    let grammars = grammars();
    let grammar = grammars.compile(&Form::Schema(json!({"type": "integer"}))).unwrap();
    let mut first = grammar.begin();
    first.take(u32::from(b'1')).unwrap();
    assert!(first.take(u32::from(b'x')).unwrap_err().to_string().contains("form"));
    assert!(first.standing().is_err());
    assert!(admits(&*grammar, "-12") && !admits(&*grammar, "1.5"));
}

fn calls(convention: CallConvention, several: bool, begins_with: Option<u32>) -> Calls {
    let weather = json!({"type": "object", "properties": {"city": {"$ref": "#/$defs/city"}}, "required": ["city"],
        "additionalProperties": false, "$defs": {"city": {"enum": ["Oslo", "Bern"]}}});
    let tools = [("weather", Some(weather)), ("now", None)];
    let tools = tools.map(|(name, parameters)| Tool { name: name.to_owned(), parameters }).to_vec();
    Calls { convention, tools, several, begins_with }
}

#[test]
fn calls_are_written_as_the_model_writes_them() {
    let grammars = grammars();
    let compile = |convention, several| grammars.compile(&Form::Calls(calls(convention, several, None))).unwrap();
    let oslo = r#"{"name": "weather", "arguments": {"city": "Oslo"}}"#;
    let (one, two) = (format!("<tool_call>\n{oslo}\n</tool_call>"), r#"{"name": "now", "arguments": {}}"#);
    let both = format!("{one}\n<tool_call>\n{two}\n</tool_call>");
    let tagged = compile(CallConvention::Tagged, true);
    assert!(admits(&*tagged, &one) && admits(&*tagged, &both));
    assert!(!admits(&*tagged, &one.replace("Oslo", "Rome")) && !admits(&*tagged, oslo) && !admits(&*tagged, ""));
    let single = compile(CallConvention::Tagged, false);
    assert!(admits(&*single, &one) && !admits(&*single, &both));
    let listed = compile(CallConvention::Listed, true);
    assert!(
        admits(&*listed, &format!("[TOOL_CALLS] [{oslo}, {two}]")) && admits(&*listed, &format!("[TOOL_CALLS][{two}]"))
    );
    let parameters = compile(CallConvention::Parameters, true);
    assert!(admits(&*parameters, r#"{"name": "weather", "parameters": {"city": "Bern"}}"#));
    assert!(admits(&*compile(CallConvention::Plain, true), oslo) && !admits(&*parameters, oslo));
}

#[test]
fn an_answer_is_free_until_it_calls() {
    let grammars = grammars();
    let call = "\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";
    for several in [false, true] {
        let grammar = grammars.compile(&Form::Calls(calls(CallConvention::Tagged, several, Some(TAG)))).unwrap();
        let mut constraint = grammar.begin();
        for _ in 0..2 {
            "Let me see.".bytes().for_each(|byte| constraint.take(u32::from(byte)).unwrap());
            assert_eq!(constraint.standing(), Ok(Standing::Free));
            constraint.take(TAG).unwrap();
            assert_eq!(constraint.standing(), Ok(Standing::Unfinished));
            call.bytes().for_each(|byte| constraint.take(u32::from(byte)).unwrap());
            let expected = if several { Standing::Free } else { Standing::Complete };
            assert_eq!(constraint.standing(), Ok(expected));
            if !several {
                break;
            }
        }
    }
}

#[test]
fn tools_that_cannot_be_called_are_named() {
    let grammars = grammars();
    let error = |name: &str, parameters: Value| {
        let tools = vec![Tool { name: name.to_owned(), parameters: Some(parameters) }];
        let calls = Calls { tools, ..calls(CallConvention::Plain, true, None) };
        grammars.compile(&Form::Calls(calls)).unwrap_err().to_string()
    };
    assert!(error("a\" | /.*/", json!({})).contains("names have letters"));
    assert!(error("f", json!({"type": "string"})).contains("`f` are no object"));
    let not = error("f", json!({"type": "object", "properties": {"a": {"not": {}}}}));
    assert!(not.contains("parameters of `f`") && not.contains("not"), "{not}");
}

proptest! {
    #[test]
    fn whatever_the_library_makes_of_a_schema_it_answers(
        keyword in prop::sample::select(vec!["type", "pattern", "enum", "items", "required", "minimum", "properties", "$ref", "allOf", "format", "x-guidance"]),
        value in prop_oneof![
            Just(json!(null)), Just(json!("object")), Just(json!(["a", 1])), Just(json!({"a": {"type": "null"}})), Just(json!(1e300)),
            Just(json!(-1)), "[a-z(\\[*{#/]{0,6}".prop_map(|text| json!(text)), Just(json!([{"type": "string"}]))]
    ) {
        thread_local! {
            static GRAMMARS: Grammars = grammars();
        }
        let schema = json!({"type": "object", "properties": {"a": {keyword: value}}, "required": ["a"]});
        GRAMMARS.with(|grammars| match grammars.compile(&Form::Schema(schema.clone())) {
            Ok(grammar) => {
                drawn(&*grammar, 1, 30);
            }
            Err(error) => assert!(!error.to_string().contains("panic"), "{schema}: {error}"),
        });
    }
}
