//! Tokenizer files that lie about themselves: an error that names the file, never a panic or a huge allocation.

use headland_nn_core::{ModelFiles, NnError};
use headland_text::TextEncoder;

/// A tokenizer that normalises by this SentencePiece character map, in base64.
fn open(charsmap: &str) -> Result<TextEncoder, NnError> {
    let json = serde_json::json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "NFKC" },
            { "type": "Precompiled", "precompiled_charsmap": charsmap },
        ] },
        "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                   "max_input_chars_per_word": 100, "vocab": { "[UNK]": 0 } },
    });
    let file = ("tokenizer.json".to_owned(), json.to_string().into());
    TextEncoder::open(&ModelFiles::new("model", [file])).map(|encoder| encoder.expect("there is a tokenizer"))
}

#[test]
fn a_character_map_larger_than_its_file_is_refused_before_memory_is_taken_for_it() {
    for (charsmap, expected) in [
        ("/////w==", "says that its table has 4294967295 bytes, and 0 follow"),
        ("AQAAAA==", "says that its table has 1 bytes, and 0 follow"),
        ("AAA=", "is shorter than the size it begins with"),
        ("?", "is not base64"),
    ] {
        let message = open(charsmap).err().unwrap().to_string();
        assert!(message.starts_with("model/tokenizer.json: `precompiled_charsmap` "), "{message}");
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_character_map_that_leads_nowhere_fails_the_text_and_not_the_thread() {
    let encoder = open("AAAAAA==").unwrap();
    let message = encoder.encode(&["two words"]).err().unwrap().to_string();
    assert!(
        message.contains("model/tokenizer.json: the tokenizer failed: its tables contradict each other"),
        "{message}"
    );
}
