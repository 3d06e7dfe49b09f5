//! Texts of a known number of tokens, all different, so that no cache can answer for a server.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::Random;

/// The tokens a BERT tokenizer puts around every text.
const SPECIAL_TOKENS: usize = 2;
/// Words shorter than this are left out: single letters make no text.
const WORD_BYTES_MIN: usize = 3;

/// Makes texts out of whole words of a WordPiece vocabulary, each of which is one token.
#[derive(Clone, Debug)]
pub struct Texts {
    words: Vec<String>,
    random: Random,
}

impl Texts {
    /// Texts out of this `vocab.txt`, from this seed.
    ///
    /// # Errors
    /// A vocabulary that cannot be read or has no whole words.
    pub fn open(vocabulary: &Path, seed: u64) -> Result<Self> {
        let read = fs::read_to_string(vocabulary).with_context(|| format!("reading {}", vocabulary.display()))?;
        let whole = |word: &&str| word.len() >= WORD_BYTES_MIN && word.bytes().all(|byte| byte.is_ascii_lowercase());
        let words: Vec<String> = read.lines().filter(whole).map(str::to_owned).collect();
        ensure!(!words.is_empty(), "{} has no whole words", vocabulary.display());
        Ok(Texts { words, random: Random::new(seed) })
    }

    /// Appends a text of `tokens` tokens, the two special ones included.
    pub fn write(&mut self, tokens: usize, out: &mut Vec<u8>) {
        for position in 0..tokens.saturating_sub(SPECIAL_TOKENS) {
            if position > 0 {
                out.push(b' ');
            }
            let word = self.random.below(self.words.len());
            out.extend_from_slice(self.words[word].as_bytes());
        }
    }

    /// A length in tokens, log-uniform from `low` to `high`.
    pub fn length(&mut self, low: usize, high: usize) -> usize {
        let (low, high) = (low as f64, high as f64);
        (low * (high / low).powf(self.random.unit())).round() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> Texts {
        Texts { words: ["cat", "sits", "lake"].map(str::to_owned).into(), random: Random::new(1) }
    }

    #[test]
    fn a_text_has_as_many_words_as_tokens_without_the_special_ones() {
        let mut out = Vec::new();
        texts().write(13, &mut out);
        assert_eq!(String::from_utf8(out).unwrap().split(' ').count(), 11);
    }

    #[test]
    fn lengths_are_spread_evenly_over_the_octaves() {
        let mut texts = texts();
        let lengths: Vec<usize> = (0..5000).map(|_| texts.length(8, 256)).collect();
        assert!(lengths.iter().all(|length| (8..=256).contains(length)));
        // 8 to 256 are five octaves; 16 to 32 is one of them.
        let octave = lengths.iter().filter(|length| (16..32).contains(*length)).count();
        assert!((850..1150).contains(&octave), "{octave}");
    }
}
