//! [`Grammars`]: what one model's answers can be held to, JSON schemas and calls of tools.
//!
//! Over the library llguidance, which follows a grammar byte by byte through the tokens of a vocabulary. Schemas come from
//! anybody: their size, what compiling them and what a token may cost is bounded, and what the library does not understand is
//! refused rather than left out.

mod awaited;
mod calls;
mod functions;
mod token_bytes;
mod width;

use std::fmt;
use std::sync::Arc;

use headland_generation::{BrokenConstraint, Constraint, Grammar, Standing, TokenSet};
use llguidance::api::{ParserLimits, StopReason, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{ApproximateTokEnv, INVALID_TOKEN, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};
use tokenizers::Tokenizer;

pub(crate) use token_bytes::Spelling;
use token_bytes::token_bytes;

pub use calls::{CALLS_MAX, Calls, Instead, Tool};
pub use functions::Parameter;
pub use width::WAYS_MAX;

/// Bytes of a schema, written without spaces; of those of all tools together.
pub const SCHEMA_BYTES_MAX: usize = 256 << 10;

/// Work for compiling a grammar's regular expressions, in the library's units: 50,000 are about a millisecond.
const COMPILE_FUEL_MAX: u64 = 1_000_000;
/// Symbols of a compiled grammar.
const GRAMMAR_SYMBOLS_MAX: usize = 200_000;
/// Work for the expressions of one token, in the library's units: 14,000 are about a millisecond.
const TOKEN_FUEL_MAX: u64 = 50_000;
/// Parser items of one token. What one takes grows with how many there are at one place.
const TOKEN_ITEMS_MAX: usize = 8_000;
/// Parser items of one place that an answer has come to: an optional property takes four.
const PLACE_ITEMS_MAX: usize = 1_000;
/// States of an answer's lexer, of one or two kilobytes each.
const LEXER_STATES_MAX: usize = 20_000;

/// How the library begins what it says of these limits.
const LIMITS: [&str; 2] = ["parser error", "lexer error"];

/// Space between the parts of JSON, bounded: a model that is held to a form it does not know may go on with nothing else.
const SPACE: &str = r"[\x20\x0A\x0D\x09]{1,40}";

/// Bytes of what the library says that are told on.
const PROBLEM_BYTES_MAX: usize = 300;

/// Makes grammars for one vocabulary.
pub struct Grammars {
    factory: ParserFactory,
}

/// What answers are held to.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// Any JSON object.
    Object,
    /// JSON of this schema.
    Schema(Value),
}

/// A form that answers cannot be held to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadForm {
    /// A schema that is too large.
    #[error("the schema has {0} bytes; {SCHEMA_BYTES_MAX} at most")]
    TooLarge(usize),
    /// A schema with too many ways to go on at one place.
    #[error("{} may go on in {ways} ways at one place; {WAYS_MAX} at most", subject(.of))]
    TooWide {
        /// What it is the schema of, where that is not the answer.
        of: Option<String>,
        /// How many.
        ways: usize,
    },
    /// A schema that is none, that nothing satisfies, or that says what cannot be followed.
    #[error("answers cannot be held to the schema: {0}")]
    Schema(String),
    /// A vocabulary that nothing is known of.
    #[error("this model's answers cannot be held to a form: {0}")]
    Vocabulary(String),
}

impl BadForm {
    /// The same, of the schema of `what`.
    fn of(self, what: &str) -> Self {
        match self {
            BadForm::Schema(problem) => BadForm::Schema(format!("{what}: {problem}")),
            BadForm::TooWide { ways, .. } => BadForm::TooWide { of: Some(what.to_owned()), ways },
            other => other,
        }
    }
}

fn subject(of: &Option<String>) -> &str {
    of.as_deref().unwrap_or("what the schema allows")
}

impl Grammars {
    /// For a tokenizer's vocabulary. Of its special tokens, those `shown` may be part of an answer.
    pub(crate) fn of(tokenizer: &Tokenizer, shown: &[u32]) -> Result<Self, String> {
        Grammars::new(&token_bytes(tokenizer, shown)?)
    }

    /// For a vocabulary, by what each of its tokens stands for; none for those that are no text.
    fn new(token_bytes: &[Vec<u8>]) -> Result<Self, String> {
        // The engine knows where answers end; here no token does.
        let info = TokRxInfo::new(u32::try_from(token_bytes.len()).unwrap_or(u32::MAX), INVALID_TOKEN);
        let vocabulary: TokEnv = Arc::new(ApproximateTokEnv::new(TokTrie::from(&info, token_bytes)));
        let slices = SlicedBiasComputer::json_slices();
        let factory = ParserFactory::new(&vocabulary, InferenceCapabilities::default(), &slices);
        let mut factory = factory.map_err(|error| problem(&error.to_string()))?;
        factory.quiet();
        *factory.limits_mut() = ParserLimits {
            initial_lexer_fuel: COMPILE_FUEL_MAX,
            max_grammar_size: GRAMMAR_SYMBOLS_MAX,
            step_lexer_fuel: TOKEN_FUEL_MAX,
            step_max_items: TOKEN_ITEMS_MAX,
            max_items_in_row: PLACE_ITEMS_MAX,
            max_lexer_states: LEXER_STATES_MAX,
            verbose_errors: false,
            ..ParserLimits::default()
        };
        Ok(Grammars { factory })
    }

    /// What holds answers to `form`. It takes milliseconds, for large schemas tens of them.
    ///
    /// # Errors
    /// Every [`BadForm`].
    pub fn compile(&self, form: &Form) -> Result<Arc<dyn Grammar>, BadForm> {
        match form {
            Form::Object => self.compile_schema(&json!({"type": "object"})),
            Form::Schema(schema) => self.compile_schema(schema),
        }
    }

    /// What holds answers to `calls`, or to what they may be instead.
    ///
    /// # Errors
    /// Every [`BadForm`].
    pub fn compile_calls(&self, calls: &Calls, instead: Instead) -> Result<Arc<dyn Grammar>, BadForm> {
        calls.compile(self, instead)
    }

    fn compile_schema(&self, schema: &Value) -> Result<Arc<dyn Grammar>, BadForm> {
        check_size([schema])?;
        width::check(schema)?;
        let matcher = self.matcher(TopLevelGrammar::from_json_schema(with_options(schema)?))?;
        Ok(Arc::new(Compiled(matcher)))
    }

    fn matcher(&self, grammar: TopLevelGrammar) -> Result<Matcher, BadForm> {
        let mut matcher = Matcher::new(self.factory.create_parser(grammar));
        // Some of what nothing satisfies shows only where an answer would begin.
        let begins = match matcher.get_error() {
            Some(error) => Err(error),
            None => matcher.compute_mask().map_err(|error| match error.to_string() {
                limit if LIMITS.iter().any(|what| limit.starts_with(what)) => limit,
                _ => "nothing satisfies it, in this model's tokens".to_owned(),
            }),
        };
        begins.map(|_| matcher).map_err(|error| BadForm::Schema(problem(&error)))
    }
}

/// Holds what schemas take, written down, against the limit.
fn check_size<'a>(schemas: impl IntoIterator<Item = &'a Value>) -> Result<(), BadForm> {
    let bytes: usize = schemas.into_iter().map(|schema| schema.to_string().len()).sum();
    if bytes > SCHEMA_BYTES_MAX { Err(BadForm::TooLarge(bytes)) } else { Ok(()) }
}

/// A schema with how the library is to take it, in place of what it says of that itself.
fn with_options(schema: &Value) -> Result<Value, BadForm> {
    let mut fields = match schema {
        Value::Object(fields) => fields.clone(),
        Value::Bool(true) => serde_json::Map::new(),
        _ => return Err(BadForm::Schema("a schema is an object".to_owned())),
    };
    fields.insert("x-guidance".to_owned(), json!({"whitespace_pattern": SPACE}));
    Ok(Value::Object(fields))
}

/// What the library says is wrong, in one line.
fn problem(said: &str) -> String {
    let line = said.lines().take(1).chain(said.lines().skip(1).filter(|line| line.starts_with("error: ")));
    let mut line = line.collect::<Vec<_>>().join(" ");
    if line.starts_with("panic") {
        "it is beyond the library's understanding".clone_into(&mut line);
    }
    line.truncate(line.floor_char_boundary(PROBLEM_BYTES_MAX));
    line
}

/// A grammar whose answers have not begun.
struct Compiled(Matcher);

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compiled")
    }
}

impl Grammar for Compiled {
    fn begin(&self) -> Box<dyn Constraint> {
        Box::new(Matching(self.0.deep_clone()))
    }
}

/// An answer on its way through a grammar.
struct Matching(Matcher);

impl Constraint for Matching {
    fn standing(&mut self) -> Result<Standing, BrokenConstraint> {
        match self.0.stop_reason() {
            StopReason::NotStopped if self.0.is_accepting().map_err(broken)? => Ok(Standing::MayEnd),
            StopReason::NotStopped => Ok(Standing::Unfinished),
            reason if reason.is_ok() => Ok(Standing::Complete),
            reason => Err(broken(self.0.get_error().unwrap_or_else(|| reason.to_string()))),
        }
    }

    fn allow(&mut self, allowed: &mut TokenSet) -> Result<(), BrokenConstraint> {
        // Whatever it is that may follow: that it is not told is a matter of limits.
        let told = self.0.compute_mask().map_err(|error| BrokenConstraint::TooDear(problem(&error.to_string())));
        allowed.insert_mask(told?.as_slice());
        Ok(())
    }

    fn take(&mut self, token: u32) -> Result<(), BrokenConstraint> {
        // What was allowed and is not taken is too much as well.
        self.0.consume_token(token).map_err(|error| BrokenConstraint::TooDear(problem(&error.to_string())))
    }
}

fn broken(error: impl fmt::Display) -> BrokenConstraint {
    BrokenConstraint::Failed(problem(&error.to_string()))
}

#[cfg(test)]
mod tests;
