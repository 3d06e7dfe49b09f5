//! What the files beside `tokenizer.json` say about tokenising, read as sentence-transformers reads them.

use headland_nn_core::{ModelFiles, NnError};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::MAX_TOKENS;

/// Longest sequence where no file names one: BERT's.
const DEFAULT_MAX_SEQUENCE_LENGTH: usize = 512;

const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// The names sentence-transformers has given its settings of the transformer module over time; the first one there wins.
const MODULE_FILES: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

/// Models whose positions start after the padding id, so that as many positions cannot be used.
const PADDED_POSITIONS: [&str; 3] = ["roberta", "xlm-roberta", "camembert"];

/// How a model's texts are tokenised.
pub(crate) struct Settings {
    /// Tokens of the longest sequence, special tokens included.
    pub max_sequence_length: usize,
    /// Whether texts are lowercased whatever the tokenizer's own normaliser does.
    pub lowercase: bool,
    /// The padding token's text, if one is named.
    pub pad_token: Option<String>,
    /// The padding id of the model's configuration, if there is one.
    pub pad_token_id: Option<u32>,
    /// What is put in front of every text; mostly empty.
    pub prompt: String,
}

#[derive(Deserialize, Default)]
struct ModuleFile {
    max_seq_length: Option<usize>,
    #[serde(default)]
    do_lower_case: bool,
}

#[derive(Deserialize, Default)]
struct TokenizerFile {
    /// A float, because "no limit" is written as 10^30.
    model_max_length: Option<f64>,
    pad_token: Option<AddedToken>,
    truncation_side: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum AddedToken {
    Text(String),
    Object { content: String },
}

#[derive(Deserialize, Default)]
struct ModelFile {
    model_type: Option<String>,
    max_position_embeddings: Option<usize>,
    pad_token_id: Option<u32>,
}

#[derive(Deserialize, Default)]
struct SentenceTransformersFile {
    #[serde(default)]
    prompts: std::collections::BTreeMap<String, Option<String>>,
    default_prompt_name: Option<String>,
}

impl Settings {
    /// Reads the settings among `files`; a file that is not there says nothing.
    pub fn read(files: &ModelFiles) -> Result<Self, NnError> {
        let module = module_file(files)?;
        let tokenizer: TokenizerFile = read_json(files, TOKENIZER_CONFIG)?.unwrap_or_default();
        let model: ModelFile = read_json(files, "config.json")?.unwrap_or_default();
        let mut prompts: SentenceTransformersFile =
            read_json(files, "config_sentence_transformers.json")?.unwrap_or_default();
        if tokenizer.truncation_side.as_deref() == Some("left") {
            return Err(NnError::bad_model(format!(
                "{}: `truncation_side` is `left`; only texts cut at their end are supported",
                files.describe(TOKENIZER_CONFIG)
            )));
        }
        Ok(Settings {
            max_sequence_length: max_sequence_length(&module, &tokenizer, &model),
            lowercase: module.do_lower_case,
            pad_token: tokenizer.pad_token.map(|token| match token {
                AddedToken::Text(content) | AddedToken::Object { content } => content,
            }),
            pad_token_id: model.pad_token_id,
            prompt: prompts.default_prompt_name.and_then(|name| prompts.prompts.remove(&name)?).unwrap_or_default(),
        })
    }
}

fn module_file(files: &ModelFiles) -> Result<ModuleFile, NnError> {
    for name in MODULE_FILES {
        if let Some(found) = read_json(files, name)? {
            return Ok(found);
        }
    }
    Ok(ModuleFile::default())
}

/// The module's own `max_seq_length`, else the tokenizer's; never more than the model has positions for.
fn max_sequence_length(module: &ModuleFile, tokenizer: &TokenizerFile, model: &ModelFile) -> usize {
    let unusable = match &model.model_type {
        Some(kind) if PADDED_POSITIONS.contains(&kind.as_str()) => model.pad_token_id.unwrap_or(0) as usize + 1,
        _ => 0,
    };
    let positions = model.max_position_embeddings.map(|positions| positions.saturating_sub(unusable));
    // `as` saturates, and a length that no request can have is no limit at all.
    let stated = module.max_seq_length.or(tokenizer.model_max_length.map(|length| length as usize));
    let lengths = stated.into_iter().chain(positions).filter(|&length| length <= MAX_TOKENS);
    lengths.min().unwrap_or(DEFAULT_MAX_SEQUENCE_LENGTH)
}

/// Reads a JSON file; `None` when it is not there.
fn read_json<T: DeserializeOwned>(files: &ModelFiles, path: &str) -> Result<Option<T>, NnError> {
    let parse = |json| {
        serde_json::from_slice(json).map_err(|error| NnError::bad_model(format!("{}: {error}", files.describe(path))))
    };
    files.get(path).map(|json| parse(json)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(files: &[(&str, &str)]) -> Result<Settings, NnError> {
        let files = files.iter().map(|(name, json)| (name.to_string(), json.to_string().into()));
        Settings::read(&ModelFiles::new("m", files))
    }

    fn length(files: &[(&str, &str)]) -> usize {
        settings(files).unwrap().max_sequence_length
    }

    const BERT: (&str, &str) = ("config.json", r#"{"model_type": "bert", "max_position_embeddings": 512}"#);

    #[test]
    fn the_longest_sequence_is_the_modules_then_the_tokenizers_and_never_beyond_the_positions() {
        let module = |json| ("sentence_bert_config.json", json);
        let tokenizer = |json| ("tokenizer_config.json", json);
        assert_eq!(length(&[]), 512);
        assert_eq!(length(&[BERT]), 512);
        assert_eq!(
            length(&[BERT, module(r#"{"max_seq_length": 256}"#), tokenizer(r#"{"model_max_length": 128}"#)]),
            256
        );
        assert_eq!(
            length(&[BERT, module(r#"{"max_seq_length": null}"#), tokenizer(r#"{"model_max_length": 128}"#)]),
            128
        );
        assert_eq!(length(&[BERT, module(r#"{"max_seq_length": 9000}"#)]), 512);
        assert_eq!(length(&[BERT, tokenizer(r#"{"model_max_length": 1000000000000000019884624838656}"#)]), 512);
        let roberta = r#"{"model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": 1}"#;
        assert_eq!(length(&[("config.json", roberta)]), 512);
    }

    #[test]
    fn padding_lowercase_and_default_prompt_are_read() {
        let read = settings(&[
            ("sentence_bert_config.json", r#"{"do_lower_case": true}"#),
            ("tokenizer_config.json", r#"{"pad_token": {"content": "<pad>", "lstrip": false}}"#),
            (
                "config_sentence_transformers.json",
                r#"{"prompts": {"query": "query: "}, "default_prompt_name": "query"}"#,
            ),
        ])
        .unwrap();
        assert!(read.lowercase);
        assert_eq!(read.pad_token.as_deref(), Some("<pad>"));
        assert_eq!(read.prompt, "query: ");
    }

    #[test]
    fn a_broken_file_is_named_with_the_cause() {
        let message =
            settings(&[("sentence_bert_config.json", r#"{"max_seq_length": "x"}"#)]).err().unwrap().to_string();
        assert!(message.contains("sentence_bert_config.json: invalid type") && message.contains("line 1"), "{message}");
        let message =
            settings(&[("tokenizer_config.json", r#"{"truncation_side": "left"}"#)]).err().unwrap().to_string();
        assert!(message.contains("tokenizer_config.json: `truncation_side` is `left`"), "{message}");
    }
}
