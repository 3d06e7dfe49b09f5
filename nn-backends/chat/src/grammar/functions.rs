//! Calls whose arguments are written one by one, as Qwen 3 Coder does: texts as they are, everything else in JSON.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{BadForm, with_options};
use crate::convention::{FUNCTION_BEGIN, FUNCTION_END, PARAMETER_BEGIN, PARAMETER_END};

/// Keywords of a schema of arguments that their order and their own schemas do justice to.
const FOLLOWED: [&str; 10] = [
    "type",
    "properties",
    "required",
    "additionalProperties",
    "$defs",
    "definitions",
    "$schema",
    "$id",
    "title",
    "description",
];
/// Keywords of a text that is written as it is.
const OF_TEXTS: [&str; 9] =
    ["type", "enum", "const", "minLength", "maxLength", "title", "description", "default", "examples"];

/// How the value of an argument is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// As it is: a text.
    Text,
    /// In JSON.
    Json {
        /// Whether nothing but a text satisfies its schema.
        only_text: bool,
    },
}

impl Parameter {
    /// How the argument `name` is written, of arguments of the schema `parameters`.
    pub fn of(parameters: Option<&Value>, name: &str) -> Self {
        let schema = parameters.map_or(&Value::Null, |parameters| &parameters["properties"][name]);
        match texts(schema) {
            Some(_) => Parameter::Text,
            None => Parameter::Json { only_text: schema["type"] == "string" },
        }
    }
}

/// The texts that a schema of texts alone allows, as an expression of the grammar; absent for other schemas, and for those
/// whose texts are better held to their form in JSON.
fn texts(schema: &Value) -> Option<String> {
    let fields = schema.as_object()?;
    let length = |key: &str| fields.get(key).map(|length| length.as_u64().ok_or(())).transpose().ok();
    if fields.get("type")? != "string" || !fields.keys().all(|key| OF_TEXTS.contains(&key.as_str())) {
        return None;
    }
    let (shortest, longest) = (length("minLength")?, length("maxLength")?);
    let choices = match (fields.get("enum"), fields.get("const")) {
        (None, None) => {
            let longest = longest.map_or_else(String::new, |longest| longest.to_string());
            let end = PARAMETER_END.replace('/', r"\/");
            let count = format!("{{{},{longest}}}", shortest.unwrap_or(0));
            return Some(format!("(/(?s:.{count})/ & ~/(?s:.*){end}(?s:.*)/)"));
        }
        (Some(choices), None) => choices.as_array()?.iter().collect(),
        (None, Some(only)) => vec![only],
        (Some(_), Some(_)) => return None,
    };
    let is_plain = |text: &&str| !text.contains(PARAMETER_END) && !text.is_empty();
    let choices: Option<Vec<String>> =
        choices.iter().map(|choice| choice.as_str().filter(is_plain).map(|text| json!(text).to_string())).collect();
    choices.filter(|_| shortest.or(longest).is_none()).map(|choices| format!("({})", choices.join(" | ")))
}

/// The rules for calls of the tool numbered `index`; the schemas of its arguments are added to `schemas`.
///
/// # Errors
/// For arguments that say of each other what cannot be held to.
pub(super) fn function(
    index: usize,
    name: &str,
    arguments: &Value,
    schemas: &mut Vec<(String, Value)>,
) -> Result<String, BadForm> {
    let (none, empty) = (Map::new(), Vec::new());
    let bad =
        |problem: String| BadForm::Schema(format!("{problem}, which this model's way of calling has no place for"));
    if let Some(key) =
        arguments.as_object().and_then(|fields| fields.keys().find(|key| !FOLLOWED.contains(&key.as_str())))
    {
        return Err(bad(format!("there is `{key}`")));
    }
    let properties = arguments["properties"].as_object().unwrap_or(&none);
    let required = arguments["required"].as_array().unwrap_or(&empty);
    if let Some(name) = required.iter().find(|name| name.as_str().is_none_or(|name| !properties.contains_key(name))) {
        return Err(bad(format!("{name} is required and is none of `properties`")));
    }
    let (mut order, mut rules) = (String::new(), String::new());
    for (number, (property, schema)) in properties.iter().enumerate() {
        if property.is_empty() || property.contains(['>', '\n']) {
            return Err(bad(format!("an argument is called `{}`", property.escape_debug())));
        }
        let one = format!("argument_{index}_{number}");
        let optional = if required.iter().any(|name| name == property) { "" } else { "?" };
        let begin = json!(format!("{PARAMETER_BEGIN}{property}>\n"));
        let end = json!(format!("\n{PARAMETER_END}"));
        // Writing to a string cannot fail.
        let _ = write!(order, " {one}{optional}");
        let _ = match texts(schema) {
            Some(texts) => {
                let text = format!("TEXT_{index}_{number}");
                writeln!(rules, "{one}: {begin} {text} \"\\n\"\n{text}: {texts} {end}")
            }
            None => {
                let mut schema = with_options(schema)?;
                for key in ["$defs", "definitions"] {
                    if let (Some(shared), None) = (arguments.get(key), schema.get(key)) {
                        schema[key] = shared.clone();
                    }
                }
                schemas.push((format!("value_{index}_{number}"), schema));
                writeln!(rules, "{one}: {begin} @value_{index}_{number} {end} \"\\n\"")
            }
        };
    }
    let begin = json!(format!("{FUNCTION_BEGIN}{name}>\n"));
    Ok(format!("call_{index}: {begin}{order} \"{FUNCTION_END}\"\n{rules}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_written_as_they_are_and_everything_else_in_json() {
        let of = |schema: Value| Parameter::of(Some(&json!({"properties": {"a": schema}})), "a");
        for text in [
            json!({"type": "string"}),
            json!({"type": "string", "enum": ["a", "b c"]}),
            json!({"type": "string", "maxLength": 3}),
        ] {
            assert_eq!(of(text.clone()), Parameter::Text, "{text}");
        }
        for texts in [json!({"type": "string", "pattern": "a"}), json!({"type": "string", "enum": ["</parameter>"]})] {
            assert_eq!(of(texts.clone()), Parameter::Json { only_text: true }, "{texts}");
        }
        for other in [json!({"type": "integer"}), json!({}), json!({"type": ["string", "null"]}), json!({"$ref": "#"})]
        {
            assert_eq!(of(other.clone()), Parameter::Json { only_text: false }, "{other}");
        }
        assert_eq!(Parameter::of(None, "a"), Parameter::Json { only_text: false });
    }
}
