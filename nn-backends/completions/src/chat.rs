//! The body of `/v1/chat/completions`.

use headland_chat::Conversation;
use headland_generation::Request;
use minijinja::Value;
use minijinja::value::ValueKind;
use serde::Deserialize;

use crate::options::{self, BadRequest, Options};

/// Messages of a conversation.
const MESSAGES_MAX: usize = 2048;

/// Who speaks; what a model makes of each is for its template.
const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];

/// A request to go on with a conversation.
#[derive(Clone, Debug)]
pub struct Chat {
    /// What both kinds have.
    pub options: Options,
    /// The conversation, for the model's template.
    pub conversation: Conversation,
    logprobs: Option<u32>,
}

/// Reads a body.
///
/// # Errors
/// What is wrong with it.
pub fn parse_chat(body: &[u8]) -> Result<Chat, BadRequest> {
    #[derive(Deserialize)]
    struct Messages {
        // Keys stay in their order here, which templates write down.
        messages: Vec<Value>,
        #[serde(default)]
        chat_template_kwargs: Option<Value>,
    }
    let mut options: Options = options::parse(body)?;
    let Messages { messages, chat_template_kwargs } = options::parse(body)?;
    options.rest.remove("messages");
    options.rest.remove("chat_template_kwargs");
    let wants: bool = options.take("logprobs")?.unwrap_or(false);
    let top: Option<u32> = options.take("top_logprobs")?;
    if top.is_some() && !wants {
        return Err(BadRequest::of("top_logprobs", "`top_logprobs` goes with `\"logprobs\": true`"));
    }
    let answer: Option<bool> = options.take("add_generation_prompt")?;
    options.check_rest()?;
    if messages.is_empty() || messages.len() > MESSAGES_MAX {
        let message = format!("`messages` has {}; between 1 and {MESSAGES_MAX} are taken", messages.len());
        return Err(BadRequest::of("messages", message));
    }
    let messages = messages.iter().enumerate().map(|(index, message)| check(index, message));
    let more =
        chat_template_kwargs.iter().flat_map(|more| more.try_iter().into_iter().flatten().map(move |key| (more, key)));
    let more = more.map(|(more, key)| (key.to_string(), more.get_item(&key).unwrap_or_default())).collect();
    let conversation = Conversation {
        messages: messages.collect::<Result<Vec<Value>, _>>()?.into(),
        tools: None,
        answer: answer.unwrap_or(true),
        more,
    };
    Ok(Chat { options, conversation, logprobs: wants.then(|| top.unwrap_or(0)) })
}

impl Chat {
    /// What the engine is asked for the answer numbered `choice` to the conversation as `prompt`.
    ///
    /// # Errors
    /// For parameters that are no numbers of their kind.
    pub fn request(&self, prompt: Vec<u32>, choice: usize) -> Result<Request, BadRequest> {
        self.options.request(prompt, choice, None, self.logprobs)
    }
}

/// A message with its text in one piece.
fn check(index: usize, message: &Value) -> Result<Value, BadRequest> {
    let bad = |problem: String| BadRequest::of("messages", format!("message {index} {problem}"));
    if message.kind() != ValueKind::Map {
        return Err(bad("is no object".to_owned()));
    }
    let get = |key: &str| message.get_attr(key).unwrap_or_default();
    match get("role").as_str() {
        Some(role) if ROLES.contains(&role) => {}
        Some(role) => return Err(bad(format!("has the role `{role}`; there are {}", ROLES.join(", ")))),
        None => return Err(bad("has no role".to_owned())),
    }
    let content = get("content");
    match content.kind() {
        ValueKind::String => Ok(message.clone()),
        // What an assistant called may be all it said.
        ValueKind::None | ValueKind::Undefined if get("role").as_str() == Some("assistant") => Ok(message.clone()),
        ValueKind::Seq => {
            let mut text = String::new();
            for part in content.try_iter().into_iter().flatten() {
                let kind = part.get_attr("type").unwrap_or_default();
                match (kind.as_str(), part.get_attr("text").unwrap_or_default().as_str()) {
                    (Some("text"), Some(part)) => text.push_str(part),
                    (kind, _) => {
                        return Err(bad(format!("has a part of type `{}`; only `text` is read", kind.unwrap_or("?"))));
                    }
                }
            }
            let keys = message.try_iter().into_iter().flatten();
            let with_text = keys.map(|key| match key.as_str() {
                Some("content") => (key, Value::from(text.as_str())),
                _ => {
                    let value = message.get_item(&key).unwrap_or_default();
                    (key, value)
                }
            });
            Ok(Value::from_pairs(with_text.map(|(key, value)| (key.to_string(), value))))
        }
        _ => Err(bad("has no `content` that is text".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(body: &str) -> (String, Option<String>) {
        let BadRequest { message, param } = parse_chat(body.as_bytes()).unwrap_err();
        (message, param)
    }

    #[test]
    fn what_is_wrong_is_named() {
        let hello = r#""model": "m", "messages": [{"role": "user", "content": "hi"}]"#;
        for (body, param, expected) in [
            ("{", None, "the body: EOF"),
            (r#"{"messages": []}"#, None, "missing field `model`"),
            (r#"{"model": "m", "messages": []}"#, Some("messages"), "has 0"),
            (r#"{"model": "m", "messages": [3]}"#, Some("messages"), "message 0 is no object"),
            (
                r#"{"model": "m", "messages": [{"role": "wizard", "content": ""}]}"#,
                Some("messages"),
                "the role `wizard`",
            ),
            (r#"{"model": "m", "messages": [{"role": "user"}]}"#, Some("messages"), "no `content`"),
            (
                r#"{"model": "m", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}"#,
                Some("messages"),
                "type `image_url`",
            ),
            (&format!(r#"{{{hello}, "tempreature": 1}}"#), Some("tempreature"), "is no parameter"),
            (&format!(r#"{{{hello}, "tools": [{{}}]}}"#), Some("tools"), "is not supported"),
            (&format!(r#"{{{hello}, "top_logprobs": 2}}"#), Some("top_logprobs"), "goes with"),
        ] {
            let (message, named) = error(body);
            assert!(message.contains(expected) && named.as_deref() == param, "{body}: {message}, {named:?}");
        }
    }

    #[test]
    fn what_has_no_effect_is_taken() {
        let body = r#"{"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "x"}],
            "user": "me", "tools": [], "tool_choice": "auto", "response_format": {"type": "text"}, "stop": null, "logit_bias": null,
            "n": 2, "seed": -1, "max_completion_tokens": 7, "logprobs": true, "top_logprobs": 3, "temperature": 0,
            "stream": true, "stream_options": {"include_usage": true}, "chat_template_kwargs": {"enable_thinking": false}}"#;
        let chat = parse_chat(body.as_bytes()).unwrap();
        assert!(chat.options.stream && chat.options.include_usage());
        assert_eq!(chat.options.choices(1), Ok(2));
        assert_eq!(chat.conversation.messages.to_string(), "[{'role': 'user', 'content': 'ab', 'name': 'x'}]");
        assert_eq!(chat.conversation.more[0].0, "enable_thinking");
        let request = chat.request(vec![1], 1).unwrap();
        assert_eq!((request.tokens_max, request.sampling.seed, request.sampling.logprobs), (Some(7), Some(0), Some(3)));
    }
}
