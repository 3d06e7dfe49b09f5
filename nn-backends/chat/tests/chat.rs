//! Templates and tokens against what transformers makes of the same conversations.

use headland_chat::{Conversation, TemplateError, Tokens};
use headland_generation::Decode as _;
use headland_nn_core::ModelFiles;
use minijinja::Value;
use serde::Deserialize;

const FOLDER: &str = "../../test-data/generation/chat";
const CONFIG: &str = r#"{"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}}"#;

#[derive(Deserialize)]
struct Goldens {
    encodings: Vec<Encoding>,
    conversations: Vec<Golden>,
}

#[derive(Deserialize)]
struct Encoding {
    text: String,
    tokens: Vec<u32>,
}

#[derive(Deserialize)]
struct Golden {
    template: String,
    messages: Value,
    answer: bool,
    tools: Option<Value>,
    more: Option<Value>,
    text: Option<String>,
    tokens: Option<Vec<u32>>,
    refused: Option<String>,
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(format!("{FOLDER}/{name}")).unwrap()
}

fn goldens() -> Goldens {
    serde_json::from_slice(&read("golden.json")).unwrap()
}

fn open(files: &[(&str, Vec<u8>)]) -> Result<Tokens, String> {
    let files = files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.clone().into()));
    Tokens::open(&ModelFiles::new("test", files)).map_err(|error| error.to_string())
}

fn with_template(name: &str) -> Tokens {
    let template = read(&format!("{name}.jinja"));
    open(&[
        ("tokenizer.json", read("tokenizer.json")),
        ("tokenizer_config.json", CONFIG.into()),
        ("chat_template.jinja", template),
    ])
    .unwrap()
}

#[test]
fn conversations_become_what_transformers_makes_of_them() {
    for golden in goldens().conversations {
        let tokens = with_template(&golden.template);
        let more = golden.more.iter().flat_map(|more| more.try_iter().unwrap().map(move |key| (more, key)));
        let conversation = Conversation {
            messages: golden.messages.clone(),
            tools: golden.tools.clone(),
            answer: golden.answer,
            more: more.map(|(more, key)| (key.to_string(), more.get_item(&key).unwrap())).collect(),
        };
        let rendered = tokens.template().unwrap().render(&conversation);
        match (&golden.text, &golden.refused) {
            (Some(text), _) => {
                assert_eq!(rendered.as_ref(), Ok(text), "{}", golden.template);
                assert_eq!(Some(tokens.encode(text, false).unwrap()), golden.tokens, "{}", golden.template);
            }
            (None, refused) => {
                assert_eq!(rendered, Err(TemplateError::Refused(refused.clone().unwrap())), "{}", golden.template);
            }
        }
    }
}

#[test]
fn texts_become_tokens_and_back() {
    let tokens = with_template("llama3");
    for Encoding { text, tokens: expected } in goldens().encodings {
        let encoded = tokens.encode(&text, true).unwrap();
        assert_eq!(encoded, expected);
        assert_eq!(tokens.decode(&encoded), text);
    }
    assert_eq!(tokens.end_tokens(), [1]);
}

#[test]
fn where_answers_end_is_found_in_any_of_the_files() {
    let end = |files: &[(&str, &str)]| {
        let mut all = vec![("tokenizer.json", read("tokenizer.json"))];
        all.extend(files.iter().map(|(path, json)| (*path, json.as_bytes().to_vec())));
        open(&all).map(|tokens| tokens.end_tokens().to_vec())
    };
    assert_eq!(end(&[("config.json", r#"{"eos_token_id": 7}"#)]), Ok(vec![7]));
    let both = [("config.json", r#"{"eos_token_id": 7}"#), ("generation_config.json", r#"{"eos_token_id": [3, 5]}"#)];
    assert_eq!(end(&both), Ok(vec![3, 5]));
    assert_eq!(end(&[("config.json", r#"{"text_config": {"eos_token_id": 9}}"#)]), Ok(vec![9]));
    assert!(end(&[("config.json", r#"{"eos_token_id": "x"}"#)]).unwrap_err().contains("test/config.json"));
}

#[test]
fn a_model_without_a_usable_template_still_has_tokens() {
    let problem = |template: Option<&str>| {
        let mut files = vec![("tokenizer.json", read("tokenizer.json"))];
        files.extend(template.map(|template| ("chat_template.jinja", template.as_bytes().to_vec())));
        let tokens = open(&files).unwrap();
        assert!(!tokens.encode("a", true).unwrap().is_empty());
        tokens.template().err().unwrap().to_string()
    };
    assert!(problem(None).contains("ships no chat template"));
    assert!(problem(Some("{% for %}")).contains("cannot be used"));
    assert!(open(&[]).err().unwrap().contains("test/tokenizer.json: there is no such file"));
    assert!(open(&[("tokenizer.json", b"{}".to_vec())]).err().unwrap().contains("test/tokenizer.json"));
}
