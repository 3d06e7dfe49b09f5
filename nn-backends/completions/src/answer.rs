//! Answers as OpenAI's API writes them: one object, or chunks that are events of a stream.

use headland_generation::{Delta, End, FinishReason, Token, Usage};
use serde_json::{Value, json};

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
}

/// Makes the events of a stream. Each is to be sent as it is.
#[derive(Clone, Debug)]
pub struct Chunks {
    head: Head,
    include_usage: bool,
    usage: Usage,
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
}

/// Names of tokens, as logarithms of likelihoods are told with them.
type Names<'a> = &'a dyn Fn(u32) -> String;

impl Chunks {
    /// For the answers to one request, `each` to every prompt; `id` is unique, `model` as the client called it.
    pub fn new(kind: Kind, id: String, created_unix_s: u64, model: String, each: usize, include_usage: bool) -> Self {
        Chunks { head: Head { kind, id, created_unix_s, model, each }, include_usage, usage: Usage::default() }
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
            Some(Ok(End { reason, usage })) => {
                add(&mut self.usage, usage, index.is_multiple_of(self.head.each));
                Some(*reason)
            }
            _ => None,
        };
        let logprobs = logprobs(self.head.kind, &delta.tokens, names);
        if delta.text.is_empty() && reason.is_none() && logprobs.is_null() {
            return None;
        }
        let reason = reason.map(word);
        let choice = match self.head.kind {
            Kind::Chat => {
                let content = if delta.text.is_empty() { json!({}) } else { json!({"content": delta.text}) };
                json!({"index": index, "delta": content, "logprobs": logprobs, "finish_reason": reason})
            }
            Kind::Text => json!({"index": index, "text": delta.text, "logprobs": logprobs, "finish_reason": reason}),
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
            if let Some(message) = choice.as_object_mut().and_then(|choice| choice.remove("message")) {
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

    /// Puts the prompt before the choice `index`.
    pub fn echo(&mut self, index: usize, prompt: &str) {
        self.choices[index].text.push_str(prompt);
    }

    /// Adds to the choice `index`.
    pub fn add(&mut self, index: usize, delta: Delta) {
        let choice = &mut self.choices[index];
        choice.text.push_str(&delta.text);
        choice.tokens.extend(delta.tokens);
        if let Some(Ok(End { reason, usage })) = delta.end {
            choice.reason = Some(reason);
            add(&mut self.usage, &usage, index.is_multiple_of(self.head.each));
        }
    }

    /// The object.
    pub fn finish(self, names: Names) -> Value {
        let kind = self.head.kind;
        let choice = |(index, choice): (usize, &Choice)| {
            let (reason, logprobs) = (choice.reason.map(word), logprobs(kind, &choice.tokens, names));
            match kind {
                Kind::Chat => json!({
                    "index": index, "message": {"role": "assistant", "content": choice.text, "refusal": null},
                    "logprobs": logprobs, "finish_reason": reason,
                }),
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

fn word(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
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
    match kind {
        Kind::Chat => {
            let entry = |id: u32, logprob: f32| {
                let name = names(id);
                json!({"bytes": name.as_bytes(), "token": name, "logprob": finite(logprob)})
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
                let top = logprobs.top.iter().map(|(id, logprob)| (names(*id), finite(*logprob).into()));
                Value::Object(top.collect())
            });
            json!({
                "tokens": told.iter().map(|(id, _)| names(*id)).collect::<Vec<_>>(),
                "token_logprobs": told.iter().map(|(_, logprobs)| finite(logprobs.chosen)).collect::<Vec<_>>(),
                "top_logprobs": top.collect::<Vec<_>>(),
            })
        }
    }
}

/// JSON has no word for what cannot be; OpenAI's for it is this number.
fn finite(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob } else { -9999.0 }
}

#[cfg(test)]
mod tests {
    use headland_generation::sampling::Logprobs;

    use super::*;

    fn name(id: u32) -> String {
        format!("t{id}")
    }

    fn delta(text: &str, end: Option<FinishReason>) -> Delta {
        let logprobs = Some(Logprobs { chosen: -0.5, top: vec![(4, -0.5), (5, f32::NEG_INFINITY)] });
        let usage = Usage { prompt_tokens: 3, cached_tokens: 1, answer_tokens: 2 };
        let end = end.map(|reason| Ok(End { reason, usage }));
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
}
