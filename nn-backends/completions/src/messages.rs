//! Messages as a chat template takes them: text in one piece, and calls of tools with their arguments as objects.

use minijinja::Value;
use minijinja::value::ValueKind;

use crate::options::BadRequest;

/// Who speaks; what a model makes of each is for its template.
const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];

/// Makes the message numbered `index` what templates take.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(index: usize, message: &Value) -> Result<Value, BadRequest> {
    let bad = |problem: String| BadRequest::of("messages", format!("message {index} {problem}"));
    if message.kind() != ValueKind::Map {
        return Err(bad("is no object".to_owned()));
    }
    let get = |key: &str| message.get_attr(key).unwrap_or_default();
    let role = get("role");
    match role.as_str() {
        Some(role) if ROLES.contains(&role) => {}
        Some(role) => return Err(bad(format!("has the role `{role}`; there are {}", ROLES.join(", ")))),
        None => return Err(bad("has no role".to_owned())),
    }
    let content = get("content");
    let message = match content.kind() {
        ValueKind::String => message.clone(),
        // What an assistant called may be all it said.
        ValueKind::None | ValueKind::Undefined if role.as_str() == Some("assistant") => message.clone(),
        ValueKind::Seq => with(message, "content", &text(&content).map_err(bad)?.into()),
        _ => return Err(bad("has no `content` that is text".to_owned())),
    };
    let calls = message.get_attr("tool_calls").unwrap_or_default();
    match calls.kind() {
        ValueKind::Undefined => Ok(message),
        // Templates ask whether there are any by asking whether the key is there.
        ValueKind::None => Ok(pairs(&message, |key, value| (key != "tool_calls").then_some(value))),
        ValueKind::Seq if role.as_str() == Some("assistant") => {
            let calls = calls.try_iter().into_iter().flatten().map(|call| call_for_template(&call));
            let calls = calls.collect::<Option<Vec<Value>>>();
            let expected = "has `tool_calls` that are none; each has a `function` with its `name` and `arguments`";
            Ok(with(&message, "tool_calls", &calls.ok_or_else(|| bad(expected.to_owned()))?.into()))
        }
        _ => Err(bad("has `tool_calls`, which only a list of an assistant's may be".to_owned())),
    }
}

/// The texts of a message's parts.
fn text(parts: &Value) -> Result<String, String> {
    let mut text = String::new();
    for part in parts.try_iter().into_iter().flatten() {
        let kind = part.get_attr("type").unwrap_or_default();
        match (kind.as_str(), part.get_attr("text").unwrap_or_default().as_str()) {
            (Some("text"), Some(part)) => text.push_str(part),
            (kind, _) => return Err(format!("has a part of type `{}`; only `text` is read", kind.unwrap_or("?"))),
        }
    }
    Ok(text)
}

/// A call with its arguments as an object where they are one, written as JSON: so transformers' users give them to templates.
fn call_for_template(call: &Value) -> Option<Value> {
    let function = call.get_attr("function").ok()?;
    function.get_attr("name").ok()?.as_str()?;
    let arguments = function.get_attr("arguments").ok()?;
    let Some(json) = arguments.as_str() else {
        return (arguments.kind() == ValueKind::Map).then(|| call.clone());
    };
    match serde_json::from_str::<Value>(json).ok().filter(|parsed| parsed.kind() == ValueKind::Map) {
        Some(parsed) => Some(with(call, "function", &with(&function, "arguments", &parsed))),
        None => Some(call.clone()),
    }
}

/// An object with another value for one of its keys, in its place.
fn with(object: &Value, key: &str, value: &Value) -> Value {
    pairs(object, |own, kept| Some(if own == key { value.clone() } else { kept }))
}

/// An object with what `keep` makes of its values.
fn pairs(object: &Value, keep: impl Fn(&str, Value) -> Option<Value>) -> Value {
    let keys = object.try_iter().into_iter().flatten();
    Value::from_pairs(keys.filter_map(|key| {
        let value = object.get_item(&key).unwrap_or_default();
        let key = key.to_string();
        keep(&key, value).map(|value| (key, value))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(message: &str) -> Result<String, String> {
        let message = serde_json::from_str(message).unwrap();
        check(3, &message).map(|message| serde_json::to_string(&message).unwrap()).map_err(|bad| bad.message)
    }

    #[test]
    fn calls_reach_the_template_with_their_arguments_as_objects() {
        let call = |arguments: &str| {
            format!(
                r#"{{"role":"assistant","content":null,"tool_calls":[{{"id":"x","type":"function","function":{{"name":"f","arguments":{arguments}}}}}]}}"#
            )
        };
        let object = call(r#"{"b":1,"a":[2.5]}"#);
        assert_eq!(checked(&call(r#""{\"b\": 1, \"a\": [2.5]}""#)), Ok(object.clone()));
        assert_eq!(checked(&object), Ok(object.clone()));
        // What is no object stays what it was.
        assert_eq!(checked(&call(r#""{\"b\":""#)), Ok(call(r#""{\"b\":""#)));
        let none = r#"{"role": "assistant", "content": "a", "tool_calls": null, "name": "x"}"#;
        assert_eq!(checked(none), Ok(r#"{"role":"assistant","content":"a","name":"x"}"#.to_owned()));
        assert!(checked(&call("3")).unwrap_err().contains("message 3 has `tool_calls` that are none"));
        assert!(
            checked(r#"{"role": "user", "content": "", "tool_calls": []}"#).unwrap_err().contains("an assistant's")
        );
        let answer = r#"{"role":"tool","tool_call_id":"x","content":[{"type":"text","text":"21 °C"}]}"#;
        assert_eq!(checked(answer), Ok(r#"{"role":"tool","tool_call_id":"x","content":"21 °C"}"#.to_owned()));
    }
}
