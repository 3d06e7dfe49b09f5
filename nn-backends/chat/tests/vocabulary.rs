//! Tokenizers out of GGUF files against llama.cpp, on files that are written here from their entries.

use std::collections::BTreeMap;

use headland_chat::Tokens;
use headland_generation::Decode as _;
use headland_nn_core::ModelFiles;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

type Entries = BTreeMap<String, Value>;

#[derive(Deserialize)]
struct Goldens {
    texts: Vec<String>,
    files: Vec<Golden>,
}

#[derive(Deserialize)]
struct Golden {
    name: String,
    base: Option<String>,
    entries: Entries,
    tokens: Vec<Vec<u32>>,
    ends: Vec<u32>,
}

fn goldens() -> Goldens {
    let mut goldens: Goldens =
        serde_json::from_slice(&std::fs::read("../../test-data/generation/vocabularies.json").unwrap()).unwrap();
    for at in 0..goldens.files.len() {
        let Some(base) = goldens.files[at].base.clone() else { continue };
        let base = goldens.files.iter().find(|file| file.name == base).unwrap().entries.clone();
        for (key, value) in base {
            goldens.files[at].entries.entry(key).or_insert(value);
        }
    }
    goldens
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// The type that ggml gives a value, and its bytes.
fn value(value: &Value) -> (u32, Vec<u8>) {
    match value {
        Value::Bool(value) => (7, vec![u8::from(*value)]),
        Value::String(value) => (8, text(value)),
        Value::Number(number) if number.is_f64() => (6, (number.as_f64().unwrap() as f32).to_le_bytes().to_vec()),
        Value::Number(number) => (5, i32::try_from(number.as_i64().unwrap()).unwrap().to_le_bytes().to_vec()),
        Value::Array(values) => {
            let values: Vec<(u32, Vec<u8>)> = values.iter().map(self::value).collect();
            let kind = values.first().map_or(5, |(kind, _)| *kind);
            let head = [&kind.to_le_bytes()[..], &(values.len() as u64).to_le_bytes()].concat();
            (9, [head, values.into_iter().flat_map(|(_, bytes)| bytes).collect()].concat())
        }
        other => panic!("{other}"),
    }
}

fn file(entries: &Entries) -> Vec<u8> {
    let mut file = [&b"GGUF"[..], &3u32.to_le_bytes(), &0u64.to_le_bytes()].concat();
    file.extend((entries.len() as u64).to_le_bytes());
    for (key, entry) in entries {
        let (kind, bytes) = value(entry);
        file.extend([text(key), kind.to_le_bytes().to_vec(), bytes].concat());
    }
    file
}

fn open(file: Vec<u8>) -> Result<Tokens, String> {
    let files = [("model.gguf".to_owned(), file.into())];
    Tokens::open(&ModelFiles::new("test", files)).map_err(|error| error.to_string())
}

#[test]
fn texts_become_the_tokens_of_llama_cpp_and_back() {
    let Goldens { texts, files } = goldens();
    let mut wrong = Vec::new();
    for Golden { name, entries, tokens: expected, ends, .. } in files {
        let tokens = open(file(&entries)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(tokens.end_tokens(), ends, "{name}");
        for (text, expected) in texts.iter().zip(expected) {
            let encoded = tokens.encode(text, true).unwrap();
            if encoded != expected {
                wrong.push(format!("{name}: {text:?} is {encoded:?}, not {expected:?}"));
            }
            // Special tokens are not text, and SentencePiece's own character is a space to it.
            let spaced = text.replace('\u{2581}', " ");
            let same = if entries["tokenizer.ggml.model"] == "llama" { &spaced } else { text };
            if !text.contains('<') && tokens.decode(&encoded) != *same {
                wrong.push(format!("{name}: {text:?} comes back as {:?}", tokens.decode(&encoded)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn named(name: &str) -> Entries {
    goldens().files.into_iter().find(|file| file.name == name).unwrap().entries
}

/// What is said of a file with these changes; an entry that becomes null is left out.
fn problem(name: &str, changes: &[(&str, Value)]) -> String {
    let mut entries = named(name);
    for (key, value) in changes {
        let key = if key.contains('.') { (*key).to_owned() } else { format!("tokenizer.ggml.{key}") };
        match value {
            Value::Null => drop(entries.remove(&key)),
            value => drop(entries.insert(key, value.clone())),
        }
    }
    let problem = open(file(&entries)).err().unwrap();
    assert!(problem.contains("test/model.gguf: "), "{problem}");
    problem
}

#[test]
fn what_a_file_lacks_or_contradicts_is_named() {
    for key in ["model", "tokens", "scores", "token_type"] {
        assert!(problem("scores", &[(key, Value::Null)]).contains(&format!("`tokenizer.ggml.{key}` is missing")));
    }
    assert!(problem("qwen2", &[("merges", Value::Null)]).contains("`tokenizer.ggml.merges` is missing"));
    assert!(problem("scores", &[("model", json!("no_vocab"))]).contains("put the model's `tokenizer.json` beside it"));
    assert!(problem("scores", &[("model", json!("bert"))]).contains("`bert`; those that are read: llama, gpt2"));
    let unknown = problem("qwen2", &[("pre", json!("klingon"))]);
    assert!(unknown.contains("`klingon`") && unknown.contains("llama-bpe") && unknown.contains("smollm"), "{unknown}");
    assert!(problem("scores", &[("scores", json!([1.5]))]).contains("has 1 elements, and there are 679 tokens"));
    assert!(problem("scores", &[("token_type", json!([1]))]).contains("has 1 elements, and there are 679 tokens"));
    assert!(problem("scores", &[("tokens", json!("text"))]).contains("`tokenizer.ggml.tokens` is not texts"));
    assert!(problem("scores", &[("add_bos_token", json!("yes"))]).contains("is not yes or no"));
    assert!(problem("scores", &[("eos_token_id", json!(-1))]).contains("is -1, and there are 679 tokens"));
    assert!(problem("scores", &[("eos_token_id", json!(679))]).contains("is 679, and there are 679 tokens"));
    assert!(problem("scores", &[("tokens", json!(["a", "b", "a"]))]).contains("tokens 0 and 2 are both `a`"));
    assert!(problem("scores", &[("tokens", json!(["a".repeat(2000)]))]).contains("token 0 has 2000 bytes"));
    assert!(problem("qwen2", &[("merges", json!(["a a", "q zzzz"]))]).contains("joins `"));
    assert!(
        problem("qwen2", &[("tokenizer.chat_template", json!(7))]).contains("`tokenizer.chat_template` is not a text")
    );
}

#[test]
fn a_chat_template_stands_in_the_file_too() {
    let mut entries = named("qwen2");
    assert!(open(file(&entries)).unwrap().template().err().unwrap().to_string().contains("ships no chat template"));
    let template = "{{ bos_token }}{% for message in messages %}{{ message.content }}{{ eos_token }}{% endfor %}";
    entries.insert("tokenizer.chat_template".to_owned(), template.into());
    let tokens = open(file(&entries)).unwrap();
    let messages = vec![minijinja::context! { role => "user", content => "hi" }].into();
    let prompt = tokens.template().unwrap().render(&headland_chat::Conversation { messages, ..Default::default() });
    assert_eq!(prompt.unwrap(), "<s>hi</s>");
}

#[test]
fn a_tokenizer_beside_the_file_goes_first() {
    let json = std::fs::read("../../test-data/generation/chat/tokenizer.json").unwrap();
    let files = [("model.gguf", file(&named("qwen2"))), ("tokenizer.json", json.clone())];
    let open = |files: &[(&str, Vec<u8>)]| {
        let files = files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.clone().into()));
        Tokens::open(&ModelFiles::new("test", files)).unwrap().encode("The answer", true).unwrap()
    };
    assert_eq!(open(&files), open(&files[1..]));
    assert_ne!(open(&files), open(&files[..1]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_file_and_no_text_harms(which in 0usize..4, at in any::<prop::sample::Index>(), bytes in prop::collection::vec(any::<u8>(), 1..9), text in ".{0,40}") {
        let mut file = file(&named(["scores", "gemma", "qwen2", "default"][which]));
        let at = at.index(file.len());
        let end = (at + bytes.len()).min(file.len());
        file[at..end].copy_from_slice(&bytes[..end - at]);
        if let Ok(tokens) = open(file) {
            // A token that was lost may be needed; nothing else may go wrong.
            if let Ok(encoded) = tokens.encode(&text, true) {
                tokens.decode(&encoded);
            }
        }
    }
}
