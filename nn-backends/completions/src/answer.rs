//! Answers as OpenAI's API writes them: one object, or the chunks of a stream.

use headland_generation::{Delta, End, FinishReason, Token, Usage};
use serde_json::{Value, json};

use crate::calls::{CallReader, CallReading, Part, Read, call_id};

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

    /// The call numbered `number` of the choice `index`.
    fn call(&self, index: usize, number: usize, Call { name, arguments }: &Call) -> Value {
        let function = json!({"name": name, "arguments": arguments});
        json!({"id": call_id(&self.id, index, number), "type": "function", "function": function})
    }
}

/// A call of a tool.
#[derive(Clone, Debug, Default)]
struct Call {
    name: String,
    /// JSON.
    arguments: String,
}

/// Makes the chunks of a stream.
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

    /// The first chunk of the choice `index`: a chat says who speaks, a text may begin with its prompt.
    pub fn begin(&self, index: usize, echo: Option<&str>) -> Option<Value> {
        let choice = match (self.head.kind, echo) {
            (Kind::Chat, _) => {
                json!({"index": index, "delta": {"role": "assistant", "content": ""}, "logprobs": null, "finish_reason": null})
            }
            (Kind::Text, Some(prompt)) => {
                json!({"index": index, "text": prompt, "logprobs": null, "finish_reason": null})
            }
            (Kind::Text, None) => return None,
        };
        Some(self.chunk(vec![choice]))
    }

    /// The chunks for what was added to the choice `index`; none where nothing can be told yet. A call is one for itself, and
    /// its arguments are others.
    pub fn delta(&mut self, index: usize, delta: &Delta, names: Names) -> Vec<Value> {
        let reason = match &delta.end {
            Some(Ok(End { reason, usage, .. })) => {
                add(&mut self.usage, usage, index.is_multiple_of(self.head.each));
                Some(*reason)
            }
            _ => None,
        };
        let mut logprobs = logprobs(self.head.kind, &delta.tokens, names);
        let before = self.readers.get(index).map_or(0, CallReader::calls);
        let (Read(mut parts), calls) = match self.readers.get_mut(index) {
            Some(reader) => (reader.take(&delta.text, delta.end.is_some()), reader.calls()),
            None => (Read::of_text(&delta.text), 0),
        };
        if parts.is_empty() {
            if reason.is_none() && logprobs.is_null() {
                return Vec::new();
            }
            parts.push(Part::Text(String::new()));
        }
        let (last, mut number) = (parts.len() - 1, before);
        let mut chunks = Vec::with_capacity(parts.len());
        for (at, part) in parts.into_iter().enumerate() {
            let reason = reason.filter(|_| at == last).map(|reason| word(reason, calls));
            number += usize::from(matches!(part, Part::Call(_)));
            let added = self.added(index, number, part);
            let key = if self.head.kind == Kind::Chat { "delta" } else { "text" };
            let choice = json!({"index": index, (key): added, "logprobs": logprobs.take(), "finish_reason": reason});
            chunks.push(self.chunk(vec![choice]));
        }
        chunks
    }

    /// What a part adds to the choice `index`, which has had so many calls with it.
    fn added(&self, index: usize, calls: usize, part: Part) -> Value {
        match (self.head.kind, part) {
            (Kind::Text, Part::Text(text)) => text.into(),
            (_, Part::Text(text)) if text.is_empty() => json!({}),
            (_, Part::Text(text)) => json!({"content": text}),
            (_, Part::Call(name)) => {
                let number = calls.saturating_sub(1);
                let mut call = self.head.call(index, number, &Call { name, ..Call::default() });
                call["index"] = number.into();
                json!({"tool_calls": [call]})
            }
            (_, Part::Arguments(arguments)) => {
                let number = calls.saturating_sub(1);
                json!({"tool_calls": [{"index": number, "function": {"arguments": arguments}}]})
            }
        }
    }

    /// The last chunk, once all choices have ended; none where the client did not ask for it.
    pub fn end(&self) -> Option<Value> {
        let mut object = self.head.object(true, Vec::new());
        object["usage"] = self.usage();
        self.include_usage.then_some(object)
    }

    /// What the choices took that have ended.
    pub fn usage(&self) -> Value {
        usage(&self.usage)
    }

    fn chunk(&self, choices: Vec<Value>) -> Value {
        let mut object = self.head.object(true, choices);
        if self.include_usage {
            object["usage"] = Value::Null;
        }
        object
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
        let Read(parts) = match &mut choice.reader {
            Some(reader) => reader.take(&delta.text, delta.end.is_some()),
            None => Read::of_text(&delta.text),
        };
        for part in parts {
            match (part, choice.calls.last_mut()) {
                (Part::Text(text), _) => choice.text.push_str(&text),
                (Part::Call(name), _) => choice.calls.push(Call { name, ..Call::default() }),
                (Part::Arguments(arguments), call) => call.into_iter().for_each(|call| call.arguments += &arguments),
            }
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
                        let calls = choice.calls.iter().enumerate();
                        message["tool_calls"] =
                            calls.map(|(number, call)| self.head.call(index, number, call)).collect();
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
fn usage(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.answer_tokens,
        "total_tokens": usage.prompt_tokens + usage.answer_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    })
}

fn logprobs<'t>(kind: Kind, tokens: &'t [Token], names: Names) -> Value {
    let with = |token: &'t Token| Some((token.id, token.logprobs.as_ref()?, token.text_offset));
    let told: Vec<_> = tokens.iter().filter_map(with).collect();
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
            let content = told.iter().map(|(id, logprobs, _)| {
                let mut content = entry(*id, logprobs.chosen);
                content["top_logprobs"] = logprobs.top.iter().map(|(id, logprob)| entry(*id, *logprob)).collect();
                content
            });
            json!({"content": content.collect::<Vec<_>>(), "refusal": null})
        }
        Kind::Text => {
            let top = told.iter().map(|(_, logprobs, _)| {
                let top = logprobs.top.iter().map(|(id, logprob)| (named(*id), finite(*logprob).into()));
                Value::Object(top.collect())
            });
            json!({
                "tokens": told.iter().map(|(id, ..)| named(*id)).collect::<Vec<_>>(),
                "token_logprobs": told.iter().map(|(_, logprobs, _)| finite(logprobs.chosen)).collect::<Vec<_>>(),
                "top_logprobs": top.collect::<Vec<_>>(),
                "text_offset": told.iter().map(|(.., offset)| *offset).collect::<Vec<_>>(),
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
mod tests;
