//! [`Calls`]: how models write that they call a tool, as grammars.

use std::fmt::Write as _;
use std::sync::Arc;

use headland_generation::Grammar;
use llguidance::Matcher;
use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use serde_json::{Value, json};

use super::awaited::{Marked, Undecided};
use super::functions::function;
use super::{BadForm, Compiled, Grammars, check_size, width, with_options};
use crate::convention::{ARGUMENTS_KEYS, CallConvention, LIST_BEGIN, NAMED_ARGUMENTS, NAMED_ID, TAG_BEGIN, TAG_END};
use crate::head::SPACE_MAX;

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
    pub tools: Arc<[Tool]>,
    /// Whether it may call several.
    pub several: bool,
}

/// What a model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// The schema of its arguments, an object; it has none where this is absent.
    pub parameters: Option<Value>,
}

/// What an answer may be in place of calls.
#[derive(Clone, Debug)]
pub enum Instead {
    /// Nothing: it has to call.
    Nothing,
    /// Any text, before calls as well.
    Anything,
    /// What another grammar holds it to.
    Answer(Arc<dyn Grammar>),
}

impl Calls {
    pub(super) fn compile(&self, grammars: &Grammars, instead: Instead) -> Result<Arc<dyn Grammar>, BadForm> {
        let tools = self.tools.clone();
        Ok(match (instead, self.convention.begin()) {
            (Instead::Nothing, _) => Arc::new(Compiled(self.matcher(grammars, self.several)?)),
            (Instead::Answer(answer), begin) => {
                let tools = begin.is_none().then_some(tools);
                Arc::new(Undecided { calls: self.matcher(grammars, self.several)?, answer: Some(answer), tools })
            }
            (Instead::Anything, None) => {
                Arc::new(Undecided { calls: self.matcher(grammars, false)?, answer: None, tools: Some(tools) })
            }
            (Instead::Anything, Some(begin)) => {
                // What begins calls begins each of them, but where one list has all.
                let calls = self.matcher(grammars, self.several && self.convention == CallConvention::Listed)?;
                Arc::new(Marked { begin, several: self.several, calls })
            }
        })
    }

    /// For calls and nothing else.
    fn matcher(&self, grammars: &Grammars, several: bool) -> Result<Matcher, BadForm> {
        check_size(self.tools.iter().filter_map(|tool| tool.parameters.as_ref()))?;
        let mut rules = self.start(several)?;
        let mut schemas = Vec::new();
        for (index, tool) in self.tools.iter().enumerate() {
            check_name(&tool.name)?;
            let named = |error: BadForm| error.of(&format!("the parameters of `{}`", tool.name));
            let arguments = arguments(tool)?;
            width::check(&arguments).map_err(named)?;
            let schema = with_options(&arguments).map_err(named)?;
            // Alone first, for what is wrong with it is told by its name then.
            grammars.matcher(TopLevelGrammar::from_json_schema(schema.clone())).map_err(named)?;
            if self.convention == CallConvention::Functions {
                rules += &function(index, &tool.name, &arguments, &mut schemas).map_err(named)?;
            } else {
                rules += &self.call(index, tool);
                schemas.push((format!("arguments_{index}"), schema));
            }
        }
        let schemas = schemas.into_iter().map(|(name, schema)| GrammarWithLexer {
            name: Some(name),
            json_schema: Some(schema),
            ..GrammarWithLexer::default()
        });
        let grammars_of_all = std::iter::once(GrammarWithLexer::from_lark(rules)).chain(schemas).collect();
        grammars.matcher(TopLevelGrammar { grammars: grammars_of_all, max_tokens: None })
    }

    /// How calls follow each other, in the library's variant of Lark.
    fn start(&self, several: bool) -> Result<String, BadForm> {
        if self.tools.is_empty() {
            return Err(BadForm::Schema("there is no tool to call".to_owned()));
        }
        let more = |call: &str| if several { format!("({call}){{0,{}}}", CALLS_MAX - 1) } else { String::new() };
        let start = match self.convention {
            CallConvention::Tagged | CallConvention::Functions => {
                let more = more(r#""\n" tagged"#);
                format!("start: tagged {more}\ntagged: \"{TAG_BEGIN}\" SPACE? call SPACE? \"{TAG_END}\"")
            }
            CallConvention::Listed => {
                let more = more(r#"SPACE? "," SPACE? call"#);
                format!(r#"start: "{LIST_BEGIN}" SPACE? "[" SPACE? call {more} SPACE? "]""#)
            }
            CallConvention::Named => {
                format!("start: named {}\nnamed: \"{LIST_BEGIN}\" SPACE? call", more("named"))
            }
            CallConvention::Plain => "start: SPACE? call".to_owned(),
        };
        let calls: Vec<String> = (0..self.tools.len()).map(|index| format!("call_{index}")).collect();
        let keys = ARGUMENTS_KEYS.map(|key| format!(r#""\"{key}\"""#)).join(" | ");
        let space = format!(r"/[ \t\r\n]{{1,{SPACE_MAX}}}/");
        Ok(format!("{start}\ncall: {}\nkey: {keys}\nSPACE: {space}\n", calls.join(" | ")))
    }

    /// How one tool is called, with the schema of its arguments as a grammar of its own.
    fn call(&self, index: usize, tool: &Tool) -> String {
        let (name, mut rules) = (&tool.name, String::new());
        // Writing to a string cannot fail.
        let _ = match self.convention {
            CallConvention::Named => {
                let id = format!("(\"{NAMED_ID}\" /[a-zA-Z0-9]{{9}}/)?");
                writeln!(rules, r#"call_{index}: "{name}" {id} "{NAMED_ARGUMENTS}" SPACE? @arguments_{index}"#)
            }
            _ => {
                let arguments = format!(r#"SPACE? "," SPACE? key SPACE? ":" SPACE? @arguments_{index}"#);
                // Who takes nothing may be called without.
                let arguments = if tool.parameters.is_some() { arguments } else { format!("({arguments})?") };
                let name = format!(r#"SPACE? "\"name\"" SPACE? ":" SPACE? "\"{name}\"""#);
                writeln!(rules, r#"call_{index}: "{{" {name} {arguments} SPACE? "}}""#)
            }
        };
        rules
    }
}

/// A name stands in a grammar's quotes, and in those of JSON.
fn check_name(name: &str) -> Result<(), BadForm> {
    let is_one = |character: char| character.is_ascii_alphanumeric() || "_-.".contains(character);
    if (1..=NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(is_one) {
        return Ok(());
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
