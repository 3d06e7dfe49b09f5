//! Calls in what models write, in whatever pieces it comes.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const ONE: &str = r#"{"name": "weather", "arguments": {"city": "Oslo </b>"}}"#;

fn tools() -> Arc<[Tool]> {
    let weather = json!({"type": "object", "properties": {
        "city": {"type": "string"}, "days": {"type": "integer"}, "zip": {"type": "string", "pattern": "[0-9]+"}, "more": {}
    }});
    let tools = [("weather", Some(weather)), ("now", None)];
    tools.map(|(name, parameters)| Tool { name: name.to_owned(), parameters }).into()
}

/// The text, and the calls with their arguments, however many pieces these come in.
fn read_from(from_the_beginning: bool, convention: CallConvention, pieces: &[&str]) -> (String, Vec<(String, String)>) {
    let mut reader = CallReader::new(CallReading { convention, tools: tools(), from_the_beginning });
    let mut parts: Vec<Part> = pieces.iter().flat_map(|piece| reader.take(piece, false).0).collect();
    parts.extend(reader.take("", true).0);
    let (mut text, mut calls) = (String::new(), Vec::new());
    for part in parts {
        match part {
            Part::Text(more) => text += &more,
            Part::Call(name) => calls.push((name, String::new())),
            Part::Arguments(more) => calls.last_mut().unwrap().1 += &more,
        }
    }
    assert_eq!(reader.calls(), calls.len());
    (text, calls)
}

fn read(convention: CallConvention, pieces: &[&str]) -> (String, Vec<(String, String)>) {
    read_from(false, convention, pieces)
}

fn oslo() -> (String, String) {
    ("weather".to_owned(), r#"{"city": "Oslo </b>"}"#.to_owned())
}

fn now() -> (String, String) {
    ("now".to_owned(), "{}".to_owned())
}

#[test]
fn calls_are_read_as_each_family_writes_them() {
    let tagged =
        format!("Let me see.\n\n<tool_call>\n{ONE}\n</tool_call>\n<tool_call>\n{{\"name\": \"now\"}}\n</tool_call>\n");
    assert_eq!(read(CallConvention::Tagged, &[&tagged]), ("Let me see.".to_owned(), vec![oslo(), now()]));
    let unended = format!("<tool_call>{ONE}");
    assert_eq!(read(CallConvention::Tagged, &[&unended]), (String::new(), vec![oslo()]));
    let listed = format!("[TOOL_CALLS] [{ONE}, {{\"name\": \"now\", \"arguments\": {{}}, \"id\": \"}}\"}}]");
    assert_eq!(read(CallConvention::Listed, &[&listed]), (String::new(), vec![oslo(), now()]));
    let named = "[TOOL_CALLS]weather[ARGS]{\"city\": \"Oslo </b>\"}[TOOL_CALLS]now[CALL_ID]abcdefghi[ARGS]{}";
    assert_eq!(read(CallConvention::Named, &[named]), (String::new(), vec![oslo(), now()]));
    let parameters = format!("\n{}", ONE.replace("arguments", "parameters"));
    assert_eq!(read(CallConvention::Plain, &[&parameters]), (String::new(), vec![oslo()]));
    assert_eq!(read(CallConvention::Plain, &["{\"name\": \"now\"}"]), (String::new(), vec![now()]));
}

#[test]
fn arguments_that_come_one_by_one_become_json() {
    let call = "On it.\n<tool_call>\n<function=weather>\n<parameter=city>\nOslo \"</b>\"\n\n</parameter>\n<parameter=days>\n3\n\
        </parameter>\n<parameter=zip>\n0150\n</parameter>\n<parameter=more>\n[1, {\"a\": 2}]\n</parameter>\n</function>\n</tool_call>";
    let (text, calls) = read(CallConvention::Functions, &[call, "\n<tool_call><function=now></function></tool_call>"]);
    assert_eq!((text.as_str(), calls.len()), ("On it.", 2));
    assert_eq!(calls[1], now());
    let arguments: serde_json::Value = serde_json::from_str(&calls[0].1).unwrap();
    // What would be a number is a text where only a text will do.
    let expected = json!({"city": "Oslo \"</b>\"\n", "days": 3, "zip": "0150", "more": [1, {"a": 2}]});
    assert_eq!(arguments, expected);
    // One that ends early, and one that was cut.
    let early = "<tool_call>\n<function=weather>\n<parameter=days>\nthree\n</parameter>\n";
    assert_eq!(read(CallConvention::Functions, &[early]).1[0].1, r#"{"days": "three"}"#);
    let cut = "<tool_call>\n<function=weather>\n<parameter=city>\nOs";
    assert_eq!(read(CallConvention::Functions, &[cut]).1[0].1, r#"{"city": "Os"#);
}

#[test]
fn arguments_are_told_while_they_come() {
    for (convention, pieces) in [
        (CallConvention::Tagged, ["<tool_call>{\"name\": \"weather\", \"arguments\": ", "{\"city\": ", "\"Oslo\""]),
        (CallConvention::Named, ["[TOOL_CALLS]weather[ARGS]", "{\"city\": ", "\"Oslo\""]),
        (CallConvention::Plain, ["{\"name\": \"weather\", \"parameters\":", " {\"city\": ", "\"Oslo\""]),
        (CallConvention::Functions, ["<tool_call><function=weather>", "<parameter=city>\n", "Oslo\n</par"]),
    ] {
        let mut reader = CallReader::new(CallReading { convention, tools: tools(), from_the_beginning: false });
        let told: Vec<Vec<Part>> = pieces.iter().map(|piece| reader.take(piece, false).0).collect();
        let (call, arguments) = (Part::Call("weather".to_owned()), |text: &str| Part::Arguments(text.to_owned()));
        assert_eq!(told.concat()[0], call, "{convention:?}");
        let last = if convention == CallConvention::Functions { "Oslo" } else { "\"Oslo\"" };
        assert_eq!(told[2], [arguments(last)], "{convention:?}");
    }
}

#[test]
fn what_is_no_call_stays_as_it_is() {
    for (convention, text) in [
        (CallConvention::Tagged, "a < b, and <tool_calls> too\n"),
        (CallConvention::Tagged, "<tool_call>{\"name\": \"unknown\", \"arguments\": {}}</tool_call> so"),
        (CallConvention::Tagged, "<tool_call>{\"name\": \"now\", "),
        (CallConvention::Tagged, "<tool_call>{\"name\": \"weather\"}</tool_call>"),
        (CallConvention::Listed, "[TOOL_CALLS] soon"),
        (CallConvention::Listed, "[1, 2]"),
        (CallConvention::Named, "[TOOL_CALLS]elsewhere[ARGS]{}"),
        (CallConvention::Named, "[TOOL_CALLS] [{\"name\": \"now\"}]"),
        (CallConvention::Functions, "<tool_call>\n<function=unknown>\n</function>"),
        (CallConvention::Plain, "{\"name\": \"Alice\", \"age\": 3}"),
        (CallConvention::Plain, "{\"name\": \"weather\", \"age\": 3}"),
        (CallConvention::Plain, "{\"name\": \"weather\", \"arguments\": \"Oslo\"}"),
        (CallConvention::Plain, "The call is {\"name\": \"now\", \"arguments\": {}}"),
        (CallConvention::Plain, " \n"),
    ] {
        assert_eq!(read(convention, &[text]), (text.to_owned(), vec![]), "{convention:?}");
    }
    let many = "<tool_call>{\"name\": \"now\"}</tool_call>".repeat(100);
    assert_eq!(read(CallConvention::Tagged, &[&many]).1.len(), CALLS_MAX);
}

#[test]
fn an_answer_of_a_form_has_calls_only_at_its_beginning() {
    let call = format!("<tool_call>{ONE}</tool_call>");
    let two = format!("\n{call}\n{call}");
    assert_eq!(read_from(true, CallConvention::Tagged, &[&two]), (String::new(), vec![oslo(), oslo()]));
    let quoted = "{\"a\": \"<tool_call><function=now></function></tool_call>\"}";
    assert_eq!(read_from(true, CallConvention::Functions, &[quoted]), (quoted.to_owned(), vec![]));
    assert_eq!(read_from(false, CallConvention::Functions, &[quoted]).1, [now()]);
}

#[test]
fn a_call_has_a_name_of_its_own() {
    let ids: std::collections::BTreeSet<String> =
        (0..100).map(|index| call_id("chatcmpl-7", index / 10, index % 10)).collect();
    assert_eq!(ids.len(), 100);
    assert!(ids.iter().all(|id| id.len() == 9 && id.chars().all(|character| character.is_ascii_alphanumeric())));
}

proptest! {
    #[test]
    fn it_does_not_matter_where_pieces_end(
        parts in prop::collection::vec(prop::sample::select(vec![
            "<tool_call>", "</tool_call>", "{\"name\": \"now\"}", "\n", " ", "text", "<", "ü", "[TOOL_CALLS]", "[", "]", ",",
                "{\"name\": \"weather\", \"arguments\": ", "{\"city\": \"Oslo\"}", "}", "weather[ARGS]", "<function=weather>",
                "<parameter=city>", "<parameter=days>", "</parameter>", "</function>"]), 0..12),
        cuts in prop::collection::vec(1usize..6, 80)
    ) {
        let whole = parts.concat();
        let (mut pieces, mut rest) = (Vec::new(), whole.as_str());
        for cut in cuts {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(cut.min(rest.len())));
            pieces.push(piece);
            rest = after;
        }
        pieces.push(rest);
        for convention in [
                CallConvention::Tagged, CallConvention::Functions, CallConvention::Listed, CallConvention::Named, CallConvention::Plain
            ] {
            let (text, calls) = read(convention, &[&whole]);
            let expected = (text.clone(), calls.clone());
            prop_assert_eq!(read(convention, &pieces), expected);
            prop_assert!(!calls.is_empty() || text == whole, "`{}` for `{}`", text, whole);
        }
    }
}
