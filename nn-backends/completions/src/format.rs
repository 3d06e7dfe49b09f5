//! `response_format`: the form that an answer is to have.

use headland_chat::Form;
use serde::Deserialize;
use serde_json::Value;

use crate::options::BadRequest;

/// The parameter's name.
pub(crate) const RESPONSE_FORMAT: &str = "response_format";
/// Characters of a schema's name; OpenAI's limit.
const NAME_CHARS_MAX: usize = 64;

/// What it may be.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ResponseFormat {
    Text,
    JsonObject,
    JsonSchema { json_schema: JsonSchema },
}

/// A schema with its name. `strict` changes nothing: answers satisfy the schema with it and without it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JsonSchema {
    name: String,
    schema: Value,
    #[serde(rename = "description")]
    _description: Option<String>,
    #[serde(rename = "strict")]
    _strict: Option<bool>,
}

impl ResponseFormat {
    /// What it holds answers to.
    ///
    /// # Errors
    /// For a schema without a proper name.
    pub fn form(self) -> Result<Option<Form>, BadRequest> {
        let JsonSchema { name, schema, .. } = match self {
            ResponseFormat::Text => return Ok(None),
            ResponseFormat::JsonObject => return Ok(Some(Form::Object)),
            ResponseFormat::JsonSchema { json_schema } => json_schema,
        };
        if !is_name(&name) {
            let message = format!("`json_schema.name` is 1 to {NAME_CHARS_MAX} letters, digits, `_` and `-`");
            return Err(BadRequest::of(RESPONSE_FORMAT, message));
        }
        Ok(Some(Form::Schema(schema)))
    }
}

/// Whether OpenAI's API would take it as the name of a schema or a function.
pub(crate) fn is_name(name: &str) -> bool {
    let is_one = |character: char| character.is_ascii_alphanumeric() || "_-".contains(character);
    (1..=NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(is_one)
}
