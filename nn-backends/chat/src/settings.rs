//! What a folder says beside its tokenizer: special tokens by name, where answers end, the chat template.

use headland_nn_core::{ModelFiles, NnError};
use serde::Deserialize;
use serde_json::Value;

const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const GENERATION_CONFIG: &str = "generation_config.json";
const CONFIG: &str = "config.json";
const TEMPLATE: &str = "chat_template.jinja";

/// Names of special tokens that templates may use.
const SPECIAL: [&str; 4] = ["bos_token", "eos_token", "pad_token", "unk_token"];

/// What is said.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// Special tokens' names and texts.
    pub special: Vec<(&'static str, String)>,
    /// Tokens that end answers.
    pub end_tokens: Vec<u32>,
    /// The chat template, and the one for conversations with tools if it is another.
    pub template: Option<String>,
    pub tool_template: Option<String>,
}

#[derive(Deserialize)]
struct EndTokens {
    eos_token_id: Option<OneOrSeveral>,
    /// Gemma 3 with its images has the language model's configuration inside.
    text_config: Option<Box<EndTokens>>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum OneOrSeveral {
    One(u32),
    Several(Vec<u32>),
}

impl Settings {
    /// Reads what there is; no file is needed.
    ///
    /// # Errors
    /// [`NnError::BadModel`] naming the file that is not what it should be.
    pub fn read(model: &ModelFiles) -> Result<Self, NnError> {
        let mut settings = Settings::default();
        if let Some(config) = parse::<serde_json::Map<String, Value>>(model, TOKENIZER_CONFIG)? {
            for name in SPECIAL {
                // Written as text, or with how it is matched.
                let token = config.get(name);
                let text = token.and_then(|token| token.as_str().or_else(|| token.get("content")?.as_str()));
                settings.special.extend(text.map(|text| (name, text.to_owned())));
            }
            settings.read_templates(config.get("chat_template"));
        }
        if let Some(template) = model.get(TEMPLATE) {
            let template = std::str::from_utf8(template)
                .map_err(|_| NnError::bad_model(format!("{}: it is not UTF-8", model.describe(TEMPLATE))))?;
            settings.template = Some(template.to_owned());
            settings.tool_template = None;
        }
        // What is said for generating goes first: the configuration often knows one end of several.
        for file in [GENERATION_CONFIG, CONFIG] {
            let Some(config) = parse::<EndTokens>(model, file)? else { continue };
            let inner = config.text_config.and_then(|inner| inner.eos_token_id);
            settings.end_tokens = match config.eos_token_id.or(inner) {
                Some(OneOrSeveral::One(token)) => vec![token],
                Some(OneOrSeveral::Several(tokens)) => tokens,
                None => continue,
            };
            break;
        }
        Ok(settings)
    }

    /// One template, or several by name.
    fn read_templates(&mut self, value: Option<&Value>) {
        match value {
            Some(Value::String(template)) => self.template = Some(template.clone()),
            Some(Value::Array(several)) => {
                let named = |name: &str| {
                    let entry = several.iter().find(|entry| entry.get("name").is_some_and(|own| own == name))?;
                    Some(entry.get("template")?.as_str()?.to_owned())
                };
                (self.template, self.tool_template) = (named("default"), named("tool_use"));
            }
            _ => {}
        }
    }
}

fn parse<T: for<'de> Deserialize<'de>>(model: &ModelFiles, file: &str) -> Result<Option<T>, NnError> {
    let Some(json) = model.get(file) else { return Ok(None) };
    let parsed = serde_json::from_slice(json);
    parsed.map(Some).map_err(|error| NnError::bad_model(format!("{}: {error}", model.describe(file))))
}
