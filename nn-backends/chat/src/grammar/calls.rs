//! [`Calls`]: how models write that they call a tool, and grammars that hold them to it.

use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

use headland_generation::{BrokenConstraint, Constraint, Grammar, Standing, TokenSet};
use llguidance::Matcher;
use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use serde_json::{Value, json};

use super::{BadForm, Compiled, Grammars, Matching, check_size, with_options};
use crate::convention::{CallConvention, LIST_BEGIN, TAG_BEGIN, TAG_END};

/// Calls that one answer may have.
pub const CALLS_MAX: usize = 16;
/// Characters of a tool's name; OpenAI's limit.
const NAME_CHARS_MAX: usize = 64;

/// What calls an answer may have.
#[derive(Clone, Debug, PartialEq)]
pub struct Calls {
    /// How the model writes them.
    pub convention: CallConvention,
    /// What it may call.
    pub tools: Vec<Tool>,
    /// Whether it may call several.
    pub several: bool,
    /// The token after which a call has to follow, where the answer is free before it; absent where it has to be a call.
    pub begins_with: Option<u32>,
}

/// What a model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// The schema of its arguments, an object; it has none where this is absent.
    pub parameters: Option<Value>,
}

impl Calls {
    pub(super) fn compile(&self, grammars: &Grammars) -> Result<Arc<dyn Grammar>, BadForm> {
        check_size(self.tools.iter().filter_map(|tool| tool.parameters.as_ref()))?;
        let rules = GrammarWithLexer::from_lark(self.rules()?);
        let mut all = vec![rules];
        for (index, tool) in self.tools.iter().enumerate() {
            let named = |error: BadForm| match error {
                BadForm::Schema(problem) => BadForm::Schema(format!("the parameters of `{}`: {problem}", tool.name)),
                other => other,
            };
            let schema = with_options(&arguments(tool)?).map_err(named)?;
            // Alone first, for what is wrong with it is told by its name then.
            grammars.matcher(TopLevelGrammar::from_json_schema(schema.clone())).map_err(named)?;
            let name = Some(format!("arguments_{index}"));
            all.push(GrammarWithLexer { name, json_schema: Some(schema), ..GrammarWithLexer::default() });
        }
        let matcher = grammars.matcher(TopLevelGrammar { grammars: all, max_tokens: None })?;
        Ok(match self.begins_with {
            None => Arc::new(Compiled(matcher)),
            Some(begins_with) => Arc::new(Awaited { begins_with, several: self.several, matcher }),
        })
    }

    /// In the library's variant of Lark, with the schemas of arguments as grammars of their own.
    fn rules(&self) -> Result<String, BadForm> {
        if self.tools.is_empty() {
            return Err(BadForm::Schema("there is no tool to call".to_owned()));
        }
        let more = |call: &str| if self.several { format!("({call}){{0,{}}}", CALLS_MAX - 1) } else { String::new() };
        let start = match (self.convention, self.begins_with) {
            // Each call begins with the token again.
            (CallConvention::Tagged, Some(_)) => format!(r#"start: "\n" call "\n{TAG_END}""#),
            (CallConvention::Tagged, None) => {
                let more = more(r#""\n" tagged"#);
                format!("start: tagged {more}\ntagged: \"{TAG_BEGIN}\\n\" call \"\\n{TAG_END}\"")
            }
            (CallConvention::Listed, begun) => {
                let begin = if begun.is_some() { String::new() } else { format!("\"{LIST_BEGIN}\" ") };
                format!(r#"start: {begin}" "? "[" call {} "]""#, more(r#"", " call"#))
            }
            (CallConvention::Parameters | CallConvention::Plain, _) => "start: call".to_owned(),
        };
        let calls: Vec<String> = (0..self.tools.len()).map(|index| format!("call_{index}")).collect();
        let mut rules = format!("{start}\ncall: {}\n", calls.join(" | "));
        for (index, tool) in self.tools.iter().enumerate() {
            let (name, key) = (check_name(&tool.name)?, self.convention.arguments_key());
            // Writing to a string cannot fail.
            let _ = writeln!(rules, r#"call_{index}: "{{\"name\": \"{name}\", \"{key}\": " @arguments_{index} "}}""#);
        }
        Ok(rules)
    }
}

/// A name stands in a grammar's quotes, and in those of JSON.
fn check_name(name: &str) -> Result<&str, BadForm> {
    let is_one = |character: char| character.is_ascii_alphanumeric() || "_-.".contains(character);
    if (1..=NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(is_one) {
        return Ok(name);
    }
    let expected = format!("names have letters, digits, `_`, `-` and `.`, {NAME_CHARS_MAX} at most");
    Err(BadForm::Schema(format!("a tool is called `{}`; {expected}", name.escape_debug())))
}

/// The schema of a tool's arguments, which are an object in any case.
fn arguments(tool: &Tool) -> Result<Value, BadForm> {
    let nothing = || json!({"type": "object", "properties": {}, "additionalProperties": false});
    let Some(parameters) = &tool.parameters else { return Ok(nothing()) };
    let mut schema = parameters.clone();
    match (&mut schema, parameters.get("type")) {
        (Value::Object(fields), None) if fields.is_empty() => return Ok(nothing()),
        (Value::Object(fields), None) => {
            fields.insert("type".to_owned(), json!("object"));
        }
        (Value::Object(_), Some(kind)) if kind == "object" => {}
        _ => return Err(BadForm::Schema(format!("the parameters of `{}` are no object", tool.name))),
    }
    Ok(schema)
}

/// Answers that are free until they call.
struct Awaited {
    begins_with: u32,
    several: bool,
    matcher: Matcher,
}

impl fmt::Debug for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Awaited").field("begins_with", &self.begins_with).finish_non_exhaustive()
    }
}

impl Grammar for Awaited {
    fn begin(&self) -> Box<dyn Constraint> {
        let Awaited { begins_with, several, ref matcher } = *self;
        Box::new(Awaiting { begins_with, several, pristine: matcher.deep_clone(), call: None })
    }
}

/// Such an answer.
struct Awaiting {
    begins_with: u32,
    several: bool,
    pristine: Matcher,
    /// The call it is in.
    call: Option<Matching>,
}

impl Constraint for Awaiting {
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
        self.call = (token == self.begins_with).then(|| Matching(self.pristine.clone()));
        Ok(())
    }
}
