//! Models that are not what they say: each a clear error.

use bytes::Bytes;
use headland_decoder::DecoderOptions;
use headland_generation::{LanguageModel, Piece};

use crate::common::{OPTIONS, files, load_files, model};

fn error(name: &str, change: impl FnOnce(&mut std::collections::BTreeMap<String, Bytes>)) -> String {
    let mut files = files(name);
    change(&mut files);
    load_files(files, &OPTIONS).err().unwrap().to_string()
}

fn config(from: &'static str, to: &'static str) -> impl FnOnce(&mut std::collections::BTreeMap<String, Bytes>) {
    move |files| {
        let config = String::from_utf8(files["config.json"].to_vec()).unwrap();
        assert!(config.contains(from), "{config}");
        files.insert("config.json".into(), config.replace(from, to).into());
    }
}

#[test]
fn an_unknown_architecture_is_told_which_are_known() {
    let error = error("llama", config("\"model_type\": \"llama\"", "\"model_type\": \"mamba\""));
    assert!(
        error.contains("test/config.json") && error.contains("`mamba`") && error.contains("gemma3_text"),
        "{error}"
    );
}

#[test]
fn weights_that_do_not_fit_are_named() {
    let error = |from, to| error("llama", config(from, to));
    assert!(
        error("\"vocab_size\": 96", "\"vocab_size\": 97").contains("`model.embed_tokens.weight` has shape [96, 32]")
    );
    assert!(error("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3").contains("`model.layers.2."));
    assert!(error("\"hidden_size\": 32", "\"hidden_size\": 9999999").contains("hidden size is 9999999"));
}

#[test]
fn files_that_are_cut_or_missing_are_named() {
    let cut = |files: &mut std::collections::BTreeMap<String, Bytes>| {
        let whole = files["model.safetensors"].clone();
        files.insert("model.safetensors".into(), whole.slice(..whole.len() / 2));
    };
    assert!(error("llama", cut).contains("test/model.safetensors"));
    let without = |name: &'static str| error("llama3", move |files| assert!(files.remove(name).is_some()));
    assert!(without("config.json").contains("test/config.json: there is no such file"));
    assert!(without("model-00002-of-00002.safetensors").contains("model-00002-of-00002.safetensors: there is no"));
}

#[test]
fn a_cache_without_room_for_a_page_is_refused() {
    let options = DecoderOptions { cache_bytes: 100, ..OPTIONS };
    let error = load_files(files("llama"), &options).err().unwrap().to_string();
    assert!(error.contains("take 6144 bytes, and there are 100"), "{error}");
}

#[test]
fn a_step_that_cannot_be_leaves_the_model_usable() {
    let mut model = model("llama", &OPTIONS);
    let mut logits = Vec::new();
    let mut try_step = |tokens: &[u32], first_position, pages: &[u32]| {
        model.step(&[Piece { tokens, first_position, pages, logits: true }], &mut logits).map(|()| logits.len())
    };
    assert!(try_step(&[96], 0, &[0]).unwrap_err().to_string().contains("token 96"));
    assert!(try_step(&[1], 16, &[0]).is_err());
    assert!(try_step(&[1], 0, &[u32::MAX]).is_err());
    assert!(try_step(&[1], usize::MAX >> 1, &[0]).is_err());
    assert_eq!(try_step(&[1], 0, &[0]).unwrap(), 96);
}
