//! The special tokens a tokenizer puts around a single text, such as `[CLS] ... [SEP]`.
//!
//! Asked once, of the tokenizer's own post-processor, so that texts and token ids that callers bring are framed alike.

use tokenizers::{Encoding, Token, Tokenizer};

use crate::encoded::Sequence;

/// Tokens before and after a text, and the segment ids of all three parts.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    before: Vec<(u32, u32)>,
    text_type_id: u32,
    after: Vec<(u32, u32)>,
}

impl Frame {
    /// Reads the frame off `tokenizer`, by post-processing a text of one marked token.
    pub fn of(tokenizer: &Tokenizer) -> Result<Self, String> {
        const MARK: u32 = u32::MAX;
        let text = Encoding::from_tokens(vec![Token::new(MARK, String::new(), (0, 0))], 0);
        let framed = tokenizer.post_process(text, None, true).map_err(|error| error.to_string())?;
        let tokens: Vec<(u32, u32)> =
            framed.get_ids().iter().copied().zip(framed.get_type_ids().iter().copied()).collect();
        let mut parts = tokens.split(|&(id, _)| id == MARK);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(before), Some(after), None) => {
                Ok(Frame { before: before.to_vec(), text_type_id: tokens[before.len()].1, after: after.to_vec() })
            }
            _ => Err("its post-processor does not keep a single text in one piece".to_owned()),
        }
    }

    /// How many tokens it adds.
    pub fn len(&self) -> usize {
        self.before.len() + self.after.len()
    }

    /// Puts the special tokens around the first `content_max` ids of `content`.
    pub fn put_around(&self, content: &[u32], content_max: usize) -> Sequence {
        let kept = &content[..content.len().min(content_max)];
        let all = || {
            let text = kept.iter().map(|&id| (id, self.text_type_id));
            self.before.iter().copied().chain(text).chain(self.after.iter().copied())
        };
        Sequence {
            ids: all().map(|(id, _)| id).collect(),
            type_ids: all().map(|(_, type_id)| type_id).collect(),
            truncated: kept.len() < content.len(),
        }
    }

    /// `ids` without the special tokens, if all of them are there.
    pub fn strip<'a>(&self, ids: &'a [u32]) -> &'a [u32] {
        let starts = ids.len() >= self.len() && self.before.iter().zip(ids).all(|((special, _), id)| special == id);
        let ends = self.after.iter().rev().zip(ids.iter().rev()).all(|((special, _), id)| special == id);
        if starts && ends { &ids[self.before.len()..ids.len() - self.after.len()] } else { ids }
    }
}
