//! What bytes each token of a vocabulary stands for: what a grammar over text needs to know which tokens may follow.
//!
//! Two kinds of tokenizers are understood. Byte-level ones (GPT-2's) write each byte as a character of their own alphabet.
//! Those after SentencePiece write text, a space as `▁`, and bytes that are no text as `<0x0A>`. Tokens that were added are
//! text as it stands.

use std::collections::HashMap;

use headland_text::library::guarded;
use serde_json::Value;
use tokenizers::Tokenizer;

/// Tokens of a vocabulary. The largest of today's have a quarter of a million.
const VOCABULARY_MAX: usize = 1 << 21;
/// Bytes of a token. Longer ones are left out: they are rules of dashes and indentation.
const TOKEN_BYTES_MAX: usize = 512;

/// The bytes of each token, by its number; none for special tokens other than `shown`, and for numbers that are no token's.
///
/// # Errors
/// Why they cannot be told.
pub(crate) fn token_bytes(tokenizer: &Tokenizer, shown: &[u32]) -> Result<Vec<Vec<u8>>, String> {
    let spelling = Spelling::of(tokenizer)?;
    let vocabulary = guarded(|| Ok(tokenizer.get_vocab(true)))?;
    let added = tokenizer.get_added_tokens_decoder();
    let count = vocabulary.values().max().map_or(0, |last| *last as usize + 1);
    if count > VOCABULARY_MAX {
        return Err(format!("its last token is number {count}; {VOCABULARY_MAX} at most"));
    }
    let mut bytes = vec![Vec::new(); count];
    for (text, id) in vocabulary {
        let own = match added.get(&id) {
            Some(token) if token.special && !shown.contains(&id) => continue,
            Some(token) => token.content.as_bytes().to_vec(),
            None => spelling.bytes(&text),
        };
        if own.len() <= TOKEN_BYTES_MAX {
            bytes[id as usize] = own;
        }
    }
    Ok(bytes)
}

/// How tokens are written in the vocabulary.
pub(crate) enum Spelling {
    /// Each byte as this character.
    ByteLevel(HashMap<char, u8>),
    /// As text, with these texts in place of others, and bytes in hexadecimal.
    Text { replaced: Vec<(String, String)>, bytes: bool },
}

impl Spelling {
    /// As the tokenizer's decoder reads them.
    ///
    /// # Errors
    /// For one that is of neither kind.
    pub fn of(tokenizer: &Tokenizer) -> Result<Self, String> {
        let decoder = serde_json::to_value(tokenizer.get_decoder()).map_err(|error| error.to_string())?;
        let mut steps = Vec::new();
        collect(&decoder, &mut steps);
        let is = |step: &&Value, kind: &str| step["type"] == kind;
        if steps.iter().any(|step| is(step, "ByteLevel")) {
            return Ok(Spelling::ByteLevel(byte_level_alphabet()));
        }
        let mut replaced = Vec::new();
        for step in &steps {
            match (step["type"].as_str(), step["pattern"]["String"].as_str(), step["content"].as_str()) {
                (Some("Replace"), Some(pattern), Some(content)) => {
                    replaced.push((pattern.to_owned(), content.to_owned()));
                }
                (Some("Metaspace"), ..) => {
                    replaced.push((step["replacement"].as_str().unwrap_or("▁").to_owned(), " ".to_owned()));
                }
                _ => {}
            }
        }
        let bytes = steps.iter().any(|step| is(step, "ByteFallback"));
        if replaced.is_empty() && !bytes {
            return Err("its tokenizer is neither a byte-level one nor one after SentencePiece".to_owned());
        }
        Ok(Spelling::Text { replaced, bytes })
    }

    /// Nothing for what is not written so.
    /// The bytes of a token that the vocabulary writes as `text`.
    pub fn bytes(&self, token: &str) -> Vec<u8> {
        match self {
            Spelling::ByteLevel(alphabet) => token
                .chars()
                .map(|character| alphabet.get(&character).copied())
                .collect::<Option<_>>()
                .unwrap_or_default(),
            Spelling::Text { bytes: true, .. } if hexadecimal(token).is_some() => {
                hexadecimal(token).into_iter().collect()
            }
            Spelling::Text { replaced, .. } => {
                let replace = |text: String, (from, to): &(String, String)| text.replace(from, to);
                replaced.iter().fold(token.to_owned(), replace).into_bytes()
            }
        }
    }
}

/// The decoders that a decoder is made of.
fn collect<'a>(decoder: &'a Value, steps: &mut Vec<&'a Value>) {
    match decoder["decoders"].as_array() {
        Some(inner) => inner.iter().for_each(|decoder| collect(decoder, steps)),
        None => steps.push(decoder),
    }
}

/// `<0x0A>`.
fn hexadecimal(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 2)
}

/// GPT-2's: printable bytes of Latin-1 are themselves, the others the characters from U+0100 on, in their order.
fn byte_level_alphabet() -> HashMap<char, u8> {
    let is_itself = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let others = (0..=u8::MAX).filter(|byte| !is_itself(byte));
    let themselves = (0..=u8::MAX).filter(is_itself).map(|byte| (char::from(byte), byte));
    ('\u{100}'..).zip(others).chain(themselves).collect()
}

#[cfg(test)]
mod tests;
