//! The body of `/v1/chat/completions`.

use std::sync::Arc;

use headland_chat::{BadForm, CallConvention, Conversation, Form, Instead, Tokens};
use headland_generation::{Grammar, Request};
use minijinja::Value;
use serde::Deserialize;

use crate::calls::CallReading;
use crate::format::{RESPONSE_FORMAT, ResponseFormat};
use crate::messages::check;
use crate::options::{self, BadRequest, Options};
use crate::tools::Tools;

/// Messages of a conversation.
const MESSAGES_MAX: usize = 2048;

/// A request to go on with a conversation.
#[derive(Clone, Debug)]
pub struct Chat {
    /// What both kinds have.
    pub options: Options,
    /// The conversation, for the model's template.
    pub conversation: Conversation,
    logprobs: Option<u32>,
    form: Option<Form>,
    tools: Option<Tools>,
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
    let mut options = Options::read(body)?;
    let listed = matches!(options.rest.remove("messages"), Some(serde_json::Value::Array(_)));
    if !listed {
        return Err(BadRequest::of(
            "messages",
            "`messages` is missing or no list; it is a list of objects with `role` and `content`",
        ));
    }
    let more = options.rest.remove("chat_template_kwargs").unwrap_or_default();
    if !(more.is_null() || more.is_object()) {
        return Err(BadRequest::of("chat_template_kwargs", "`chat_template_kwargs` is no object"));
    }
    let Messages { messages, chat_template_kwargs } = options::parse(body)?;
    let wants: bool = options.take_as("logprobs", "true or false")?.unwrap_or(false);
    let top: Option<u32> = options.take_as("top_logprobs", "a whole number, not below 0")?;
    if top.is_some() && !wants {
        return Err(BadRequest::of("top_logprobs", "`top_logprobs` goes with `\"logprobs\": true`"));
    }
    let answer: Option<bool> = options.take_as("add_generation_prompt", "true or false")?;
    let format: Option<ResponseFormat> = options.take(RESPONSE_FORMAT)?;
    let form = format.map_or(Ok(None), ResponseFormat::form)?;
    let (tools, told) = Tools::take(&mut options)?.unzip();
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
        tools: told,
        answer: answer.unwrap_or(true),
        more,
    };
    Ok(Chat { options, conversation, logprobs: wants.then(|| top.unwrap_or(0)), form, tools })
}

impl Chat {
    /// Whether its answers have a form that is prescribed.
    pub fn is_held_to_a_form(&self) -> bool {
        self.form.is_some() || self.tools.is_some()
    }

    /// What its answers are to be held to, in a model's tokens. Takes milliseconds, for large schemas tens of them.
    ///
    /// # Errors
    /// When they cannot be held to what the client asks for.
    pub fn constraint(&self, tokens: &Tokens) -> Result<Option<Arc<dyn Grammar>>, BadRequest> {
        let of_form = |error: BadForm| BadRequest::of(RESPONSE_FORMAT, error.to_string());
        let answer = self.form.as_ref().map(|form| tokens.grammars()?.compile(form)).transpose().map_err(of_form)?;
        let Some(tools) = &self.tools else { return Ok(answer) };
        let (instead, may_be_any) = match answer {
            _ if tools.has_to() => (Instead::Nothing, false),
            Some(answer) => (Instead::Answer(answer), false),
            None => (Instead::Anything, true),
        };
        let calls = tools.calls(convention(tokens));
        match tokens.grammars().and_then(|grammars| grammars.compile_calls(&calls, instead)) {
            Ok(grammar) => Ok(Some(grammar)),
            // What a model calls by its own will is read, held to a schema or not.
            Err(BadForm::Schema(_) | BadForm::Vocabulary(_)) if may_be_any => Ok(None),
            Err(error) => Err(BadRequest::of("tools", error.to_string())),
        }
    }

    /// How the calls in its answers are read, where the model may call anything.
    pub fn calls(&self, tokens: &Tokens) -> Option<CallReading> {
        let calls = self.tools.as_ref()?.calls(convention(tokens));
        let from_the_beginning = self.form.is_some();
        Some(CallReading { convention: calls.convention, tools: calls.tools, from_the_beginning })
    }

    /// What the engine is asked for the answer numbered `choice` to the conversation as `prompt`.
    pub fn request(&self, prompt: Vec<u32>, choice: usize) -> Request {
        self.options.request(prompt, choice, None, self.logprobs)
    }
}

/// How the model writes that it calls a tool.
fn convention(tokens: &Tokens) -> CallConvention {
    tokens.template().map(|template| template.convention()).unwrap_or_default()
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
            (r#"{"messages": []}"#, Some("model"), "`model` is missing"),
            (r#"{"model": "m"}"#, Some("messages"), "`messages` is missing"),
            (r#"{"model": "m", "messages": "hi"}"#, Some("messages"), "no list"),
            (&format!(r#"{{{hello}, "temperature": "hot"}}"#), Some("temperature"), "is \"hot\"; it is to be a number"),
            (&format!(r#"{{{hello}, "max_tokens": -1}}"#), Some("max_tokens"), "is -1; it is to be a whole number"),
            (&format!(r#"{{{hello}, "stop": 3}}"#), Some("stop"), "a text, or a list of texts"),
            (&format!(r#"{{{hello}, "logit_bias": {{"x": 1}}}}"#), Some("logit_bias"), "names `x`"),
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
            (&format!(r#"{{{hello}, "functions": [{{}}]}}"#), Some("functions"), "is not supported"),
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
        let request = chat.request(vec![1], 1);
        assert_eq!((request.tokens_max, request.sampling.seed, request.sampling.logprobs), (Some(7), Some(0), Some(3)));
    }

    fn with(more: &str) -> Result<Chat, BadRequest> {
        let body = format!(r#"{{"model": "m", "messages": [{{"role": "user", "content": "hi"}}], {more}}}"#);
        parse_chat(body.as_bytes())
    }

    const WEATHER: &str = r#"{"type": "function", "function": {"name": "weather", "description": "d", "parameters": {"type": "object", "properties": {"z": {}, "a": {}}}}}"#;

    #[test]
    fn a_form_is_text_an_object_or_a_schema() {
        let form = |format: &str| with(&format!(r#""response_format": {format}"#)).map(|chat| chat.form);
        assert_eq!(form(r#"{"type": "text"}"#), Ok(None));
        assert_eq!(form(r#"{"type": "json_object"}"#), Ok(Some(Form::Object)));
        let schema =
            r#"{"type": "json_schema", "json_schema": {"name": "a", "strict": true, "schema": {"type": "integer"}}}"#;
        assert_eq!(form(schema), Ok(Some(Form::Schema(serde_json::json!({"type": "integer"})))));
        for (format, expected) in [
            (r#"{"type": "xml"}"#, "unknown variant `xml`"),
            (r#"{"type": "json_schema"}"#, "json_schema"),
            (r#"{"type": "json_schema", "json_schema": {"name": "a"}}"#, "`schema`"),
            (r#"{"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}}"#, "`json_schema.name` is"),
            (r#"{"type": "json_schema", "json_schema": {"name": "a", "schema": {}, "stict": true}}"#, "`stict`"),
            ("\"json\"", "response_format"),
        ] {
            let error = form(format).unwrap_err();
            assert!(error.message.contains(expected), "{format}: {}", error.message);
            assert_eq!(error.param.as_deref(), Some("response_format"));
        }
    }

    #[test]
    fn the_template_is_told_of_tools_that_may_be_called() {
        let told = |more: &str| {
            with(&format!(r#""tools": [{WEATHER}]{more}"#)).map(|chat| (chat.conversation.tools, chat.tools))
        };
        let (tools, read) = told("").unwrap();
        let json = serde_json::to_string(&tools.unwrap()).unwrap();
        assert_eq!(json, format!("[{}]", WEATHER.replace(": ", ":").replace(", ", ",")));
        assert!(!read.unwrap().has_to());
        for choice in [r#""required""#, r#"{"type": "function", "function": {"name": "weather"}}"#] {
            let (_, read) = told(&format!(r#", "tool_choice": {choice}, "parallel_tool_calls": false"#)).unwrap();
            assert!(read.unwrap().has_to());
        }
        let (tools, read) = told(r#", "tool_choice": "none""#).unwrap();
        assert!(tools.is_none() && read.is_none());
    }

    #[test]
    fn what_is_wrong_with_tools_is_named() {
        for (more, param, expected) in [
            (r#""tools": [{"type": "retrieval"}]"#.to_owned(), "tools", "tool 0: unknown variant `retrieval`"),
            (r#""tools": [{"type": "function", "function": {}}]"#.to_owned(), "tools", "tool 0: missing field `name`"),
            (r#""tools": [{"type": "function", "function": {"name": "a b"}}]"#.to_owned(), "tools", "letters"),
            (format!(r#""tools": [{WEATHER}, {WEATHER}]"#), "tools", "another function called `weather`"),
            (format!(r#""tools": [{}]"#, vec![WEATHER; 200].join(",")), "tools", "128 at most"),
            (format!(r#""tools": [{WEATHER}], "tool_choice": "always""#), "tool_choice", "`required`"),
            (r#""tool_choice": "required""#.to_owned(), "tool_choice", "there are no `tools`"),
            (
                format!(r#""tools": [{WEATHER}], "tool_choice": {{"type": "function", "function": {{"name": "x"}}}}"#),
                "tool_choice",
                "names `x`",
            ),
        ] {
            let error = with(&more).unwrap_err();
            assert!(error.message.contains(expected), "{more}: {}", error.message);
            assert_eq!(error.param.as_deref(), Some(param), "{more}");
        }
        // A form goes with any of them.
        for choice in ["none", "auto", "required"] {
            let format = r#""response_format": {"type": "json_object"}"#;
            let chat = with(&format!(r#""tools": [{WEATHER}], "tool_choice": "{choice}", {format}"#)).unwrap();
            assert_eq!((chat.form, chat.tools.is_some()), (Some(Form::Object), choice != "none"));
        }
    }
}
