//! [`Constraint`]: what an answer's next token may be, where its form is prescribed.
//!
//! Whoever asks brings a [`Grammar`]; the engine begins a [`Constraint`] for each answer, asks it before a token is chosen and
//! tells it what was chosen. Where an answer may end is the constraint's to say, by which token it ends the engine's: a token
//! that ends answers is no part of what a grammar speaks of. A sequence that is put back keeps its constraint with its tokens.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};

use headland_nn_core::NnError;

/// A form that answers can have; of any number of answers.
pub trait Grammar: Debug + Send + Sync {
    /// Where an answer of this form begins.
    fn begin(&self) -> Box<dyn Constraint>;
}

/// One answer's way through its form.
pub trait Constraint: Send {
    /// What holds after the tokens that were taken.
    ///
    /// # Errors
    /// Why it cannot be told.
    fn standing(&mut self) -> Result<Standing, BrokenConstraint>;

    /// Adds the tokens that may follow to `allowed`, which is empty. Asked for where [`Self::standing`] is
    /// [`Standing::Unfinished`] or [`Standing::MayEnd`].
    ///
    /// # Errors
    /// Why it cannot be told.
    fn allow(&mut self, allowed: &mut TokenSet) -> Result<(), BrokenConstraint>;

    /// Takes a token that follows.
    ///
    /// # Errors
    /// When it may not, or when what follows cannot be told.
    fn take(&mut self, token: u32) -> Result<(), BrokenConstraint>;
}

/// What holds at a place in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Anything may follow, the end too.
    Free,
    /// Something has to follow.
    Unfinished,
    /// Something may follow, or the end.
    MayEnd,
    /// Nothing may follow but the end.
    Complete,
}

/// A constraint that fails: its answer ends, and no other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenConstraint {
    /// The form takes more at this place than a token may.
    #[error("the answer cannot be held to the form that was asked for: {0}")]
    TooDear(String),
    /// It cannot be told what may follow.
    #[error("the answer cannot be held to the form that was asked for: {0}")]
    Failed(String),
}

impl From<BrokenConstraint> for NnError {
    fn from(broken: BrokenConstraint) -> Self {
        match broken {
            BrokenConstraint::TooDear(_) => NnError::TooLarge(broken.to_string().into()),
            BrokenConstraint::Failed(_) => NnError::runtime(broken),
        }
    }
}

/// Tokens of a vocabulary, a bit for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenSet(Vec<u32>);

impl TokenSet {
    /// Adds a token.
    pub fn insert(&mut self, token: u32) {
        let (word, bit) = place(token);
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= bit;
    }

    /// Adds all tokens of a mask: a word for 32 of them, the lowest bit for the first.
    pub fn insert_mask(&mut self, mask: &[u32]) {
        if mask.len() > self.0.len() {
            self.0.resize(mask.len(), 0);
        }
        self.0.iter_mut().zip(mask).for_each(|(own, word)| *own |= word);
    }

    /// Takes a token out.
    pub fn remove(&mut self, token: u32) {
        let (word, bit) = place(token);
        if let Some(word) = self.0.get_mut(word) {
            *word &= !bit;
        }
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        self.0.fill(0);
    }

    /// Whether `token` is one of them.
    pub fn contains(&self, token: u32) -> bool {
        let (word, bit) = place(token);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Makes all other tokens as unlikely as can be.
    pub fn mask(&self, logits: &mut [f32]) {
        let mut words = self.0.iter();
        for logits in logits.chunks_mut(u32::BITS as usize) {
            match words.next() {
                None | Some(0) => logits.fill(f32::NEG_INFINITY),
                Some(&u32::MAX) => {}
                Some(word) => {
                    for (at, logit) in logits.iter_mut().enumerate() {
                        if word >> at & 1 == 0 {
                            *logit = f32::NEG_INFINITY;
                        }
                    }
                }
            }
        }
    }
}

fn place(token: u32) -> (usize, u32) {
    ((token / u32::BITS) as usize, 1 << (token % u32::BITS))
}

/// A constraint as the engine holds an answer to it.
pub(crate) struct Held {
    constraint: Box<dyn Constraint>,
    allowed: TokenSet,
}

impl Held {
    pub fn begin(grammar: &dyn Grammar) -> Self {
        Held { constraint: grammar.begin(), allowed: TokenSet::default() }
    }

    /// The tokens that may follow, `None` for all there are: of those that end answers all where it may end, unless it
    /// `ignores_end` for as long as something else may follow.
    pub fn allowed(&mut self, end_tokens: &[u32], ignores_end: bool) -> Result<Option<&TokenSet>, BrokenConstraint> {
        let Held { constraint, allowed } = self;
        allowed.clear();
        let standing = whole(|| {
            let standing = constraint.standing()?;
            if matches!(standing, Standing::Unfinished | Standing::MayEnd) {
                constraint.allow(allowed)?;
            }
            Ok(standing)
        })?;
        if standing == Standing::Free {
            return Ok(None);
        }
        let ends = standing == Standing::Complete || standing == Standing::MayEnd && !ignores_end;
        for &token in end_tokens {
            // In the middle, a vocabulary's end may be text like any other.
            if ends { allowed.insert(token) } else { allowed.remove(token) }
        }
        Ok(Some(allowed))
    }

    /// Takes a token that does not end the answer: whether nothing may follow it.
    pub fn take(&mut self, token: u32) -> Result<bool, BrokenConstraint> {
        whole(|| {
            self.constraint.take(token)?;
            Ok(self.constraint.standing()? == Standing::Complete)
        })
    }
}

/// One answer's constraint must not take the others' engine along.
fn whole<T>(asked: impl FnOnce() -> Result<T, BrokenConstraint>) -> Result<T, BrokenConstraint> {
    catch_unwind(AssertUnwindSafe(asked))
        .unwrap_or_else(|_| Err(BrokenConstraint::Failed("its grammar panicked".to_owned())))
}

#[cfg(test)]
pub(crate) mod tests;
