//! Events and objects as clients of OpenAI's API get them.

use headland_chat::{CallConvention, Tool};
use headland_generation::AnswerTiming;
use headland_generation::sampling::Logprobs;

use super::*;

fn name(id: u32) -> Vec<u8> {
    format!("t{id}").into_bytes()
}

#[test]
fn parts_of_characters_are_told_by_their_bytes() {
    assert_eq!((written("é".as_bytes(), "bytes:").as_str(), written(&[0xf0, 0x9f], "").as_str()), ("é", r"\xf0\x9f"));
    assert_eq!(written(&[0xf0], "bytes:"), r"bytes:\xf0");
}

fn delta(text: &str, end: Option<FinishReason>) -> Delta {
    let logprobs = Some(Logprobs { chosen: -0.5, top: vec![(4, -0.5), (5, f32::NEG_INFINITY)] });
    let usage = Usage { prompt_tokens: 3, cached_tokens: 1, answer_tokens: 2 };
    let end = end.map(|reason| Ok(End { reason, usage, timing: AnswerTiming::default() }));
    Delta { text: text.into(), tokens: vec![Token { id: 4, text_offset: 3, logprobs }], end }
}

#[test]
fn a_stream_has_a_beginning_pieces_and_an_end() {
    let mut chunks = Chunks::new(Kind::Chat, "chatcmpl-1".into(), 7, "m".into(), 1, true);
    let begin = chunks.begin(0, None).unwrap();
    assert_eq!((&begin["object"], &begin["usage"]), (&json!("chat.completion.chunk"), &Value::Null));
    assert_eq!(begin["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    let piece = &chunks.delta(0, &delta("héllo\n", None), &name)[0];
    assert_eq!(piece["choices"][0]["delta"], json!({"content": "héllo\n"}));
    assert_eq!(piece["choices"][0]["logprobs"]["content"][0]["top_logprobs"][1]["logprob"], json!(-9999.0));
    let last = &chunks.delta(0, &delta("", Some(FinishReason::Length)), &name)[0];
    assert_eq!(last["choices"][0]["finish_reason"], json!("length"));
    assert!(chunks.delta(0, &Delta::default(), &name).is_empty());
    let end = chunks.end().unwrap();
    assert_eq!((&end["choices"], &end["usage"]["total_tokens"]), (&json!([]), &json!(5)));
    assert_eq!(Chunks { include_usage: false, ..chunks }.end(), None);
}

#[test]
fn a_whole_answer_has_all_choices() {
    let mut whole = Whole::new(Kind::Text, "cmpl-1".into(), 7, "m".into(), 2, 2);
    whole.echo(1, "Say ");
    whole.add(0, delta("a", None));
    whole.add(1, delta("b", Some(FinishReason::Stop)));
    whole.add(0, delta("c", Some(FinishReason::Length)));
    let object = whole.finish(&name);
    assert_eq!((&object["choices"][0]["text"], &object["choices"][1]["text"]), (&json!("ac"), &json!("Say b")));
    assert_eq!(object["choices"][0]["logprobs"]["tokens"], json!(["t4", "t4"]));
    assert_eq!(object["choices"][0]["logprobs"]["text_offset"], json!([3, 3]));
    assert_eq!((&object["usage"]["prompt_tokens"], &object["usage"]["completion_tokens"]), (&json!(3), &json!(4)));
    let mut chat = Whole::new(Kind::Chat, "chatcmpl-1".into(), 7, "m".into(), 1, 1);
    chat.add(0, Delta { tokens: vec![], ..delta("hi", Some(FinishReason::Stop)) });
    let object = chat.finish(&name);
    assert_eq!(object["choices"][0]["message"]["content"], json!("hi"));
    assert_eq!((&object["choices"][0]["logprobs"], &object["object"]), (&Value::Null, &json!("chat.completion")));
}

fn reading(convention: CallConvention) -> Option<CallReading> {
    let tools = [Tool { name: "now".to_owned(), parameters: Some(json!({"type": "object"})) }].into();
    Some(CallReading { convention, tools, from_the_beginning: false })
}

#[test]
fn calls_are_told_with_their_numbers_and_their_arguments_piece_by_piece() {
    let call = "<tool_call>{\"name\": \"now\", \"arguments\": ";
    let pieces = ["Wait.\n<tool", &call[5..], "{\"a\": ", &format!("1}}}}</tool_call>\n{call}{{}}")];
    let ends = [None, None, None, Some(FinishReason::Stop)];
    let deltas = pieces.iter().zip(ends).map(|(piece, end)| Delta { tokens: vec![], ..delta(piece, end) });
    let chunks = Chunks::new(Kind::Chat, "chatcmpl-1".into(), 7, "m".into(), 1, false);
    let mut chunks = chunks.with_calls(reading(CallConvention::Tagged));
    let events = deltas.clone().flat_map(|delta| chunks.delta(0, &delta, &name));
    let choices: Vec<Value> = events.map(|event| event["choices"][0].clone()).collect();
    let told: Vec<Value> = choices.iter().map(|choice| choice["delta"].clone()).collect();
    let call = |number: usize| {
        let id = call_id("chatcmpl-1", 0, number);
        json!({"tool_calls": [{"index": number, "id": id, "type": "function", "function": {"name": "now", "arguments": ""}}]})
    };
    let arguments =
        |number: usize, text: &str| json!({"tool_calls": [{"index": number, "function": {"arguments": text}}]});
    let expected = [
        json!({"content": "Wait."}),
        call(0),
        arguments(0, "{\"a\": "),
        arguments(0, "1}"),
        call(1),
        arguments(1, "{}"),
    ];
    assert_eq!(told, expected);
    let reasons: Vec<Value> = choices.iter().map(|choice| choice["finish_reason"].clone()).collect();
    assert_eq!(reasons, [json!(null), json!(null), json!(null), json!(null), json!(null), json!("tool_calls")]);

    let whole = Whole::new(Kind::Chat, "chatcmpl-1".into(), 7, "m".into(), 1, 1);
    let mut whole = whole.with_calls(reading(CallConvention::Tagged));
    deltas.for_each(|delta| whole.add(0, delta));
    let object = whole.finish(&name);
    let message = &object["choices"][0]["message"];
    assert_eq!(message["content"], json!("Wait."));
    let calls = message["tool_calls"].as_array().unwrap();
    let function = json!({"name": "now", "arguments": "{\"a\": 1}"});
    assert_eq!((calls.len(), &calls[0]["function"], &calls[0]["id"]), (2, &function, &call(0)["tool_calls"][0]["id"]));
}

#[test]
fn an_answer_that_only_calls_says_nothing_and_one_that_is_cut_was_cut() {
    let answer = |last: &str, reason| {
        let whole = Whole::new(Kind::Chat, "chatcmpl-1".into(), 7, "m".into(), 1, 1);
        let mut whole = whole.with_calls(reading(CallConvention::Plain));
        whole.add(0, delta("{\"name\": \"now\", \"parameters\"", None));
        whole.add(0, delta(last, Some(reason)));
        whole.finish(&name)["choices"][0].take()
    };
    let choice = answer(": {\"a\": [1]}}", FinishReason::Stop);
    assert_eq!((&choice["message"]["content"], &choice["finish_reason"]), (&Value::Null, &json!("tool_calls")));
    assert_eq!(choice["message"]["tool_calls"][0]["function"]["arguments"], json!("{\"a\": [1]}"));
    let choice = answer(": {\"a\": [", FinishReason::Length);
    assert_eq!(choice["message"]["tool_calls"][0]["function"]["arguments"], json!("{\"a\": ["));
    assert_eq!(choice["finish_reason"], json!("length"));
}
