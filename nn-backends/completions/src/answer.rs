//! Answers as OpenAI's API writes them: one object, or chunks that are events of a stream.

use headland_generation::{Delta, End, FinishReason, Token, Usage};
use serde_json::{Value, json};

use crate::calls::{Call, CallReader, CallReading, Read, call_id};

/// Which route answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Text,
}

/// What all objects of one answer say of themselves.
#[derive(Clone, Debug)]
struct Head {
    kind: Kind,
    id: String,
    created_unix_s: u64,
    model: String,
    /// Answers to each prompt: the first of them tells what the prompt took.
    each: usize,
}

impl Head {
    fn object(&self, chunk: bool, choices: Vec<Value>) -> Value {
        let object = match (self.kind, chunk) {
            (Kind::Chat, true) => "chat.completion.chunk",
            (Kind::Chat, false) => "chat.completion",
            (Kind::Text, _) => "text_completion",
        };
        json!({
            "id": self.id, "object": object, "created": self.created_unix_s, "model": self.model, "choices": choices,
        })
    }

    /// Calls of the choice `index`, the first of them its call number `first`; in a chunk each says its number.
    fn calls(&self, index: usize, first: usize, calls: &[Call], chunk: bool) -> Value {
        let call = |(number, call): (usize, &Call)| {
            let function = json!({"name": call.name, "arguments": call.arguments});
            let mut object = json!({"id": call_id(&self.id, index, number), "type": "function", "function": function});
            if chunk {
                object["index"] = number.into();
            }
            object
        };
        (first..).zip(calls).map(call).collect()
    }
}

/// Makes the events of a stream. Each is to be sent as it is.
#[derive(Clone, Debug)]
pub struct Chunks {
    head: Head,
    include_usage: bool,
    usage: Usage,
    /// One for each choice, where calls are read.
    readers: Vec<CallReader>,
}

/// Puts answers together, one object in the end.
#[derive(Clone, Debug)]
pub struct Whole {
    head: Head,
    choices: Vec<Choice>,
    usage: Usage,
}

#[derive(Clone, Debug, Default)]
struct Choice {
    text: String,
    tokens: Vec<Token>,
    reason: Option<FinishReason>,
    reader: Option<CallReader>,
    calls: Vec<Call>,
}

/// Bytes of tokens, as logarithms of likelihoods are told with them.
type Names<'a> = &'a dyn Fn(u32) -> Vec<u8>;

impl Chunks {
    /// For the answers to one request, `each` to every prompt; `id` is unique, `model` as the client called it.
    pub fn new(kind: Kind, id: String, created_unix_s: u64, model: String, each: usize, include_usage: bool) -> Self {
        Chunks {
            head: Head { kind, id, created_unix_s, model, each },
            include_usage,
            usage: Usage::default(),
            readers: Vec::new(),
        }
    }

    /// Reads the calls in what a model writes.
    pub fn with_calls(mut self, reading: Option<CallReading>) -> Self {
        self.readers = reading.map_or_else(Vec::new, |reading| vec![CallReader::new(reading); self.head.each]);
        self
    }

    /// The first event of the choice `index`: a chat says who speaks, a text may begin with its prompt.
    pub fn begin(&self, index: usize, echo: Option<&str>) -> Option<String> {
        let choice = match (self.head.kind, echo) {
            (Kind::Chat, _) => {
                json!({"index": index, "delta": {"role": "assistant", "content": ""}, "logprobs": null, "finish_reason": null})
            }
            (Kind::Text, Some(prompt)) => {
                json!({"index": index, "text": prompt, "logprobs": null, "finish_reason": null})
            }
            (Kind::Text, None) => return None,
        };
        Some(self.event(vec![choice]))
    }

    /// The event for what was added to the choice `index`; none where nothing can be told yet.
    pub fn delta(&mut self, index: usize, delta: &Delta, names: Names) -> Option<String> {
        let reason = match &delta.end {
            Some(Ok(End { reason, usage, .. })) => {
                add(&mut self.usage, usage, index.is_multiple_of(self.head.each));
                Some(*reason)
            }
            _ => None,
        };
        let logprobs = logprobs(self.head.kind, &delta.tokens, names);
        let reader = self.readers.get_mut(index);
        let first = reader.as_ref().map_or(0, |reader| reader.calls());
        let (read, calls) = match reader {
            Some(reader) => (reader.take(&delta.text, delta.end.is_some()), reader.calls()),
            None => (Read { text: delta.text.clone(), calls: Vec::new() }, 0),
        };
        if read.text.is_empty() && read.calls.is_empty() && reason.is_none() && logprobs.is_null() {
            return None;
        }
        let reason = reason.map(|reason| word(reason, calls));
        let choice = match self.head.kind {
            Kind::Chat => {
                let mut content = json!({});
                if !read.text.is_empty() {
                    content["content"] = read.text.into();
                }
                if !read.calls.is_empty() {
                    content["tool_calls"] = self.head.calls(index, first, &read.calls, true);
                }
                json!({"index": index, "delta": content, "logprobs": logprobs, "finish_reason": reason})
            }
            Kind::Text => json!({"index": index, "text": read.text, "logprobs": logprobs, "finish_reason": reason}),
        };
        Some(self.event(vec![choice]))
    }

    /// The last events, once all choices have ended.
    pub fn end(&self) -> String {
        let mut events = String::new();
        if self.include_usage {
            let mut object = self.head.object(true, Vec::new());
            object["usage"] = usage(&self.usage);
            events = event(&object);
        }
        events + "data: [DONE]\n\n"
    }

    /// The last event of a stream that fails on its way: its head has gone, and no status can tell.
    pub fn failure(message: &str) -> String {
        event(&json!({"error": {"message": message, "type": "server_error", "param": null, "code": "internal"}}))
    }

    /// All events of an answer that has come whole, as [`Whole::finish`] wrote it.
    pub fn of_whole(kind: Kind, mut object: Value, include_usage: bool) -> String {
        let (mut choices, usage) = (object["choices"].take(), object["usage"].take());
        if kind == Kind::Chat {
            object["object"] = "chat.completion.chunk".into();
        }
        for choice in choices.as_array_mut().into_iter().flatten() {
            // What a message is as a whole, its one delta is too.
            if let Some(mut message) = choice.as_object_mut().and_then(|choice| choice.remove("message")) {
                for (number, call) in message["tool_calls"].as_array_mut().into_iter().flatten().enumerate() {
                    call["index"] = number.into();
                }
                choice["delta"] = message;
            }
        }
        let mut events = String::new();
        object["choices"] = choices;
        events += &event(&object);
        if include_usage {
            object["choices"] = json!([]);
            object["usage"] = usage;
            events += &event(&object);
        }
        events + "data: [DONE]\n\n"
    }

    fn event(&self, choices: Vec<Value>) -> String {
        let mut object = self.head.object(true, choices);
        if self.include_usage {
            object["usage"] = Value::Null;
        }
        event(&object)
    }
}

impl Whole {
    /// For `choices` answers to one request, `each` to every prompt.
    pub fn new(kind: Kind, id: String, created_unix_s: u64, model: String, each: usize, choices: usize) -> Self {
        let head = Head { kind, id, created_unix_s, model, each };
        Whole { head, choices: vec![Choice::default(); choices], usage: Usage::default() }
    }

    /// Reads the calls in what a model writes.
    pub fn with_calls(mut self, reading: Option<CallReading>) -> Self {
        for choice in &mut self.choices {
            choice.reader = reading.clone().map(CallReader::new);
        }
        self
    }

    /// Puts the prompt before the choice `index`.
    pub fn echo(&mut self, index: usize, prompt: &str) {
        self.choices[index].text.push_str(prompt);
    }

    /// Adds to the choice `index`.
    pub fn add(&mut self, index: usize, delta: Delta) {
        let choice = &mut self.choices[index];
        match &mut choice.reader {
            Some(reader) => {
                let Read { text, calls } = reader.take(&delta.text, delta.end.is_some());
                choice.text.push_str(&text);
                choice.calls.extend(calls);
            }
            None => choice.text.push_str(&delta.text),
        }
        choice.tokens.extend(delta.tokens);
        if let Some(Ok(End { reason, usage, .. })) = delta.end {
            choice.reason = Some(reason);
            add(&mut self.usage, &usage, index.is_multiple_of(self.head.each));
        }
    }

    /// The object.
    pub fn finish(self, names: Names) -> Value {
        let kind = self.head.kind;
        let choice = |(index, choice): (usize, &Choice)| {
            let reason = choice.reason.map(|reason| word(reason, choice.calls.len()));
            let logprobs = logprobs(kind, &choice.tokens, names);
            match kind {
                Kind::Chat => {
                    let mut message = json!({"role": "assistant", "content": choice.text, "refusal": null});
                    if !choice.calls.is_empty() {
                        message["tool_calls"] = self.head.calls(index, 0, &choice.calls, false);
                        // A model that calls need not say anything.
                        if choice.text.is_empty() {
                            message["content"] = Value::Null;
                        }
                    }
                    json!({"index": index, "message": message, "logprobs": logprobs, "finish_reason": reason})
                }
                Kind::Text => {
                    json!({"index": index, "text": choice.text, "logprobs": logprobs, "finish_reason": reason})
                }
            }
        };
        let mut object = self.head.object(false, self.choices.iter().enumerate().map(choice).collect());
        object["usage"] = usage(&self.usage);
        object
    }
}

/// An event of a stream.
fn event(object: &Value) -> String {
    format!("data: {object}\n\n")
}

/// Why an answer with so many calls ended.
fn word(reason: FinishReason, calls: usize) -> &'static str {
    match reason {
        FinishReason::Stop if calls > 0 => "tool_calls",
        other => other.word(),
    }
}

/// Answers to one prompt share it: it counts with the first.
fn add(all: &mut Usage, one: &Usage, first: bool) {
    if first {
        all.prompt_tokens += one.prompt_tokens;
        all.cached_tokens += one.cached_tokens;
    }
    all.answer_tokens += one.answer_tokens;
}

/// What an answer took, as OpenAI's API writes it.
pub fn usage(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.answer_tokens,
        "total_tokens": usage.prompt_tokens + usage.answer_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    })
}

fn logprobs(kind: Kind, tokens: &[Token], names: Names) -> Value {
    let told: Vec<_> = tokens.iter().filter_map(|token| Some((token.id, token.logprobs.as_ref()?))).collect();
    if told.is_empty() {
        return Value::Null;
    }
    // As OpenAI's older route has them.
    let named = |id: u32| written(&names(id), "bytes:");
    match kind {
        Kind::Chat => {
            let entry = |id: u32, logprob: f32| {
                let bytes = names(id);
                json!({"token": written(&bytes, ""), "bytes": bytes, "logprob": finite(logprob)})
            };
            let content = told.iter().map(|(id, logprobs)| {
                let mut content = entry(*id, logprobs.chosen);
                content["top_logprobs"] = logprobs.top.iter().map(|(id, logprob)| entry(*id, *logprob)).collect();
                content
            });
            json!({"content": content.collect::<Vec<_>>(), "refusal": null})
        }
        Kind::Text => {
            let top = told.iter().map(|(_, logprobs)| {
                let top = logprobs.top.iter().map(|(id, logprob)| (named(*id), finite(*logprob).into()));
                Value::Object(top.collect())
            });
            json!({
                "tokens": told.iter().map(|(id, _)| named(*id)).collect::<Vec<_>>(),
                "token_logprobs": told.iter().map(|(_, logprobs)| finite(logprobs.chosen)).collect::<Vec<_>>(),
                "top_logprobs": top.collect::<Vec<_>>(),
            })
        }
    }
}

/// A token's text; of one that is no whole characters its bytes in hexadecimal, after `mark`.
fn written(bytes: &[u8], mark: &str) -> String {
    match str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().fold(mark.to_owned(), |text, byte| text + &format!("\\x{byte:02x}")),
    }
}

/// JSON has no word for what cannot be; OpenAI's for it is this number.
fn finite(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob } else { -9999.0 }
}

#[cfg(test)]
mod tests {
    use headland_generation::AnswerTiming;
    use headland_generation::sampling::Logprobs;

    use super::*;

    fn name(id: u32) -> Vec<u8> {
        format!("t{id}").into_bytes()
    }

    #[test]
    fn parts_of_characters_are_told_by_their_bytes() {
        assert_eq!(
            (written("é".as_bytes(), "bytes:").as_str(), written(&[0xf0, 0x9f], "").as_str()),
            ("é", r"\xf0\x9f")
        );
        assert_eq!(written(&[0xf0], "bytes:"), r"bytes:\xf0");
    }

    fn delta(text: &str, end: Option<FinishReason>) -> Delta {
        let logprobs = Some(Logprobs { chosen: -0.5, top: vec![(4, -0.5), (5, f32::NEG_INFINITY)] });
        let usage = Usage { prompt_tokens: 3, cached_tokens: 1, answer_tokens: 2 };
        let end = end.map(|reason| Ok(End { reason, usage, timing: AnswerTiming::default() }));
        Delta { text: text.into(), tokens: vec![Token { id: 4, logprobs }], end }
    }

    fn object(event: &str) -> Value {
        serde_json::from_str(event.strip_prefix("data: ").unwrap().strip_suffix("\n\n").unwrap()).unwrap()
    }

    #[test]
    fn a_stream_has_a_beginning_pieces_and_an_end() {
        let mut chunks = Chunks::new(Kind::Chat, "chatcmpl-1".into(), 7, "m".into(), 1, true);
        let begin = object(&chunks.begin(0, None).unwrap());
        assert_eq!((&begin["object"], &begin["usage"]), (&json!("chat.completion.chunk"), &Value::Null));
        assert_eq!(begin["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
        let piece = object(&chunks.delta(0, &delta("héllo\n", None), &name).unwrap());
        assert_eq!(piece["choices"][0]["delta"], json!({"content": "héllo\n"}));
        assert_eq!(piece["choices"][0]["logprobs"]["content"][0]["top_logprobs"][1]["logprob"], json!(-9999.0));
        let last = object(&chunks.delta(0, &delta("", Some(FinishReason::Length)), &name).unwrap());
        assert_eq!(last["choices"][0]["finish_reason"], json!("length"));
        assert_eq!(chunks.delta(0, &Delta::default(), &name), None);
        let end = chunks.end();
        let (usage, done) = end.split_at(end.find("data: [DONE]").unwrap());
        assert_eq!(done, "data: [DONE]\n\n");
        assert_eq!((&object(usage)["choices"], &object(usage)["usage"]["total_tokens"]), (&json!([]), &json!(5)));
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
        assert_eq!((&object["usage"]["prompt_tokens"], &object["usage"]["completion_tokens"]), (&json!(3), &json!(4)));
        let mut chat = Whole::new(Kind::Chat, "chatcmpl-1".into(), 7, "m".into(), 1, 1);
        chat.add(0, Delta { tokens: vec![], ..delta("hi", Some(FinishReason::Stop)) });
        let object = chat.finish(&name);
        assert_eq!(object["choices"][0]["message"]["content"], json!("hi"));
        assert_eq!((&object["choices"][0]["logprobs"], &object["object"]), (&Value::Null, &json!("chat.completion")));
    }

    #[test]
    fn calls_are_told_with_their_numbers() {
        let reading = || {
            let names = ["now".to_owned()].into();
            Some(CallReading { convention: headland_chat::CallConvention::Tagged, names })
        };
        let pieces = ["Wait.\n<tool", "_call>{\"name\": \"now\"}</tool_call>", "\n<tool_call>{\"name\": \"now\"}"];
        let ends = [None, None, Some(FinishReason::Stop)];
        let deltas = pieces.iter().zip(ends).map(|(piece, end)| Delta { tokens: vec![], ..delta(piece, end) });
        let mut chunks = Chunks::new(Kind::Chat, "chatcmpl-1".into(), 7, "m".into(), 1, false).with_calls(reading());
        let events: Vec<Value> =
            deltas.clone().filter_map(|delta| chunks.delta(0, &delta, &name)).map(|event| object(&event)).collect();
        let of = |event: &Value| event["choices"][0]["delta"].clone();
        assert_eq!(of(&events[0]), json!({"content": "Wait."}));
        let [first, second] = [&events[1], &events[2]].map(|event| of(event)["tool_calls"][0].clone());
        assert_eq!((&first["index"], &second["index"]), (&json!(0), &json!(1)));
        assert_eq!(first["function"], json!({"name": "now", "arguments": "{}"}));
        assert_ne!(first["id"], second["id"]);
        assert_eq!(events[2]["choices"][0]["finish_reason"], json!("tool_calls"));
        let whole = Whole::new(Kind::Chat, "chatcmpl-1".into(), 7, "m".into(), 1, 1);
        let mut whole = whole.with_calls(reading());
        deltas.skip(1).for_each(|delta| whole.add(0, delta));
        let object = whole.finish(&name);
        let message = &object["choices"][0]["message"];
        assert_eq!(message["content"], json!("_call>{\"name\": \"now\"}</tool_call>"));
        assert_eq!(message["tool_calls"].as_array().unwrap().len(), 1);
        let events = Chunks::of_whole(Kind::Chat, object, false);
        assert!(events.contains(r#""tool_calls":[{"id""#) && events.contains(r#""index":0"#));
    }

    #[test]
    fn an_answer_that_only_calls_says_nothing() {
        let names = ["now".to_owned()].into();
        let reading = CallReading { convention: headland_chat::CallConvention::Parameters, names };
        let whole = Whole::new(Kind::Chat, "chatcmpl-1".into(), 7, "m".into(), 1, 1);
        let mut whole = whole.with_calls(Some(reading));
        whole.add(0, delta("{\"name\": \"now\", \"parameters\"", None));
        whole.add(0, delta(": {\"a\": [1]}}", Some(FinishReason::Stop)));
        let choice = whole.finish(&name)["choices"][0].take();
        assert_eq!((&choice["message"]["content"], &choice["finish_reason"]), (&Value::Null, &json!("tool_calls")));
        assert_eq!(choice["message"]["tool_calls"][0]["function"]["arguments"], json!("{\"a\":[1]}"));
    }
}
