//! Tokenizers of both kinds, and what decoding makes of their tokens.

use std::str::FromStr;

use super::*;

const BYTE_LEVEL: &str = "../../test-data/generation/chat/tokenizer.json";

/// After SentencePiece, as Llama 2's and Gemma's: spaces as `▁`, single bytes in hexadecimal.
fn sentencepiece() -> Tokenizer {
    let vocabulary =
        r#"{"<unk>": 0, "<s>": 1, "</s>": 2, "<0x0A>": 3, "<0xE2>": 4, "▁": 5, "▁▁a": 6, "a": 7, "€": 8, "<0xZZ>": 9}"#;
    Tokenizer::from_str(&format!(
        r#"{{"version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null, "post_processor": null,
        "added_tokens": [
            {{"id": 2, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}},
            {{"id": 10, "content": "▁kept", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": false}}],
        "decoder": {{"type": "Sequence", "decoders": [
            {{"type": "Replace", "pattern": {{"String": "▁"}}, "content": " "}}, {{"type": "ByteFallback"}}, {{"type": "Fuse"}}]}},
        "model": {{"type": "BPE", "vocab": {vocabulary}, "merges": [], "unk_token": "<unk>", "byte_fallback": true}}}}"#
    ))
    .unwrap()
}

#[test]
fn byte_level_tokens_are_the_bytes_they_decode_to() {
    let tokenizer = Tokenizer::from_file(BYTE_LEVEL).unwrap();
    let bytes = token_bytes(&tokenizer, &[]).unwrap();
    assert_eq!(bytes.len(), tokenizer.get_vocab_size(true));
    for text in ["The quick brown fox", " naïve façade €5 😀\n\t\u{7f}\u{0}", "机器学习"] {
        let tokens = tokenizer.encode_fast(text, false).unwrap();
        let of_tokens: Vec<u8> = tokens.get_ids().iter().flat_map(|id| bytes[*id as usize].clone()).collect();
        assert_eq!(String::from_utf8(of_tokens).unwrap(), text);
    }
    // Each byte is one token, and special tokens are none.
    let single: std::collections::BTreeSet<&[u8]> =
        bytes.iter().map(Vec::as_slice).filter(|own| own.len() == 1).collect();
    assert_eq!(single.len(), 256);
    let special = tokenizer.token_to_id("<|im_end|>").unwrap();
    assert!(bytes[special as usize].is_empty());
    assert_eq!(token_bytes(&tokenizer, &[special]).unwrap()[special as usize], b"<|im_end|>");
}

#[test]
fn tokens_after_sentencepiece_are_text_or_bytes() {
    let bytes = token_bytes(&sentencepiece(), &[]).unwrap();
    let expected: [&[u8]; 11] =
        [b"<unk>", b"<s>", b"", b"\n", b"\xe2", b" ", b"  a", b"a", "€".as_bytes(), b"<0xZZ>", "▁kept".as_bytes()];
    assert_eq!(bytes, expected);
}

#[test]
fn other_tokenizers_are_refused() {
    let mut tokenizer = sentencepiece();
    tokenizer.with_decoder(None::<tokenizers::DecoderWrapper>);
    assert!(token_bytes(&tokenizer, &[]).unwrap_err().contains("neither"));
}
