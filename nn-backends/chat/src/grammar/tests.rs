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
fn what_would_break_off_is_refused_before_it_begins() {
    let grammars = grammars();
    let object = |count: usize| {
        let properties: serde_json::Map<String, Value> =
            (0..count).map(|number| (format!("key{number}"), json!({"type": "integer"}))).collect();
        json!({"type": "object", "properties": properties, "additionalProperties": false})
    };
    let error = grammars.compile(&Form::Schema(object(3000))).unwrap_err().to_string();
    assert!(error.contains("3000 ways") && error.contains("200 at most"), "{error}");
    let nested = json!({"type": "object", "properties": {"a": object(3000)}, "required": ["a"]});
    assert!(matches!(grammars.compile(&Form::Schema(nested)), Err(BadForm::TooWide { ways: 3000, .. })));
    let tools = [Tool { name: "wide".to_owned(), parameters: Some(object(3000)) }].into();
    let calls = Calls { tools, ..calls(CallConvention::Plain, true) };
    let error = grammars.compile_calls(&calls, Instead::Anything).unwrap_err().to_string();
    assert!(error.contains("parameters of `wide`"), "{error}");
    // As many as there may be come to their end.
    let grammar = grammars.compile(&Form::Schema(object(WAYS_MAX))).unwrap();
    let all: Vec<String> = (0..WAYS_MAX).map(|number| format!("\"key{number}\": {number}")).collect();
    assert!(admits(&*grammar, &format!("{{{}}}", all.join(", "))) && admits(&*grammar, "{\"key7\": 1, \"key199\": 2}"));
    let union = json!({"anyOf": (0..WAYS_MAX).map(|number| json!({"const": {"kind": number}})).collect::<Vec<_>>()});
    assert!(admits(&*grammars.compile(&Form::Schema(union)).unwrap(), "{\"kind\": 199}"));
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

fn calls(convention: CallConvention, several: bool) -> Calls {
    let weather = json!({"type": "object", "properties": {"city": {"$ref": "#/$defs/city"}}, "required": ["city"],
        "additionalProperties": false, "$defs": {"city": {"enum": ["Oslo", "Bern"]}}});
    let tools = [("weather", Some(weather)), ("now", None)];
    let tools = tools.map(|(name, parameters)| Tool { name: name.to_owned(), parameters }).into();
    Calls { convention, tools, several }
}

#[test]
fn calls_are_written_as_the_model_writes_them() {
    let grammars = grammars();
    let compile = |convention, several| grammars.compile_calls(&calls(convention, several), Instead::Nothing).unwrap();
    let oslo = r#"{"name": "weather", "arguments": {"city": "Oslo"}}"#;
    let (one, two) = (format!("<tool_call>\n{oslo}\n</tool_call>"), r#"{"name": "now", "arguments": {}}"#);
    let both = format!("{one}\n<tool_call>{{\"name\":\"now\"}}</tool_call>");
    let tagged = compile(CallConvention::Tagged, true);
    assert!(admits(&*tagged, &one) && admits(&*tagged, &both));
    assert!(!admits(&*tagged, &one.replace("Oslo", "Rome")) && !admits(&*tagged, oslo) && !admits(&*tagged, ""));
    assert!(!admits(&*tagged, "<tool_call>{\"name\": \"weather\"}</tool_call>"));
    let single = compile(CallConvention::Tagged, false);
    assert!(admits(&*single, &one) && !admits(&*single, &both));
    let listed = compile(CallConvention::Listed, true);
    assert!(admits(&*listed, &format!("[TOOL_CALLS] [{oslo}, {two}]")));
    assert!(admits(&*listed, &format!("[TOOL_CALLS][{two}]")) && !admits(&*listed, &format!("[TOOL_CALLS]{two}")));
    let named = compile(CallConvention::Named, true);
    let (first, second) =
        ("[TOOL_CALLS]weather[ARGS]{\"city\": \"Bern\"}", "[TOOL_CALLS]now[CALL_ID]abc123def[ARGS]{}");
    assert!(admits(&*named, first) && admits(&*named, &format!("{first}{second}")));
    assert!(!admits(&*named, &first.replace("Bern", "Rome")) && !admits(&*named, "[TOOL_CALLS]never[ARGS]{}"));
    let plain = compile(CallConvention::Plain, true);
    assert!(admits(&*plain, oslo) && admits(&*plain, &oslo.replace("arguments", "parameters")));
    assert!(!admits(&*plain, &oslo.replace("arguments", "anything")));
}

#[test]
fn arguments_that_are_written_one_by_one_satisfy_their_schemas() {
    let grammars = grammars();
    let note = json!({"type": "object", "properties": {
        "title": {"type": "string", "minLength": 2, "maxLength": 6}, "kind": {"type": "string", "enum": ["a b", "c"]},
        "day": {"type": "string", "format": "date"}, "count": {"$ref": "#/$defs/count"}, "more": {"type": ["string", "null"]}
    }, "required": ["title", "count"], "$defs": {"count": {"type": "integer", "minimum": 1}}});
    let tools = [Tool { name: "note".to_owned(), parameters: Some(note) }].into();
    let calls = Calls { convention: CallConvention::Functions, tools, several: false };
    let grammar = grammars.compile_calls(&calls, Instead::Nothing).unwrap();
    let call = |arguments: &[(&str, &str)]| -> String {
        let arguments = arguments.iter().map(|(name, value)| format!("<parameter={name}>\n{value}\n</parameter>\n"));
        format!("<tool_call>\n<function=note>\n{}</function>\n</tool_call>", arguments.collect::<String>())
    };
    let good = |arguments: &[(&str, &str)]| admits(&*grammar, &call(arguments));
    assert!(good(&[("title", "a\n\"b"), ("count", "3")]));
    assert!(good(&[("title", "ab"), ("kind", "a b"), ("day", "\"2024-05-06\""), ("count", "12"), ("more", "null")]));
    assert!(!good(&[("title", "ab"), ("count", "0")]) && !good(&[("title", "a"), ("count", "3")]));
    assert!(!good(&[("title", "abcdefg"), ("count", "3")]) && !good(&[("title", "ab")]));
    assert!(!good(&[("title", "ab"), ("kind", "d"), ("count", "3")]));
    assert!(!good(&[("title", "ab"), ("day", "2024-05-06"), ("count", "3")]));
    // A text cannot end where it would be read to end.
    let end = [Tool {
        name: "note".to_owned(),
        parameters: Some(json!({"type": "object", "properties": {"a": {"type": "string"}}})),
    }];
    let calls = Calls { tools: end.into(), ..calls };
    let grammar = grammars.compile_calls(&calls, Instead::Nothing).unwrap();
    assert!(admits(&*grammar, &call(&[("a", "x </parameter y")])) && admits(&*grammar, &call(&[])));
    assert!(!admits(&*grammar, &call(&[("a", "x</parameter>y")])));
    let error = |parameters: Value| {
        let tools = [Tool { name: "note".to_owned(), parameters: Some(parameters) }].into();
        grammars.compile_calls(&Calls { tools, ..calls.clone() }, Instead::Nothing).unwrap_err().to_string()
    };
    let either = error(json!({"type": "object", "anyOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}));
    assert!(either.contains("parameters of `note`") && either.contains("`anyOf`"), "{either}");
    assert!(error(json!({"properties": {"a>b": {}}})).contains("a>b"));
}

#[test]
fn an_answer_is_free_until_it_calls() {
    let grammars = grammars();
    let call = "\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";
    for (several, marker) in
        [(false, vec![TAG]), (true, vec![TAG]), (true, "<tool_call>".bytes().map(u32::from).collect())]
    {
        let calls = calls(CallConvention::Tagged, several);
        let grammar = grammars.compile_calls(&calls, Instead::Anything).unwrap();
        let mut constraint = grammar.begin();
        for _ in 0..2 {
            "Let me see <tool_.".bytes().for_each(|byte| constraint.take(u32::from(byte)).unwrap());
            assert_eq!(constraint.standing(), Ok(Standing::Free));
            marker.iter().for_each(|token| constraint.take(*token).unwrap());
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

/// Takes a text in one token for each byte: what stands then.
fn after(grammar: &dyn Grammar, text: &str) -> (Standing, Box<dyn Constraint>) {
    let mut constraint = grammar.begin();
    text.bytes().for_each(|byte| constraint.take(u32::from(byte)).unwrap());
    (constraint.standing().unwrap(), constraint)
}

#[test]
fn an_object_is_a_call_once_it_names_a_tool() {
    let grammars = grammars();
    let grammar = grammars.compile_calls(&calls(CallConvention::Plain, true), Instead::Anything).unwrap();
    for free in [
        "",
        "Hi",
        "{",
        "{\"name\": \"Bern\"",
        "{\"name\": \"weather",
        "A {\"name\": \"weather\"",
        "[{\"name\": \"now\"",
    ] {
        assert_eq!(after(&*grammar, free).0, Standing::Free, "{free}");
    }
    let (standing, mut constraint) = after(&*grammar, "{\"name\": \"weather\"");
    let mut allowed = TokenSet::default();
    constraint.allow(&mut allowed).unwrap();
    let all: Vec<u32> = (0..265).filter(|token| allowed.contains(*token)).collect();
    // Space, also two of it in one token, or the comma.
    assert_eq!((standing, all), (Standing::Unfinished, vec![9, 10, 13, 32, 44, 261]));
    for byte in r#", "parameters": {"city": "Oslo"}}"#.bytes() {
        constraint.take(u32::from(byte)).unwrap();
    }
    assert_eq!(constraint.standing(), Ok(Standing::Complete));
    assert!(!admits(&*grammar, r#"{"name": "weather", "parameters": {"city": "Rome"}}"#));
    // Tokens that say nothing decide nothing.
    let mut constraint = grammar.begin();
    constraint.take(265).unwrap();
    "{\"name\": \"now\"".bytes().for_each(|byte| constraint.take(u32::from(byte)).unwrap());
    assert_eq!(constraint.standing(), Ok(Standing::Unfinished));
}

#[test]
fn an_answer_of_a_form_may_be_a_call_instead() {
    let grammars = grammars();
    let compile = |convention, form: &Form| {
        let answer = Instead::Answer(grammars.compile(form).unwrap());
        grammars.compile_calls(&calls(convention, true), answer).unwrap()
    };
    let form =
        Form::Schema(json!({"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"], "additionalProperties": false}));
    let oslo = r#"{"name": "weather", "arguments": {"city": "Oslo"}}"#;
    for (convention, call) in [
        (CallConvention::Plain, oslo.to_owned()),
        (CallConvention::Tagged, format!("<tool_call>\n{oslo}\n</tool_call>\n<tool_call>\n{oslo}\n</tool_call>")),
        (CallConvention::Listed, format!("[TOOL_CALLS] [{oslo}]")),
        (CallConvention::Named, "[TOOL_CALLS]weather[ARGS]{\"city\": \"Oslo\"}".to_owned()),
    ] {
        let grammar = compile(convention, &form);
        assert!(admits(&*grammar, &call), "{convention:?}");
        assert!(admits(&*grammar, r#"{"name": "Ada", "age": 36}"#), "{convention:?}");
        assert!(!admits(&*grammar, &call.replace("Oslo", "Rome")), "{convention:?}");
        assert!(!admits(&*grammar, "Let me see.") && !admits(&*grammar, r#"{"name": "Ada"}"#), "{convention:?}");
    }
    // What names a tool is a call, though the form would let it be something else.
    let grammar = compile(CallConvention::Plain, &Form::Object);
    assert!(admits(&*grammar, oslo) && admits(&*grammar, "{\"name\": \"Ada\"}") && admits(&*grammar, "{}"));
    assert!(!admits(&*grammar, &oslo.replace("Oslo", "Rome")));
    assert!(!admits(&*grammar, r#"{"name": "weather", "age": 36}"#));
}

#[test]
fn what_is_drawn_of_calls_and_a_form_is_one_or_the_other() {
    let grammars = grammars();
    let form = Instead::Answer(grammars.compile(&Form::Schema(person())).unwrap());
    let grammar = grammars.compile_calls(&calls(CallConvention::Plain, true), form).unwrap();
    let (mut called, mut answered) = (0, 0);
    for seed in 0..80 {
        let (text, whole) = drawn(&*grammar, seed, 400);
        if !whole {
            continue;
        }
        let tools = calls(CallConvention::Plain, true).tools;
        match crate::Head::read(text.as_bytes(), &tools) {
            crate::Head::Of { tool, .. } => {
                let call: Value = serde_json::from_str(&text).unwrap();
                let arguments = call.get("arguments").or(call.get("parameters"));
                let city = arguments.and_then(|arguments| arguments["city"].as_str());
                assert!(tool == 1 || ["Oslo", "Bern"].contains(&city.unwrap()), "{text}");
                called += 1;
            }
            _ => {
                check_person(&text);
                answered += 1;
            }
        }
    }
    assert!(called > 3 && answered > 3, "{called} called, {answered} answered");
}

#[test]
fn tools_that_cannot_be_called_are_named() {
    let grammars = grammars();
    let error = |name: &str, parameters: Value| {
        let tools = [Tool { name: name.to_owned(), parameters: Some(parameters) }].into();
        let calls = Calls { tools, ..calls(CallConvention::Plain, true) };
        grammars.compile_calls(&calls, Instead::Nothing).unwrap_err().to_string()
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
