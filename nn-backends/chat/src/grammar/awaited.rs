//! Answers of which it shows only on their way whether they call.
//!
//! Where a marker begins calls ([`Marked`]) an answer is free up to it, and held to a call from it on, in whatever tokens the
//! model writes it. Where a call is the whole answer ([`Undecided`]), or the answer has another form otherwise, it may be both
//! at first: each token is taken by whichever of both it fits, until it fits one alone, or names a tool.

use std::fmt;
use std::sync::Arc;

use headland_generation::{BrokenConstraint, Constraint, Grammar, Standing, TokenSet};
use llguidance::Matcher;
use llguidance::toktrie::TokEnv;

use super::{Matching, Tool};
use crate::head::Head;

/// Answers that are free until they call.
pub(super) struct Marked {
    /// What begins calls.
    pub begin: &'static str,
    /// Whether they may be called again.
    pub several: bool,
    /// For what follows, beginning with the marker.
    pub calls: Matcher,
}

impl fmt::Debug for Marked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Marked").field("begin", &self.begin).finish_non_exhaustive()
    }
}

impl Grammar for Marked {
    fn begin(&self) -> Box<dyn Constraint> {
        let calls = self.calls.deep_clone();
        let (begin, several) = (self.begin.as_bytes(), self.several);
        Box::new(Marking { begin, several, calls, told: Vec::new(), call: None })
    }
}

/// Such an answer.
struct Marking {
    begin: &'static [u8],
    several: bool,
    calls: Matcher,
    /// The end of what was told, which may be the beginning of the marker.
    told: Vec<u8>,
    /// The call it is in.
    call: Option<Matching>,
}

impl Marking {
    /// Begins a call where the marker ends: with it, and with what the last token told after it.
    fn look(&mut self) {
        let Some(at) = self.told.windows(self.begin.len()).position(|window| window == self.begin) else {
            let kept = self.told.len().min(self.begin.len() - 1);
            self.told.drain(..self.told.len() - kept);
            return;
        };
        let mut call = self.calls.clone();
        let tokens = call.tok_env().map(|vocabulary| vocabulary.tok_trie().greedy_tokenize(&self.told[at..]));
        let taken = tokens.and_then(|tokens| call.consume_tokens(&tokens));
        // What does not fit is no call; nor is it read as one.
        self.call = taken.is_ok().then_some(Matching(call));
        self.told.clear();
    }
}

impl Constraint for Marking {
    fn standing(&mut self) -> Result<Standing, BrokenConstraint> {
        let Some(call) = &mut self.call else { return Ok(Standing::Free) };
        match call.standing()? {
            Standing::Complete if self.several => Ok(Standing::Free),
            standing => Ok(standing),
        }
    }

    fn allow(&mut self, allowed: &mut TokenSet) -> Result<(), BrokenConstraint> {
        self.call.as_mut().map_or(Ok(()), |call| call.allow(allowed))
    }

    fn take(&mut self, token: u32) -> Result<(), BrokenConstraint> {
        if let Some(call) = &mut self.call
            && call.standing()? != Standing::Complete
        {
            return call.take(token);
        }
        self.call = None;
        if let Ok(vocabulary) = self.calls.tok_env() {
            self.told.extend_from_slice(vocabulary.tok_trie().token(token));
        }
        self.look();
        Ok(())
    }
}

/// Answers that are calls or something else, from their first token on.
pub(super) struct Undecided {
    pub calls: Matcher,
    /// What they are otherwise: any text where this is absent.
    pub answer: Option<Arc<dyn Grammar>>,
    /// Where calls may look like other answers: what an answer is a call of that names it.
    pub tools: Option<Arc<[Tool]>>,
}

impl fmt::Debug for Undecided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Undecided").field("answer", &self.answer).finish_non_exhaustive()
    }
}

impl Grammar for Undecided {
    fn begin(&self) -> Box<dyn Constraint> {
        let call = self.calls.deep_clone();
        Box::new(Deciding {
            vocabulary: call.tok_env().ok(),
            call: Some(Matching(call)),
            other: match &self.answer {
                Some(answer) => Other::Answer(answer.begin()),
                None => Other::Anything,
            },
            tools: self.tools.clone(),
            told: Vec::new(),
        })
    }
}

/// What an answer may be that is no call.
enum Other {
    Anything,
    Answer(Box<dyn Constraint>),
    Nothing,
}

/// Such an answer.
struct Deciding {
    /// While it may be a call.
    call: Option<Matching>,
    other: Other,
    tools: Option<Arc<[Tool]>>,
    vocabulary: Option<TokEnv>,
    /// All of it, while it may be both.
    told: Vec<u8>,
}

impl Deciding {
    /// Whether what was told names a tool.
    fn names_a_tool(&self) -> bool {
        let head = self.tools.as_ref().map(|tools| Head::read(&self.told, tools));
        matches!(head, Some(Head::Of { .. }))
    }
}

impl Constraint for Deciding {
    fn standing(&mut self) -> Result<Standing, BrokenConstraint> {
        match (&mut self.call, &mut self.other) {
            (_, Other::Anything) => Ok(Standing::Free),
            (Some(call), Other::Nothing) => call.standing(),
            (None, Other::Answer(answer)) => answer.standing(),
            (Some(call), Other::Answer(answer)) => Ok(match (call.standing()?, answer.standing()?) {
                (one, other) if one == other => one,
                // One may go on, the other may end.
                (Standing::Unfinished, Standing::Unfinished) => Standing::Unfinished,
                _ => Standing::MayEnd,
            }),
            (None, Other::Nothing) => Err(BrokenConstraint::Failed("it is neither a call nor an answer".to_owned())),
        }
    }

    fn allow(&mut self, allowed: &mut TokenSet) -> Result<(), BrokenConstraint> {
        if let Some(call) = &mut self.call
            && call.standing()? != Standing::Complete
        {
            call.allow(allowed)?;
        }
        if let Other::Answer(answer) = &mut self.other
            && answer.standing()? != Standing::Complete
        {
            answer.allow(allowed)?;
        }
        Ok(())
    }

    fn take(&mut self, token: u32) -> Result<(), BrokenConstraint> {
        let bytes = self.vocabulary.as_ref().map_or(&[][..], |vocabulary| vocabulary.tok_trie().token(token));
        let decided = self.call.is_none() || matches!(self.other, Other::Nothing);
        // What tells nothing decides nothing.
        if bytes.is_empty() && matches!(self.other, Other::Anything) {
            return Ok(());
        }
        if !decided {
            self.told.extend_from_slice(bytes);
        }
        let call = self.call.as_mut().map(|call| call.take(token));
        let other = match &mut self.other {
            Other::Anything => Some(Ok(())),
            Other::Answer(answer) => Some(answer.take(token)),
            Other::Nothing => None,
        };
        match (call, other) {
            (Some(Ok(())), Some(Ok(()))) => {
                if self.names_a_tool() {
                    self.other = Other::Nothing;
                }
            }
            (Some(Ok(())), _) => self.other = Other::Nothing,
            (_, Some(Ok(()))) => self.call = None,
            (Some(Err(error)), _) | (None, Some(Err(error))) => return Err(error),
            (None, None) => {}
        }
        Ok(())
    }
}
