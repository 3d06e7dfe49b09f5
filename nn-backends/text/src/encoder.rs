//! [`TextEncoder`]: a model's tokenizer with its settings, shared by all requests.

use std::sync::Arc;

use headland_nn_core::{ModelFiles, NnError, Tensor};
use tokenizers::normalizers::{Lowercase, Sequence as Normalizers};
use tokenizers::{Encoding, NormalizerWrapper, Tokenizer};

use crate::cache::TokenCache;
use crate::encoded::{Encoded, Sequence};
use crate::library::{self, guarded};
use crate::settings::Settings;
use crate::special::Frame;
use crate::text_tensor;

/// The tokenizer's file.
const TOKENIZER: &str = "tokenizer.json";

/// Bytes that are tokenised first for every token the model can take. Long texts are mostly decided by this much of
/// them: English has about 4.5 bytes a token, few scripts have more.
const FIRST_WINDOW_BYTES_PER_TOKEN: usize = 8;

/// How much longer the next window is when one was not enough.
const WINDOW_GROWTH: usize = 4;

/// Tokens at a window's end that are not trusted beyond those of its last word: the cut may have torn something that
/// spans words, such as a special token written out in the text.
const UNSETTLED_TOKENS: usize = 64;

/// Turns texts into token tensors.
///
/// Immutable after loading, so one is shared by all threads. Texts are tokenised one after the other on the caller's
/// thread: only the batch functions of the tokenizer library use its thread pool, and none of them is called here, so a
/// request can never take the cores from the others.
pub struct TextEncoder {
    tokenizer: Tokenizer,
    frame: Frame,
    pad_id: u32,
    vocabulary_size: u32,
    max_sequence_length: usize,
    prompt: String,
    described: String,
    seen: TokenCache,
}

impl TextEncoder {
    /// Opens the tokenizer of a model; `None` when it has no `tokenizer.json`.
    ///
    /// # Errors
    /// [`NnError::BadModel`] naming file and cause when a file is there and cannot be used.
    pub fn open(model: &ModelFiles) -> Result<Option<TextEncoder>, NnError> {
        let Some(json) = model.get(TOKENIZER) else {
            return Ok(None);
        };
        let settings = Settings::read(model)?;
        let described = model.describe(TOKENIZER);
        let bad = |cause: String| NnError::bad_model(format!("{described}: {cause}"));
        library::check(json).map_err(bad)?;
        let mut tokenizer = guarded(|| Tokenizer::from_bytes(json)).map_err(bad)?;
        let stored_pad_id = tokenizer.get_padding().map(|padding| padding.pad_id);
        // The file carries whatever its author last padded and cut to; both are done here, per batch.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| bad(error.to_string()))?;
        if settings.lowercase {
            lowercase_first(&mut tokenizer);
        }
        let frame = guarded(|| Ok(Frame::of(&tokenizer)?)).map_err(bad)?;
        if settings.max_sequence_length <= frame.len() {
            return Err(NnError::bad_model(format!(
                "{}: a longest sequence of {} tokens leaves no room for text beside {} special tokens",
                model.label(),
                settings.max_sequence_length,
                frame.len()
            )));
        }
        let named_pad_id = settings.pad_token.and_then(|token| tokenizer.token_to_id(&token));
        Ok(Some(TextEncoder {
            pad_id: named_pad_id.or(stored_pad_id).or(settings.pad_token_id).unwrap_or(0),
            vocabulary_size: vocabulary_size(&tokenizer),
            max_sequence_length: settings.max_sequence_length,
            prompt: settings.prompt,
            tokenizer,
            frame,
            described,
            seen: TokenCache::new(),
        }))
    }

    /// The most tokens of one text that reach the model, special tokens included.
    pub fn max_sequence_length(&self) -> usize {
        self.max_sequence_length
    }

    /// Tokenises `texts`; longer ones are cut to [`Self::max_sequence_length`] and listed by [`Encoded::truncated`].
    ///
    /// # Errors
    /// [`NnError::InvalidInput`] for no text, [`NnError::TooLarge`] beyond [`crate::MAX_TEXTS`] or
    /// [`crate::MAX_TOKENS`].
    pub fn encode(&self, texts: &[&str]) -> Result<Encoded, NnError> {
        text_tensor::check_count(texts.len())?;
        let sequence = |text: &&str| self.seen.get_or_make(text, || self.sequence(text));
        let sequences = texts.iter().map(sequence).collect::<Result<Vec<_>, _>>()?;
        Encoded::new(sequences, self.pad_id)
    }

    /// Tokenises the texts of a `text` tensor: BYTES `[n]` (also `[n,1]`, `[1,n]` and a scalar), U8 `[length]` for one
    /// text, or U8 `[n, length]` for several, padded with NUL bytes.
    ///
    /// # Errors
    /// As [`Self::encode`], and [`NnError::InvalidInput`] for another type or shape, or naming the text that is not UTF-8.
    pub fn from_text_tensor(&self, tensor: &Tensor) -> Result<Encoded, NnError> {
        self.encode(&text_tensor::texts(tensor)?)
    }

    /// Takes token ids of this tokenizer's vocabulary in place of texts.
    ///
    /// The special tokens go around them as around a text, unless a sequence already starts and ends with them: OpenAI's
    /// clients send the ids of the bare text, callers with a tokenizer of their own often the framed ones. The default
    /// prompt of a model is not added: whoever sends ids decides on every one.
    ///
    /// # Errors
    /// As [`Self::encode`], and [`NnError::InvalidInput`] naming the id outside the vocabulary.
    pub fn from_token_ids(&self, ids: &[Vec<u32>]) -> Result<Encoded, NnError> {
        text_tensor::check_count(ids.len())?;
        for (index, sequence) in ids.iter().enumerate() {
            if let Some(unknown) = sequence.iter().find(|&&id| id >= self.vocabulary_size) {
                return Err(NnError::invalid(format!(
                    "token id {unknown} in sequence {index} is outside the model's vocabulary of {} tokens; send text, or \
                     ids of this model's own tokenizer",
                    self.vocabulary_size
                )));
            }
        }
        let frame = |ids: &Vec<u32>| Arc::new(self.frame.put_around(self.frame.strip(ids), self.content_max()));
        Encoded::new(ids.iter().map(frame).collect(), self.pad_id)
    }

    fn content_max(&self) -> usize {
        self.max_sequence_length - self.frame.len()
    }

    fn sequence(&self, text: &str) -> Result<Sequence, NnError> {
        let prompted;
        let text = if self.prompt.is_empty() {
            text
        } else {
            prompted = format!("{}{text}", self.prompt);
            &prompted
        };
        let content = match self.settled_start(text)? {
            Some(start) => start,
            None => guarded(|| self.tokenizer.encode_fast(text, false)).map_err(|error| self.failed(&error))?,
        };
        Ok(self.frame.put_around(content.get_ids(), self.content_max()))
    }

    /// The tokens of a start of `text` that surely holds more of them than the model can take, if there is one.
    ///
    /// Tokenising megabytes to keep 256 tokens would let one small request occupy a core. So windows are tokenised, each
    /// longer than the one before, until one settles the outcome. What follows a window can only change its last word
    /// (where the tokenizer splits words) and, to be safe, [`UNSETTLED_TOKENS`] more; everything before is what the whole
    /// text would give. A text that never settles (one endless word, control characters that vanish) is tokenised whole,
    /// and has cost a third more than that alone.
    fn settled_start(&self, text: &str) -> Result<Option<Encoding>, NnError> {
        let mut window = (self.content_max() + UNSETTLED_TOKENS).saturating_mul(FIRST_WINDOW_BYTES_PER_TOKEN);
        while window < text.len() {
            let start = &text[..text.floor_char_boundary(window)];
            let encoding = guarded(|| self.tokenizer.encode(start, false)).map_err(|error| self.failed(&error))?;
            let words = encoding.get_word_ids();
            let torn_word = words.last().copied().flatten();
            let whole_words = words.iter().take_while(|&&word| word != torn_word).count();
            if whole_words.min(words.len().saturating_sub(UNSETTLED_TOKENS)) > self.content_max() {
                return Ok(Some(encoding));
            }
            window = window.saturating_mul(WINDOW_GROWTH);
        }
        Ok(None)
    }

    fn failed(&self, error: &str) -> NnError {
        NnError::runtime(format!("{}: the tokenizer failed: {error}", self.described))
    }
}

/// Lowercases before anything else the tokenizer does.
fn lowercase_first(tokenizer: &mut Tokenizer) {
    let mut normalizers: Vec<NormalizerWrapper> = vec![Lowercase.into()];
    normalizers.extend(tokenizer.get_normalizer().cloned());
    tokenizer.with_normalizer(Some(Normalizers::new(normalizers)));
}

/// One more than the highest id: ids may have gaps.
fn vocabulary_size(tokenizer: &Tokenizer) -> u32 {
    tokenizer.get_vocab(true).into_values().max().map_or(0, |highest| highest.saturating_add(1))
}
