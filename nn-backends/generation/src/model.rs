//! What an engine needs of a model: [`LanguageModel`].

use headland_nn_core::NnError;

/// A model that computes logits, with its cache of keys and values. Called by one thread at a time.
pub trait LanguageModel: Send {
    /// Its sizes.
    fn shape(&self) -> &ModelShape;

    /// Computes these tokens, and keeps their keys and values in their pages. Into `logits` go those after the last token of
    /// each piece that wants them, a row of the vocabulary for each, in the order of the pieces.
    ///
    /// What comes out for a piece does not depend, bit for bit, on the other pieces, nor on how a sequence was cut into
    /// pieces.
    ///
    /// # Errors
    /// [`NnError::InvalidInput`] for tokens out of the vocabulary; [`NnError::Runtime`] otherwise. It stays usable.
    fn step(&mut self, pieces: &[Piece<'_>], logits: &mut Vec<f32>) -> Result<(), NnError>;
}

/// Sizes of a loaded model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelShape {
    /// Tokens that logits are given for.
    pub vocabulary: usize,
    /// Tokens of a sequence.
    pub context_max: usize,
    /// Tokens of a page.
    pub page_tokens: usize,
    /// Pages of the cache.
    pub pages: u32,
    /// Memory of a page, in bytes.
    pub page_bytes: u64,
    /// Memory of everything but the cache, in bytes.
    pub weights_bytes: u64,
}

/// Tokens of one sequence that are computed in a step.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// The tokens.
    pub tokens: &'a [u32],
    /// Where in the sequence the first of them stands.
    pub first_position: usize,
    /// The sequence's pages, in its order; of a sequence's first tokens up to the last of these.
    pub pages: &'a [u32],
    /// Whether logits after the last of them are wanted.
    pub logits: bool,
}
